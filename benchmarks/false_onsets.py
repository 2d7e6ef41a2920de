"""False onsets per minute of the envelope predictor where nothing touches anything: simulated swings that all miss.

Scenes of the physics world with a hand-held camera and the same encodings as its training videos; a scene in which
something touches by accident is passed over. Aim: fewer than 1 a minute. Needs the extra `render` and OpenGL.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.frame_rates import load_predictor
from foleygram.media.encoding import at_rate, encode
from foleygram.pipeline.conditions import envelope_of_request
from foleygram.pipeline.request import read_video
from foleygram.synthetic.damage import damaged, draw_encoding
from foleygram.synthetic.physics.render import RATE_SHARES, RATES, SIZE_SHARES, SIZES, check_opengl

SEED, SECONDS, SAMPLE_RATE = 78, 8.0, 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/mini"))
    parser.add_argument("--videos", type=int, default=40)
    options = parser.parse_args()
    check_opengl()
    predictor, spec = load_predictor(options.checkpoint)
    counts = list[int]()
    with tempfile.TemporaryDirectory() as folder:
        for index in range(options.videos):
            video = Path(folder) / f"{index}.mp4"
            if write_misses(video, index):
                onsets = envelope_of_request(predictor, read_video(video, spec), "predicted", spec).onsets()
                counts.append(len(onsets))
                video.unlink()
    minutes = len(counts) * SECONDS / 60
    print(
        f"{len(counts)} videos of {SECONDS:g} s without contact, {options.checkpoint}: {sum(counts)} onsets, "
        f"{sum(counts) / minutes:.1f} a minute (aim: under 1); {np.count_nonzero(counts)} videos have any"
    )


def write_misses(video: Path, index: int) -> bool:
    """Write a video in which every stroke misses; False, and none, where the scene fails or something touches."""
    import mujoco

    from foleygram.synthetic.physics.camera import Sensor
    from foleygram.synthetic.physics.scenes import TOOL_SHARES, TOOLS, draw_materials, strike_scene

    rng = np.random.default_rng((SEED, index))
    try:
        tool = str(rng.choice(list(TOOLS), p=TOOL_SHARES))
        scene = strike_scene(draw_materials(rng), tool, SECONDS, rng, misses=1.0)
    except (ValueError, FloatingPointError, mujoco.FatalError):
        return False
    if scene.contacts or scene.events:
        return False
    size = SIZES[rng.choice(len(SIZES), p=SIZE_SHARES)]
    rate = float(RATES[rng.choice(len(RATES), p=RATE_SHARES)])
    moments = np.arange(int(SECONDS * rate)) / rate
    frames = np.stack(list(scene.film(moments, Sensor(rng, SECONDS, size))))
    encoding, damage = draw_encoding(rng)
    shown = damaged(*at_rate(frames, moments, encoding.rate), damage, seed=encoding.seed)
    encode(video, *shown, replace(encoding, rate=None), np.zeros(round(SECONDS * SAMPLE_RATE)), SAMPLE_RATE)
    return True


if __name__ == "__main__":
    main()
