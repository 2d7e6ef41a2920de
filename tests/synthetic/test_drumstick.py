"""Rendered drumstick videos: layout, determinism, and frames, sound and annotation agreeing on when."""

import dataclasses
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.synthetic.beneath import LEVEL_DB, music, speech
from foleygram.synthetic.drumstick.frames import FrameRenderer
from foleygram.synthetic.drumstick.materials import MATERIALS
from foleygram.synthetic.drumstick.motion import scrape_speed, tip_height, tip_position
from foleygram.synthetic.drumstick.render import plan_video, render_dataset
from foleygram.synthetic.drumstick.sound import render_sound

SHORT = (1.5, 2.0)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("rendered")
    return out, render_dataset(out, num_videos=6, seed=5, seconds=SHORT, num_workers=1, progress=False)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_folder_has_the_real_layout_and_disjoint_lists(rendered: tuple[Path, list[str]]) -> None:
    out, ids = rendered
    ends = ("_denoised.mp4", "_denoised.wav", "_times.txt")
    lists = {"train.txt", "test.txt"}
    assert {p.name for p in out.iterdir()} == {i + end for i in ids for end in ends} | lists
    train, test = ((out / name).read_text().split() for name in ("train.txt", "test.txt"))
    assert sorted(train + test) == sorted(ids) and len(set(ids)) == 6 and len(test) == 1


def test_same_seed_gives_same_bytes_in_any_number_of_processes(
    rendered: tuple[Path, list[str]], tmp_path: Path
) -> None:
    out, _ = rendered
    render_dataset(tmp_path, num_videos=6, seed=5, seconds=SHORT, num_workers=2, progress=False)
    assert _contents(tmp_path) == _contents(out)


def test_another_seed_gives_another_sound_and_other_times() -> None:
    one, other = plan_video(5, 0).scene, plan_video(6, 0).scene
    assert [e.time for e in one.events] != [e.time for e in other.events]
    size = round(16_000 * min(one.seconds, other.seconds))
    assert not np.array_equal(render_sound(one, 16_000)[:size], render_sound(other, 16_000)[:size])


def test_a_killed_run_resumes_and_keeps_finished_files(tmp_path: Path) -> None:
    def render() -> list[str]:
        return render_dataset(tmp_path, num_videos=3, seed=8, seconds=SHORT, num_workers=1, progress=False)

    ids = render()
    before = _contents(tmp_path)
    (tmp_path / f"{ids[1]}_denoised.wav").unlink()
    stamps = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    render()
    assert _contents(tmp_path) == before
    redone = {n for n, t in stamps.items() if (tmp_path / n).stat().st_mtime_ns != t}
    assert all(name.startswith(ids[1]) or name in ("train.txt", "test.txt") for name in redone)


@pytest.mark.parametrize(("share", "tests"), [(0.0, 0), (1.0, 4), (0.5, 2)])
def test_test_share_counts(tmp_path: Path, share: float, tests: int) -> None:
    for index in range(4):  # everything is there already: only the lists are written
        stem = str(tmp_path / plan_video(1, index, seconds=SHORT).video_id)
        for end in ("_denoised.mp4", "_denoised.wav", "_times.txt"):
            Path(stem + end).touch()
    render_dataset(tmp_path, num_videos=4, seed=1, seconds=SHORT, test_share=share, num_workers=1, progress=False)
    assert len((tmp_path / "test.txt").read_text().split()) == tests
    assert len((tmp_path / "train.txt").read_text().split()) == 4 - tests


def test_a_second_seed_adds_to_the_lists(tmp_path: Path) -> None:
    def render(seed: int) -> list[str]:
        return render_dataset(
            tmp_path, num_videos=2, seed=seed, seconds=SHORT, test_share=0.5, num_workers=1, progress=False
        )

    first, second = render(1), render(2)
    assert (tmp_path / "train.txt").read_text().split() == [first[0], second[0]]
    render(1)
    assert sorted((tmp_path / "test.txt").read_text().split()) == [first[1], second[1]]


def test_times_are_sorted_named_and_inside(rendered: tuple[Path, list[str]]) -> None:
    out, ids = rendered
    for video_id in ids:
        lines = [line.split() for line in (out / f"{video_id}_times.txt").read_text().splitlines()]
        times = [float(line[0]) for line in lines]
        assert times == sorted(times) and times[0] > 0 and times[-1] < SHORT[1]
        assert all(len(line) == 4 and line[1] in MATERIALS for line in lines)
        assert {line[2] for line in lines} <= {"hit", "scratch"}


def test_audio_is_as_long_as_the_video(rendered: tuple[Path, list[str]]) -> None:
    out, ids = rendered
    for video_id in ids:
        wave = soundfile.info(out / f"{video_id}_denoised.wav")
        with av.open(str(out / f"{video_id}_denoised.mp4")) as file:
            stream = file.streams.video[0]
            rate = stream.average_rate
            frames = sum(1 for _ in file.decode(stream))
            assert rate is not None and 0 <= wave.duration - frames / float(rate) < 1 / float(rate) + 1e-3
            sound = file.streams.audio[0]
            assert sound.duration is not None and sound.time_base is not None
            assert abs(float(sound.duration * sound.time_base) - wave.duration) < 1 / float(rate) + 0.07


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_strike_is_audible_at_its_time(rate: int) -> None:
    rises = []
    for index in range(17):
        scene = plan_video(3, index).scene
        audio = render_sound(scene, rate)
        assert audio.dtype == np.float32 and audio.shape == (round(scene.seconds * rate),)
        assert np.abs(audio).max() < 1
        for event in scene.events:
            at, reach = int(event.time * rate), rate // 100
            rises.append((audio[at : at + reach] ** 2).mean() > 4 * (audio[at - reach : at] ** 2).mean())
    assert np.mean(rises) > 0.98


def test_a_faster_strike_is_louder_and_brighter() -> None:
    scene = dataclasses.replace(plan_video(3, 0).scene, room_level=0.0)
    event = dataclasses.replace(scene.events[0], action="hit", duration=0.0, time=0.1)
    sounds = []
    for speed in (0.2, 1.0):
        struck = dataclasses.replace(scene, seconds=0.6, events=(dataclasses.replace(event, speed=speed),))
        sounds.append(render_sound(struck, 16_000))
    powers = [np.abs(np.fft.rfft(s)) ** 2 for s in sounds]
    centroids = [(p * np.arange(len(p))).sum() / p.sum() for p in powers]
    assert powers[1].sum() > 10 * powers[0].sum() and centroids[1] > centroids[0]


def test_the_tip_touches_exactly_at_the_event_and_moves_without_jumps() -> None:
    for index in range(12):
        scene = plan_video(4, index).scene
        times = np.arange(-0.05, scene.seconds + 0.05, 1e-4)
        height = tip_height(scene, times)
        assert (tip_height(scene, np.array([e.time for e in scene.events])) == 0).all()
        # No faster than 8 frame heights a second: a jump, or a snap harder than any strike, would be.
        assert height.min() >= 0 and np.abs(np.diff(height)).max() < 8e-4
        assert np.abs(np.diff(tip_position(scene, times), axis=0)).max() < 5e-4
        away = np.ones(len(times), bool)
        for event in scene.events:
            away &= (times < event.time - 0.01) | (times > event.time + event.duration + 0.01)
        assert height[away].min() > 0  # a feint never touches


def test_a_harder_strike_arrives_faster() -> None:
    speeds, falls = [], []
    for index in range(40):
        scene = plan_video(4, index).scene
        for before, event in zip(scene.events, scene.events[1:], strict=False):
            if event.time - before.time - before.duration > 0.5:
                speeds.append(event.speed)
                falls.append(tip_height(scene, np.array([event.time - 5e-3]))[0] / 5e-3)
    assert np.corrcoef(speeds, falls)[0, 1] > 0.9


def test_a_scrape_moves_the_tip_as_fast_as_it_sounds() -> None:
    scenes = [plan_video(2, index).scene for index in range(40)]
    scrapes = [(scene, event) for scene in scenes for event in scene.events if event.duration]
    assert len(scrapes) > 10
    for scene, event in scrapes[:10]:
        times = event.time + np.linspace(0.1, 0.9, 9) * event.duration
        moved = np.abs(np.gradient(tip_position(scene, times)[:, 0], times))
        assert np.corrcoef(moved, scrape_speed(event, times))[0, 1] > 0.9


def test_a_frame_shows_the_stick_over_its_exposure() -> None:
    plan = plan_video(4, 3)
    renderer = FrameRenderer(plan.scene, plan.seed)
    for event in plan.scene.events:
        index = round(event.time * float(renderer.rate))
        if index >= renderer.num_frames:
            continue
        inside = abs(event.time - index / float(renderer.rate)) < renderer.exposure / 2
        if inside and event.action == "hit":
            lifts = renderer.sticks[0].lifts[index]
            assert lifts.min() < 0.5 * lifts.max() or lifts.max() < 1
    first = plan.scene.events[0]
    up, down = (max(0, round((first.time - early) * float(renderer.rate))) for early in (0.2, 0.0))
    assert np.abs(renderer.frame(up).astype(int) - renderer.frame(down)).max() > 60
    assert np.array_equal(renderer.frame(down), renderer.frame(down))  # any order, same frame


def test_shares_are_balanced_or_real() -> None:
    balanced = Counter(plan_video(1, i).scene.things[0].material for i in range(34))
    assert balanced == dict.fromkeys(MATERIALS, 2)
    real = Counter(plan_video(1, i, shares="real").scene.things[0].material for i in range(600))
    total = sum(material.events for material in MATERIALS.values())
    for name, material in MATERIALS.items():
        assert abs(real[name] / 600 - material.events / total) < 0.045


def test_no_object_is_drawn_twice() -> None:
    seeds = [thing.seed for index in range(200) for thing in plan_video(1, index).scene.things]
    assert len(set(seeds)) == len(seeds)


def test_gaps_are_spread_as_in_the_real_set() -> None:
    gaps = np.concatenate([np.diff([e.time for e in plan_video(7, i).scene.events]) for i in range(150)])
    assert 0.45 < np.median(gaps) < 0.75 and gaps.min() > 0.12
    assert np.log(gaps).std() > 0.4 and (gaps > 1.5).mean() > 0.03


@pytest.mark.parametrize("wrong", [{"num_videos": 0}, {"seconds": (5.0, 4.0)}, {"test_share": 1.5}])
def test_an_impossible_request_raises_with_the_value(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        render_dataset(tmp_path, **{"num_videos": 1, "seed": 0, "progress": False, **wrong})


def test_two_sticks_strike_their_own_objects_and_may_strike_together() -> None:
    scenes = [plan_video(5, index, seconds=(12.0, 12.0), scenes="two-sources").scene for index in range(8)]
    together = 0
    for scene in scenes:
        first, second = scene.players
        assert [len(p.things) for p in scene.players] == [1, 1] and first.things[0].material != second.things[
            0
        ].material
        times = [np.array([event.time for event in player.events]) for player in scene.players]
        assert sorted(np.concatenate(times)) == [event.time for event in scene.events]
        for player, own in zip(scene.players, times, strict=True):
            np.testing.assert_allclose(tip_height(player, own), 0)
            on_object = np.abs(tip_position(player, own)[:, 0] - player.things[0].position[0])
            assert on_object.max() < 0.15
        together += int((np.abs(times[0][:, None] - times[1]) < 0.15).sum())
    assert together > 4  # a single stick never strikes twice within 0.16 s
    plain = plan_video(5, 0).scene
    assert plain.players == (plain,)


def test_two_sticks_are_both_in_the_frame() -> None:
    plan = plan_video(5, 1, seconds=(4.0, 4.0), scenes="two-sources")
    both, alone = FrameRenderer(plan.scene, plan.seed), FrameRenderer(plan.scene, plan.seed)
    for number in (0, 1):
        alone.sticks = both.sticks[number : number + 1]
        changed = np.abs(both.frame(10).astype(int) - alone.frame(10)).max(-1) > 30
        assert changed.sum() > 20  # the other stick's pixels


@pytest.mark.parametrize("kind", ["speech", "music"])
def test_what_is_beneath_changes_the_sound_alone(kind: str, tmp_path: Path) -> None:
    options = {"num_videos": 1, "seed": 5, "seconds": SHORT, "num_workers": 1, "progress": False}
    (name,) = render_dataset(tmp_path / "plain", **options)
    render_dataset(tmp_path / kind, scenes=kind, **options)
    files = [(tmp_path / folder / f"{name}_times.txt").read_bytes() for folder in ("plain", kind)]
    assert files[0] == files[1]
    plain, mixed = (soundfile.read(tmp_path / folder / f"{name}_denoised.wav")[0] for folder in ("plain", kind))
    scale = np.dot(plain, mixed) / np.dot(plain, plain)  # a mix that would clip is turned down
    beneath = mixed / scale - plain
    assert 20 * np.log10(np.std(beneath) / np.std(plain)) == pytest.approx(LEVEL_DB, abs=0.5)


def test_render_refuses_complex_scenes_of_the_other_world(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(
        app, ["render", str(tmp_path), "--videos", "1", "--world", "physics", "--scenes", "music"]
    )
    assert outcome.exit_code == 1 and "--scenes music needs --world drumstick" in outcome.output


def test_speech_has_a_pitch_and_formants_and_music_keeps_a_beat() -> None:
    rate = 16_000
    for make in (speech, music):
        one, same = (make(4 * rate, rate, np.random.default_rng(3)) for _ in range(2))
        np.testing.assert_array_equal(one, same)
        assert np.sqrt(np.mean(one**2)) == pytest.approx(1.0)
        assert not np.array_equal(one, make(4 * rate, rate, np.random.default_rng(4)))
    voice = speech(4 * rate, rate, np.random.default_rng(3))
    spectrum = np.abs(np.fft.rfft(voice)) ** 2
    low = spectrum[: len(spectrum) * 3200 // 8000].sum() / spectrum.sum()
    assert low > 0.9  # the three formants lie below 3.1 kHz
    tune = music(8 * rate, rate, np.random.default_rng(3))
    level = np.array([np.sqrt(np.mean(block**2)) for block in tune.reshape(-1, rate // 50)])
    rises = np.maximum(np.diff(level), 0) - np.maximum(np.diff(level), 0).mean()
    strength = np.correlate(rises, rises, "full")[len(rises) :]
    beat = (np.argmax(strength[20:45]) + 21) / 50  # 80 to 130 beats a minute: 0.46 to 0.75 s
    assert 60 / 131 <= beat <= 60 / 79
