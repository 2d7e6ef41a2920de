"""False onsets per minute of the envelope predictor in simulated videos of each kind without contact.

A hand-held camera and the same encodings as in the training videos; a scene in which something touches by accident is
drawn again. Aim: fewer than 1 a minute. Needs the extra `render` and OpenGL.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.frame_rates import load_predictor
from foleygram.envelope.predictor import EnvelopePredictor
from foleygram.media.encoding import at_rate, encode
from foleygram.pipeline.conditions import envelope_of_request
from foleygram.pipeline.request import read_video
from foleygram.spec import ClipSpec
from foleygram.synthetic.damage import damaged, draw_encoding
from foleygram.synthetic.physics.render import RATE_SHARES, RATES, SIZE_SHARES, SIZES, check_opengl

SEED, SECONDS, SAMPLE_RATE, ATTEMPTS = 78, 8.0, 16_000, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/mini"))
    parser.add_argument("--videos", type=int, default=8, help="of each kind")
    options = parser.parse_args()
    check_opengl()
    from foleygram.synthetic.physics.scenes import WITHOUT_CONTACT

    predictor, spec = load_predictor(options.checkpoint)
    print(f"{options.checkpoint}: {options.videos} videos of {SECONDS:g} s of each kind without contact")
    totals = list[int]()
    for kind in WITHOUT_CONTACT:
        counts = [count_onsets(predictor, spec, kind, index) for index in range(options.videos)]
        report(kind, counts)
        totals += counts
    report("all (aim: under 1 a minute)", totals)


def report(kind: str, counts: list[int]) -> None:
    """Print the onsets of one kind's videos."""
    a_minute = sum(counts) / (len(counts) * SECONDS / 60)
    print(
        f"{kind:28} {a_minute:6.1f} onsets a minute, in {np.count_nonzero(counts)} of {len(counts)} videos", flush=True
    )


def count_onsets(predictor: EnvelopePredictor, spec: ClipSpec, kind: str, index: int) -> int:
    """Onsets that are predicted in one video of a kind."""
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        write_video(video, kind, index)
        return len(envelope_of_request(predictor, read_video(video, spec), "predicted", spec).onsets())


def write_video(video: Path, kind: str, index: int) -> None:
    """Write a video of a kind in which nothing touches; raises RuntimeError where none of `ATTEMPTS` scenes is one."""
    import mujoco

    from foleygram.synthetic.physics.camera import Sensor
    from foleygram.synthetic.physics.scenes import WITHOUT_CONTACT

    _, draw = WITHOUT_CONTACT[kind]
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng((SEED, index, attempt))
        try:
            scene = draw(SECONDS, rng)
        except (ValueError, FloatingPointError, mujoco.FatalError):
            continue
        if not scene.contacts:
            break
    else:
        raise RuntimeError(f"{kind}, video {index}: something touches in all of {ATTEMPTS} scenes")
    size = SIZES[rng.choice(len(SIZES), p=SIZE_SHARES)]
    rate = float(RATES[rng.choice(len(RATES), p=RATE_SHARES)])
    moments = np.arange(int(SECONDS * rate)) / rate
    frames = np.stack(list(scene.film(moments, Sensor(rng, SECONDS, size))))
    encoding, damage = draw_encoding(rng)
    shown = damaged(*at_rate(frames, moments, encoding.rate), damage, seed=encoding.seed)
    encode(video, *shown, replace(encoding, rate=None), np.zeros(round(SECONDS * SAMPLE_RATE)), SAMPLE_RATE)


if __name__ == "__main__":
    main()
