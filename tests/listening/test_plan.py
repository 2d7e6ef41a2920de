"""The plan of a listening test: complete, balanced, blind, and the same for the same seed."""

from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foleygram.listening.plan import ANCHOR, SCALES, Plan, is_mirrored, plan_trials

SYSTEMS, CLIPS = ("ours", "theirs", "old"), ("a", "b", "c", "d")


def plan(systems=SYSTEMS, clips=CLIPS, **options) -> Plan:
    return plan_trials(systems, clips, **{"seed": 1, "scales": SCALES, "num_checks": 2} | options)


@settings(max_examples=40, deadline=None)
@given(
    num_systems=st.integers(2, 5), num_clips=st.integers(1, 9), seed=st.integers(0, 2**32), num_checks=st.integers(0, 1)
)
def test_every_pair_meets_once_per_clip_and_each_side_is_as_often_left(
    num_systems, num_clips, seed, num_checks
) -> None:
    systems, clips = [f"s{i}" for i in range(num_systems)], [f"c{i}" for i in range(num_clips)]
    made = plan(systems, clips, seed=seed, num_checks=num_checks)
    sides = [
        (made.media[p.left].system, made.media[p.right].system)
        for name, p in made.pairs.items()
        if name not in made.checks
    ]
    assert Counter(map(frozenset, sides)) == {frozenset(pair): num_clips for pair in combinations(systems, 2)}
    for first, second in combinations(systems, 2):
        assert abs(sides.count((first, second)) - sides.count((second, first))) == num_clips % 2
    assert all(made.media[p.left].clip == made.media[p.right].clip for p in made.pairs.values())
    assert sorted(made.media[r.medium] for r in made.ratings.values()) == sorted((s, c) for s in systems for c in clips)
    assert len(made.checks) == num_checks


def test_a_check_sets_a_whole_sound_against_a_spoilt_one() -> None:
    made = plan(num_checks=4)
    for name, good in made.checks.items():
        pair = made.pairs[name]
        [other] = {pair.left, pair.right} - {good}
        assert made.media[other].system == ANCHOR and made.media[good].system in SYSTEMS
    assert Counter(made.pairs[name].left == good for name, good in made.checks.items()) == {True: 2, False: 2}


def test_the_page_holds_no_names_of_systems_clips_or_checks() -> None:
    text = repr(plan().public())
    for secret in (*SYSTEMS, ANCHOR, "'a'", "'d'", "check"):
        assert secret not in text


def test_same_seed_gives_the_same_plan_and_salt_changes_only_the_page_id() -> None:
    assert plan() == plan() != plan(seed=2)
    assert plan().page != plan(salt="other files").page
    assert plan().media == plan(salt="other files").media


def test_the_key_reads_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "page.key.json"
    path.write_text(plan().to_json())
    assert Plan.read(path) == plan()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}', '{"format": "foleygram listening key 1"}'])
def test_a_file_that_is_no_key_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "page.key.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"page\.key\.json: not the key"):
        Plan.read(path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such key"):
        Plan.read(tmp_path / "page.key.json")


def test_only_what_is_asked_for_is_planned() -> None:
    assert not plan(tasks="pairs").ratings and plan(tasks="pairs").scales == {}
    assert not plan(tasks="ratings", num_checks=0).pairs


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"systems": ["one"]}, "two or more"),
        ({"systems": ["one", "one"]}, "different names"),
        ({"systems": ["one", ANCHOR]}, "none of them 'anchor'"),
        ({"clips": []}, "no clip"),
        ({"scales": {}}, "give a scale"),
        ({"num_checks": 5}, "5 attention checks on 4 clips"),
    ],
)
def test_invalid_plan_options_raise(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        plan(**options)


def test_half_of_all_listeners_see_the_mirror_image() -> None:
    assert [is_mirrored("0" * 31 + digit) for digit in "0123456789abcdef"] == [False, True] * 8
