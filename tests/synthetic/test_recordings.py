"""Recordings by material: what is used, what is left out and why, splits by source, and the sound of a strength."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.pipeline.release import read_index
from foleygram.synthetic.drumstick.scene import Scene, StickEvent, draw_thing
from foleygram.synthetic.drumstick.sound import Takes, render_sound
from foleygram.synthetic.recordings import COLUMNS, RecordedSounds, one_shots, source_of, split_of
from foleygram.synthetic.sound_scenes import SoundScenes

RATE = 44_100


def knock(seconds: float = 0.4, frequency: float = 900.0, *, at: float = 0.05) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE - at
    return np.where(time > 0, np.exp(-time.clip(0) / 0.03) * np.sin(2 * np.pi * frequency * time), 0.0)


def write_index(folder: Path, rows: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS) -> None:
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def row(path: str, material: str = "metal", action: str = "hit", **changes: str) -> dict[str, str]:
    known = {"source package or repo": "npm:pack", "licence": "CC0-1.0", "attribution": "A. Person", "use": "train"}
    return {"path": path, "material": material, "action": action, **known, **changes}


def in_split(split: str, count: int) -> list[str]:
    """Names of one-shot files whose sources belong to a split."""
    names = (f"{chr(97 + i % 26)}{chr(97 + i // 26)}x.wav" for i in range(600))
    return [name for name in names if split_of(source_of(row(name))) == split][:count]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = in_split("train", 9)
    for name in names[:6]:
        soundfile.write(tmp_path / name, knock(), RATE)
    soundfile.write(tmp_path / names[1], np.zeros(RATE), RATE)
    soundfile.write(tmp_path / names[2], np.sign(knock(frequency=60.0, at=0)), RATE)
    (tmp_path / names[3]).write_bytes(b"no sound")
    rows = [row(name) for name in names[:4]] + [row(names[4], "unobtainium"), row(names[5], use="score only")]
    rows += [row("../outside.wav"), row(names[8])]
    write_index(tmp_path, rows)
    return tmp_path


def test_only_usable_recordings_are_used_and_the_rest_is_named(folder: Path) -> None:
    good, silent, clipped, broken, unknown, shared, _, _, absent = in_split("train", 9)
    sounds = RecordedSounds(folder)
    assert [len(voice.takes) for voice in sounds.voices] == [1] and sounds.materials == ["metal"]
    reasons = {name: reason.split(":")[0] for name, reason in sounds.left_out.items() if name != "../outside.wav"}
    assert reasons == {
        silent: "silent", clipped: "clipped", broken: "unreadable", absent: "unreadable",
        unknown: "unused label", shared: "not for training",
    }  # fmt: skip
    assert sounds.credits() == [("A. Person", "CC0-1.0", "npm:pack")] and good not in sounds.left_out
    assert sounds.voice("drywall", "hit", np.random.default_rng(0)) is None


def test_a_drumstick_hit_sounds_as_recorded_at_its_time(tmp_path: Path) -> None:
    names = in_split("train", 12)
    for name in names:
        soundfile.write(tmp_path / name, knock(frequency=700.0), RATE)
    write_index(tmp_path, [row(name, "wood") for name in names])
    recorded = RecordedSounds(tmp_path)
    event = StickEvent(1.0, "hit", 0.8, 0, 0.0, 1.0, 5)
    thing = draw_thing("wood", np.zeros(2), np.random.default_rng(0))
    assert Takes.draw(thing, recorded).hits is not None and Takes.draw(thing, recorded).scrapes is None
    scene = Scene(2.0, (thing,), (event,), (), 0.1, 0.0, 0)
    sound = render_sound(scene, RATE, recorded)
    frequency = np.fft.rfftfreq(len(sound), 1 / RATE)[np.abs(np.fft.rfft(sound)).argmax()]
    assert frequency == pytest.approx(700, rel=0.06)  # a take's pitch varies by 4%
    assert np.flatnonzero(np.abs(sound) > 0.05)[0] / RATE == pytest.approx(1.0, abs=0.005)
    np.testing.assert_array_equal(sound, render_sound(scene, RATE, RecordedSounds(tmp_path)))


def test_an_index_without_a_column_or_usable_files_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"index\.csv"):
        RecordedSounds(tmp_path)
    write_index(tmp_path, [], ("path", "material"))
    with pytest.raises(ValueError, match="no column source package or repo, licence"):
        RecordedSounds(tmp_path)
    write_index(tmp_path, [row("gone.wav")])
    with pytest.raises(ValueError, match="no usable recording"):
        RecordedSounds(tmp_path, split=split_of(source_of(row("gone.wav"))))


@pytest.mark.parametrize(
    "names",
    [
        ("pan_1.wav", "pan_2.wav", "pan12.wav"),
        ("foil_on_mic_1a.mp3", "foil_on_mic_2b.mp3"),
        ("chain.mp3", "chain_1.mp3", "chain_1b.mp3", "chain2.mp3"),
    ],
)
def test_files_of_one_recording_share_a_source(names: tuple[str, ...]) -> None:
    assert len({source_of(row(name)) for name in names}) == 1


def test_names_that_differ_in_a_final_letter_are_two_sources() -> None:
    assert source_of(row("chain.mp3")) != source_of(row("chains.mp3"))


def test_splits_have_their_shares() -> None:
    splits = [split_of(f"pack:{number}") for number in range(4000)]
    assert [splits.count(name) / 4000 for name in ("train", "val", "test")] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


def test_a_series_is_cut_at_its_onsets() -> None:
    series = np.concatenate([0.05 * knock(at=0.2), knock(0.5, at=0.1), 0.6 * knock(0.6, at=0.3), np.zeros(RATE)])
    takes = list(one_shots(series.astype(np.float32), RATE))
    assert len(takes) == 2  # the first is too quiet beside the others
    for take in takes:
        loudest = np.abs(take[: round(0.03 * RATE)]).max()
        assert loudest == np.abs(take).max() and abs(take[-1]) < 1e-6


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
def test_a_short_recording_that_begins_with_its_hit_is_one_hit() -> None:
    hit = np.exp(-np.arange(1195) / 300) * np.random.default_rng(0).standard_normal(1195)
    (take,) = one_shots(hit.astype(np.float32), 16_000)
    np.testing.assert_allclose(take[32:700], hit[32:700], rtol=1e-5)


def test_a_softer_hit_is_quieter_and_darker(folder: Path) -> None:
    (voice,) = RecordedSounds(folder).voices
    noisy = type(voice)("metal", "hit", "", RATE, [np.random.default_rng(0).standard_normal(8192).astype(np.float32)])
    soft, hard = (noisy.play(strength, np.random.default_rng(1)) for strength in (0.2, 1.0))
    spectra = [np.abs(np.fft.rfft(sound, 8192)) ** 2 for sound in (soft, hard)]
    frequencies = np.fft.rfftfreq(8192, 1 / RATE)
    centroids = [(frequencies * spectrum).sum() / spectrum.sum() for spectrum in spectra]
    assert np.sqrt((soft**2).mean()) < 0.2 * np.sqrt((hard**2).mean()) and centroids[0] < 0.6 * centroids[1]
    with pytest.raises(ValueError, match="strength of 0"):
        voice.play(0.0, np.random.default_rng(0))


def test_a_scene_depends_on_its_seed_and_index_only(folder: Path) -> None:
    scenes, again, other = (SoundScenes(folder, num_samples=4096, seed=seed) for seed in (0, 0, 1))
    _ = again[3]
    for index in range(8):
        audio = scenes[index]["audio"]
        assert audio.shape == (1, 4096) and audio.abs().max() <= 1 and audio.isfinite().all()
        assert (audio == again[index]["audio"]).all()
    assert any((scenes[index]["audio"] != other[index]["audio"]).any() for index in range(8))


def test_a_card_credits_the_recordings_that_trained_a_release(
    folder: Path, tiny_release: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("releases")

    def export(base: Path, name: str) -> Path:
        arguments = ("weights", "export", tiny_release, out / name, "--base", base, "--recordings", folder)
        ran = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert ran.exit_code == 0, ran.output
        return out / name

    release = export(export(tiny_release, "once"), "twice")
    assert read_index(release)["trained_on"]["recordings"] == [["A. Person", "CC0-1.0", "npm:pack"]]
    assert "| A. Person | CC0-1.0 | npm:pack |" in (release / "README.md").read_text()
