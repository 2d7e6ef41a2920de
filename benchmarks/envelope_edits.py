"""Checks that edits of an envelope are heard: a shift, a muted region, a hit added in a MIDI file.

Rendered videos, predicted envelopes, the shipped miniature; one seed for all sounds of a video. Aims: onsets moved
by 120 +- 20 ms, a muted region at least 40 dB down, an added hit heard within 50 ms in 9 of 10.
"""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import mido
import numpy as np
import typer
from rich.progress import track
from torch import Tensor

from foleygram.envelope.editing.edits import mute, shift
from foleygram.envelope.editing.files import read_envelope, write_envelope
from foleygram.envelope.envelope import Envelope
from foleygram.evaluation.envelopes import clip_envelope, envelope_lag
from foleygram.evaluation.onsets import detect_onsets, pair_onsets, peak
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import SoundRequest, read_video
from foleygram.synthetic.drumstick.render import render_dataset

ROOT = Path(__file__).parents[1]
SHIFT_SEC, SLACK_SEC = 0.12, 0.02
MUTED_SEC, MARGIN_SEC = 0.6, 0.05
HEARD_SEC = 0.05
SEED = 9


class Obedience(NamedTuple):
    """What became of three edits of one video's envelope."""

    lag_ms: float
    """By how much the shifted envelope's sound comes later than the predicted one's."""
    num_onsets: int
    """Onsets of the predicted envelope's sound that are still in the film when moved."""
    num_moved: int
    """How many of them have one 100 to 140 ms later in the other sound."""
    muted_db: float
    """Level in the muted region, against the same region of the other sound."""
    heard: bool
    """Whether the added hit is heard."""
    heard_before: bool
    """Whether an onset was there without it."""


def obey_edits(pipeline: FoleyGRAMPipeline, video: Path, folder: Path, *, seed: int, steps: int) -> Obedience:
    """Generate a video's sound with its predicted envelope and with three edits of it, and measure what changed."""
    seen = read_video(video, pipeline.spec)
    predicted = pipeline.envelope_of(seen)
    start, end = muted_region(predicted)
    hit_time = quietest_moment(predicted, seen.seconds)
    write_envelope(folder / "clip.mid", predicted)
    add_note(folder / "clip.mid", hit_time)
    envelopes = (
        predicted,
        shift(predicted, SHIFT_SEC),
        mute(predicted, start, end),
        read_envelope(folder / "clip.mid"),
    )
    requests = [SoundRequest(seen, seed, envelope=envelope) for envelope in envelopes]
    sounds = [output.audio.mean(0) for output in pipeline.generate(requests, num_inference_steps=steps)]
    rate = pipeline.spec.sample_rate
    curves = [clip_envelope(sound, rate) for sound in sounds]
    onsets = [detect_onsets(sound, rate, reference_peak=peak(sounds[0])) for sound in sounds]
    expected = onsets[0][onsets[0] < seen.seconds - SHIFT_SEC - 2 * SLACK_SEC] + SHIFT_SEC
    lag = envelope_lag(curves[1], curves[0])
    return Obedience(
        math.nan if lag is None else lag,
        len(expected),
        len(pair_onsets(onsets[1], expected, SLACK_SEC)),
        level_db(sounds[2], rate, start, end) - level_db(sounds[0], rate, start, end),
        bool((np.abs(onsets[3] - hit_time) <= HEARD_SEC).any()),
        bool((np.abs(onsets[0] - hit_time) <= HEARD_SEC).any()),
    )


def muted_region(envelope: Envelope) -> tuple[float, float]:
    """From shortly before the loudest moment on, in seconds."""
    loudest = float(envelope.values.argmax()) / envelope.rate
    start = max(0.0, min(loudest - 0.1, envelope.seconds - MUTED_SEC))
    return start, start + MUTED_SEC


def quietest_moment(envelope: Envelope, seconds: float) -> float:
    """The middle of the longest stretch of the film without an onset."""
    times = np.concatenate([[0.0], envelope.onsets(), [seconds]])
    longest = int(np.diff(times).argmax())
    return float(times[longest : longest + 2].mean())


def add_note(path: Path, time: float) -> None:
    """Add a note of the file's median velocity at `time`, in seconds, as a person would in a sequencer."""
    file = mido.MidiFile(path)
    [notes] = file.tracks
    tempo = next(message.tempo for message in notes if message.type == "set_tempo")
    velocity = int(np.median([message.velocity for message in notes if message.type == "note_on"]))
    added, now = file.add_track(), round(mido.second2tick(time, file.ticks_per_beat, tempo))
    added.append(mido.Message("note_on", note=64, velocity=velocity, time=now))
    added.append(mido.Message("note_off", note=64, time=100))
    file.type = 1
    file.save(path)


def level_db(sound: Tensor, rate: int, start: float, end: float) -> float:
    """RMS level, in dB of full scale, of mono sound (samples,) from `start` to `end` seconds, less 50 ms a side."""
    part = sound[round((start + MARGIN_SEC) * rate) : round((end - MARGIN_SEC) * rate)].double()
    return 20 * math.log10(max(float(part.square().mean().sqrt()), 1e-6))


def summary(found: Sequence[Obedience]) -> str:
    """The measures of all videos, each beside its aim."""
    lags = [one.lag_ms for one in found]
    downs = [one.muted_db for one in found]
    moved, onsets = sum(one.num_moved for one in found), sum(one.num_onsets for one in found)
    return "\n".join([
        f"shifted by 120 ms: the sound lags by {np.median(lags):.1f} ms, {min(lags):.1f} to {max(lags):.1f} "
        f"(aim 100 to 140); {moved} of {onsets} onsets moved by 120 +- 20 ms",
        f"muted: {np.median(downs):.1f} dB, {max(downs):.1f} at worst (aim -40)",
        f"a hit added by MIDI: heard within 50 ms in {sum(one.heard for one in found)} of {len(found)} (aim 9 of 10); "
        f"without it {sum(one.heard_before for one in found)}",
    ])  # fmt: skip


def main(
    videos: Annotated[int, typer.Option(help="Videos to render.")] = 10,
    steps: Annotated[int, typer.Option(help="Sampling steps.")] = 25,
    seconds: Annotated[float, typer.Option(help="Length of the videos.")] = 4.0,
) -> None:
    """Render videos, generate four sounds of each, print what became of the edits."""
    pipeline = FoleyGRAMPipeline.from_pretrained(ROOT / "checkpoints" / "mini")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render_dataset(folder, num_videos=videos, seed=SEED, seconds=(seconds, seconds), num_workers=1)
        paths = sorted(folder.glob("*.mp4"))
        found = [
            obey_edits(pipeline, path, folder, seed=number, steps=steps)
            for number, path in enumerate(track(paths, "generating", transient=True))
        ]
    for path, one in zip(paths, found, strict=True):
        print(
            f"{path.stem}: lag {one.lag_ms:.1f} ms, {one.num_moved} of {one.num_onsets} moved, "
            f"muted {one.muted_db:.1f} dB, added hit {'heard' if one.heard else 'not heard'}"
        )
    print(f"{videos} rendered videos of {seconds:g} s, seed {SEED}, {steps} steps, predicted envelopes")
    print(summary(found))


if __name__ == "__main__":
    typer.run(main)
