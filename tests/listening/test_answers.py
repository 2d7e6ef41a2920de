"""Untrusted answer files are checked, and preferences are estimated: closed forms, and simulated listeners."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.listening.answers import FORMAT, collect, read_answers
from foleygram.listening.plan import ANCHOR, Plan, is_mirrored, plan_trials
from foleygram.listening.preferences import PRIOR_WINS, analyse, bradley_terry

SYSTEMS = ("best", "middle", "worst")
PLAN = plan_trials(SYSTEMS, [f"clip{i}" for i in range(6)], seed=3, scales={"fit": "Does it fit?"}, num_checks=2)
Prefer = Callable[[str, str], str]
"""Which of two systems a listener prefers: one of them, or neither ("")."""


def by_rank(*systems: str) -> str:
    return min(systems, key=(*SYSTEMS, ANCHOR).index)


def answers(
    plan: Plan = PLAN, *, listener: int = 1, prefer: Prefer = by_rank, grade: Callable[[str], int] = lambda _: 3
) -> dict[str, Any]:
    """What the page would save for a listener who knows the systems."""
    identity = f"{listener:032x}"
    given: list[dict[str, Any]] = []
    for name, pair in plan.pairs.items():
        left, right = (pair.right, pair.left) if is_mirrored(identity) else (pair.left, pair.right)
        wanted = prefer(plan.media[left].system, plan.media[right].system)
        choice = {plan.media[left].system: "left", plan.media[right].system: "right"}.get(wanted, "none")
        given.append({"trial": name, "left": left, "right": right, "choice": choice, "seconds": 4.5 + listener})
    for name, rating in plan.ratings.items():
        grades = dict.fromkeys(plan.scales, grade(plan.media[rating.medium].system))
        given.append({"trial": name, "medium": rating.medium, "ratings": grades, "seconds": 3})
    return {
        "format": FORMAT, "page": plan.page, "listener": identity, "started": "2026-01-01T10:00:00Z",
        "finished": "2026-01-01T10:09:00Z", "answers": given,
    }  # fmt: skip


def saved(folder: Path, content: Any, name: str = "a.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def sheets(folder: Path, *contents: dict[str, Any], plan: Plan = PLAN):
    paths = [saved(folder, content, f"{number:03}.json") for number, content in enumerate(contents)]
    found = collect(paths, plan)
    assert found.excluded == []
    return found.sheets


@pytest.mark.parametrize("listener", [2, 3])  # one sees the mirror image
def test_an_answer_sheet_holds_the_listener_s_preferences(tmp_path: Path, listener: int) -> None:
    sheet = read_answers(saved(tmp_path, answers(listener=listener, grade=lambda s: 5 - SYSTEMS.index(s))), PLAN)
    assert {(p.first, p.second, p.share) for p in sheet.preferences} == {
        ("best", "middle", 1), ("best", "worst", 1), ("middle", "worst", 1)
    }  # fmt: skip
    assert len(sheet.preferences) == 18 and sum(p.first_was_left for p in sheet.preferences) == 9
    assert {(g.system, g.value) for g in sheet.grades} == {("best", 5), ("middle", 4), ("worst", 3)}
    assert (sheet.num_unplayable, sheet.num_checks_missed) == (0, 0)
    assert sheet.seconds == 20 * (4.5 + listener) + 18 * 3


def test_what_could_not_be_played_counts_nowhere(tmp_path: Path) -> None:
    content = answers()
    content["answers"][0]["choice"], content["answers"][-1]["ratings"] = "unplayable", None
    sheet = read_answers(saved(tmp_path, content), PLAN)
    assert sheet.num_unplayable == 2 and len(sheet.grades) == 17
    assert len(sheet.preferences) == 18 - (next(iter(PLAN.pairs)) not in PLAN.checks)


def change(*path: Any, to: Any) -> Callable[[dict[str, Any]], Any]:
    def changed(content: dict[str, Any]) -> Any:
        place: Any = content
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to
        return content

    return changed


def swapped(content: dict[str, Any]) -> Any:
    first = content["answers"][0]
    first["left"], first["right"] = first["right"], first["left"]
    return content


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: "", "not JSON"),
        (lambda c: "[" * 100_000, "nested too deeply|not JSON"),
        (lambda c: json.dumps(c)[:-5], "not JSON"),
        (lambda c: json.dumps(c).replace("4.5", "NaN").replace("5.5", "NaN"), "NaN, which is not a number"),
        (lambda c: json.dumps(c).replace('"format"', '"page": "x", "format"'), "a field twice"),
        (lambda c: "1" * 10_000, "limit|the file holds"),
        (lambda c: [c], "the file holds"),
        (lambda c: c | {"name": "x"}, "the file holds"),
        (lambda c: " " * 5_000_000, "bytes long"),
        (change("format", to="other"), "its format is 'other'"),
        (change("page", to="\x1b[31m" + "x" * 500), r"another test, '\\x1b.{50,60}\.\.\.;"),
        (change("listener", to="1"), "not 32 hexadecimal digits"),
        (change("listener", to=["0" * 32]), "not 32 hexadecimal digits"),
        (change("answers", to={}), "not a list"),
        (lambda c: c | {"answers": c["answers"][:-3]}, "incomplete: 3 of 38 trials"),
        (lambda c: c | {"answers": []}, "incomplete: 38 of 38"),
        (lambda c: c | {"answers": [*c["answers"], c["answers"][0]]}, "twice"),
        (lambda c: c | {"answers": [None]}, "not in the test"),
        (change("answers", 0, "trial", to="p999"), "not in the test, 'p999'"),
        (change("answers", 0, "trial", to=["p1"]), "not in the test"),
        (change("answers", 0, "choice", to="both"), "chose 'both'"),
        (change("answers", 0, "choice", to={}), "chose"),
        (change("answers", 0, "extra", to=1), "trial p1 holds"),
        (change("answers", 0, "seconds", to=-1), "took -1 seconds"),
        (change("answers", 0, "seconds", to=True), "took True seconds"),
        (change("answers", 0, "seconds", to=10**400), "seconds"),
        (change("answers", 0, "left", to="0" * 12), "never saw"),
        (swapped, "never saw"),
        (change("answers", -1, "medium", to="0" * 12), "not its medium"),
        (change("answers", -1, "ratings", to={}), "ratings holds"),
        (change("answers", -1, "ratings", "fit", to=6), "rates fit 6"),
        (change("answers", -1, "ratings", "fit", to=True), "rates fit True"),
        (change("answers", -1, "ratings", "fit", to=3.0), "rates fit 3.0"),
    ],
)
def test_a_hostile_file_is_left_out_with_its_reason(tmp_path: Path, damage, words) -> None:
    found = collect([saved(tmp_path, damage(answers())), saved(tmp_path, answers(listener=8), "good.json")], PLAN)
    assert [sheet.path.name for sheet in found.sheets] == ["good.json"]
    [(path, reason)] = found.excluded
    assert path.name == "a.json" and "\x1b" not in reason and len(reason) < 300
    with pytest.raises(ValueError, match=words):
        raise ValueError(reason)


def test_what_is_read_without_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "b.json")
    (tmp_path / "c.json").mkdir()
    found = collect([tmp_path, saved(tmp_path, answers(), "good.json")], PLAN)
    assert [sheet.path.name for sheet in found.sheets] == ["good.json"]
    assert [reason for _, reason in found.excluded] == 3 * ["a folder, pipe or device, not a file"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), value=JSON)
def test_any_change_is_refused_in_words_or_harmless(tmp_path_factory, data, value) -> None:
    content = answers()
    place: Any = content
    while True:
        step = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[step], dict | list) or not place[step] or data.draw(st.booleans()):
            break
        place = place[step]
    place[step] = value
    found = collect([saved(tmp_path_factory.mktemp("answers"), content)], PLAN)
    assert len(found.sheets) + len(found.excluded) == 1


def test_repetitions_and_missed_checks_are_named(tmp_path: Path) -> None:
    copied = answers(listener=1) | {"listener": f"{17:032x}"}
    careless = answers(listener=4, prefer=lambda *pair: ANCHOR if ANCHOR in pair else by_rank(*pair))
    undecided = answers(listener=6, prefer=lambda *pair: "" if ANCHOR in pair else by_rank(*pair))
    contents = [answers(listener=1), answers(listener=1), copied, careless, undecided, answers(listener=9)]
    for number, content in enumerate(contents):
        saved(tmp_path, content, f"{number}.json")
    found = collect([tmp_path, tmp_path / "0.json"], PLAN)
    assert [sheet.path.name for sheet in found.sheets] == ["0.json", "5.json"]
    assert [(path.name, reason) for path, reason in found.excluded] == [
        ("1.json", "the same listener as 0.json"),
        ("2.json", "the same answers at the same pace as 0.json"),
        ("3.json", "missed 2 of 2 attention checks"),
        ("4.json", "missed 2 of 2 attention checks"),
    ]


def test_an_incomplete_file_does_not_shut_out_the_whole_one(tmp_path: Path) -> None:
    whole = answers()
    saved(tmp_path, whole | {"answers": whole["answers"][:5]}, "0.json")
    found = collect([tmp_path / "0.json", saved(tmp_path, whole, "1.json")], PLAN)
    assert [sheet.path.name for sheet in found.sheets] == ["1.json"] and len(found.excluded) == 1


def test_listeners_of_one_mind_leave_no_doubt(tmp_path: Path) -> None:
    same = [answers(listener=n, grade=lambda s: 5 - SYSTEMS.index(s)) for n in range(1, 7)]
    findings = analyse(sheets(tmp_path, *same), PLAN)
    for system, value in zip(SYSTEMS, (5, 4, 3), strict=True):
        assert findings.opinions["fit"][system] == (value, value, value, 36)
    for duel in findings.duels:
        assert duel.share == (1, 1, 1, 36)
        assert (duel.listeners_for_first, duel.listeners_for_second, duel.num_ties) == (6, 0, 0)
        assert duel.p_value == pytest.approx(2 * 0.5**6)
    assert [*findings.strengths] == [*SYSTEMS]
    best, middle, worst = (findings.strengths[system].value for system in SYSTEMS)
    assert best > middle > worst and best == pytest.approx(-worst) and middle == pytest.approx(0, abs=1e-6)
    assert findings.share_left.value == 0.5


def test_ties_count_half_and_sides_are_watched(tmp_path: Path) -> None:
    findings = analyse(
        sheets(
            tmp_path,
            *(answers(listener=n, prefer=lambda *pair: "" if ANCHOR not in pair else by_rank(*pair)) for n in (1, 2)),
        ),
        PLAN,
    )
    assert all(
        duel.share[:3] == (0.5, 0.5, 0.5) and duel.num_ties == 12 and duel.p_value == 1 for duel in findings.duels
    )
    assert findings.share_left is None
    leftmost = [
        answers(listener=n, prefer=lambda left, right: by_rank(left, right) if ANCHOR in (left, right) else left)
        for n in (1, 2)
    ]
    findings = analyse(sheets(tmp_path, *leftmost), PLAN)
    assert findings.share_left[:3] == (1, 1, 1)
    assert all(duel.share.value == 0.5 for duel in findings.duels)  # sides are balanced, so such listeners say nothing


def test_intervals_widen_for_disagreement_and_hold_the_truth(tmp_path: Path) -> None:
    """95% intervals over listeners and clips hold the true share in about 95% of repeated tests."""
    plan = plan_trials(("a", "b"), [f"c{i}" for i in range(12)], seed=0, scales={"fit": "?"}, tasks="pairs")
    truth, held, repeats = 0.65, 0, 60
    for repeat in range(repeats):
        draw = np.random.default_rng(repeat)
        given = [
            answers(
                plan, listener=16 * repeat + n + 1, prefer=lambda *_, draw=draw: "a" if draw.random() < truth else "b"
            )
            for n in range(12)
        ]
        [duel] = analyse(sheets(tmp_path, *given, plan=plan), plan, seed=repeat, num_replicates=400).duels
        held += duel.share.low <= truth <= duel.share.high
        assert 0 <= duel.share.low < duel.share.value < duel.share.high <= 1
    assert held >= 0.88 * repeats


def test_the_seed_repeats_the_intervals(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    found = sheets(tmp_path, *(answers(listener=n, grade=lambda s: int(draw.integers(1, 6))) for n in (1, 2, 3)))
    assert analyse(found, PLAN, seed=1) == analyse(found, PLAN, seed=1) != analyse(found, PLAN, seed=2)


def test_two_systems_have_the_closed_form() -> None:
    strength = bradley_terry(np.array([[0.0, 7.0], [3.0, 0.0]]))
    assert strength[0] - strength[1] == pytest.approx(np.log((7 + PRIOR_WINS) / (3 + PRIOR_WINS)))
    assert strength.sum() == pytest.approx(0)


def test_strengths_are_recovered_from_expected_wins() -> None:
    true = np.array([1.2, 0.4, -0.5, -1.1])
    share = 1 / (1 + np.exp(true[None] - true[:, None]))
    wins = 1e6 * share * (1 - np.eye(4))
    assert bradley_terry(wins) == pytest.approx(true, abs=1e-4)
    assert bradley_terry(np.stack([wins, wins.T]))[1] == pytest.approx(-true, abs=1e-4)


def test_the_command_prints_and_writes_the_findings(tmp_path: Path) -> None:
    (tmp_path / "page.key.json").write_text(PLAN.to_json())
    (tmp_path / "answers").mkdir()
    for listener in (1, 2, 3):
        saved(tmp_path / "answers", answers(listener=listener), f"{listener}.json")
    saved(tmp_path / "answers", {}, "[bold]x.json")
    files = sorted((tmp_path / "answers").iterdir())
    outcome = CliRunner().invoke(
        app,
        [
            "listening",
            str(tmp_path / "page"),
            "--collect",
            *map(str, files),
            "--out",
            str(tmp_path / "deep" / "f.json"),
        ],
    )
    assert outcome.exit_code == 0, outcome.output
    message = " ".join(outcome.output.split())
    for words in ("fit, mean opinion", "Bradley-Terry", "3 listeners", "left out: [bold]x.json: the file holds"):
        assert words in message
    content = json.loads((tmp_path / "deep" / "f.json").read_text())
    assert content["num_listeners"] == 3 and content["counted"] == ["1.json", "2.json", "3.json"]
    assert content["duels"][0]["share"] == {"value": 1, "low": 1, "high": 1, "num_answers": 18}
    assert content["opinions"]["fit"]["best"]["value"] == 3


def test_no_valid_answers_is_an_error_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "page.key.json").write_text(PLAN.to_json())
    saved(tmp_path, "{}")
    for path, words in ((tmp_path / "a.json", "a.json: the file holds"), (tmp_path / "b.json", "no such file")):
        outcome = CliRunner().invoke(app, ["listening", str(tmp_path / "page"), "--collect", str(path)])
        assert outcome.exit_code == 1 and words in outcome.output
