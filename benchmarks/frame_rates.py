"""How late predicted hits are, by the video's frame rate: the same rendered scenes, rendered at each rate.

Target: the median lag against the true hits is within 5 ms at every rate from 10 to 120 frames per second.
"""

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from foleygram.envelope.envelope import pair_times
from foleygram.envelope.predictor import EnvelopePredictor
from foleygram.files import shipped
from foleygram.pipeline.conditions import envelope_of_request
from foleygram.pipeline.release import load_part, read_index
from foleygram.pipeline.request import read_video
from foleygram.spec import ClipSpec
from foleygram.synthetic.drumstick.frames import write_video
from foleygram.synthetic.drumstick.render import VideoPlan, plan_video
from foleygram.synthetic.drumstick.sound import render_sound

RATES = tuple(Fraction(rate) for rate in ("10", "12", "15", "24", "25", "30", "50", "60", "120"))
SEED, SECONDS, TOLERANCE_SEC = 77, (5.0, 6.0), 0.1


def load_predictor(checkpoint: Path) -> tuple[EnvelopePredictor, ClipSpec]:
    """The envelope predictor of a release, and the rates it works at."""
    folder = shipped(checkpoint)
    return load_part(folder, "envelope_predictor").eval(), ClipSpec(**read_index(folder)["spec"])


def measure_lags(
    predictor: EnvelopePredictor, spec: ClipSpec, plans: list[VideoPlan], rate: Fraction, folder: Path
) -> tuple[np.ndarray, int, int]:
    """Lags in seconds (n,) of predicted onsets behind the hits within 100 ms, and the numbers of onsets and of hits."""
    lags, num_found, num_hits = list[float](), 0, 0
    for plan in plans:
        video = folder / f"{plan.video_id}_{float(rate):.3f}.mp4"
        write_video(video, plan.scene, render_sound(plan.scene, 16_000), 16_000, plan.seed, rate)
        onsets = envelope_of_request(predictor, read_video(video, spec), "predicted", spec).onsets()
        hits = np.array([event.time for event in plan.scene.events])
        lags += [onsets[i] - hits[j] for i, j in pair_times(onsets, hits, TOLERANCE_SEC)]
        num_found, num_hits = num_found + len(onsets), num_hits + len(hits)
    return np.array(lags), num_found, num_hits


def main() -> None:
    """Print a table of lags by rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/mini"))
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--rates", type=Fraction, nargs="+", default=RATES)
    options = parser.parse_args()
    predictor, spec = load_predictor(options.checkpoint)
    plans = [plan_video(SEED, index, seconds=SECONDS) for index in range(options.videos)]
    print("| frames per second | median lag, ms | quartiles, ms | F1 at 100 ms | hits |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for rate in options.rates:
            lags, num_found, num_hits = measure_lags(predictor, spec, plans, rate, Path(folder))
            low, median, high = np.percentile(1000 * lags, [25, 50, 75])
            score = 2 * len(lags) / (num_found + num_hits)
            print(
                f"| {float(rate):g} | {median:.1f} | {low:.1f} to {high:.1f} | {score:.3f} | {num_hits} |", flush=True
            )


if __name__ == "__main__":
    main()
