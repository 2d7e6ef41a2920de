"""Best of four takes against a random one: E-L1 to the envelope asked for, material heard by the separate judge.

Target: the take that the ranking keeps is better in both. The judge shares nothing with the ranking's encoders.
"""

import numpy as np

from benchmarks.heldout import load, parse_options, read_clips, request_of
from foleygram.evaluation.envelopes import clip_envelope, envelope_l1
from foleygram.production.batch_runner import Sampling, TakeRule, render_takes

TAKES = 4


def main() -> None:
    """Print the means over clips of the kept take and of a take drawn at random, and of each criterion alone."""
    options = parse_options(__doc__, clips=40, batch=8, steps=25)
    pipeline, judge = load(options.checkpoint)
    spec, clips = pipeline.spec, read_clips(options.data, pipeline.spec, options.clips)
    rows = []
    for first in range(0, len(clips), options.batch):
        some = clips[first : first + options.batch]
        requests = [request_of(clip, spec, options.seed + first + i) for i, clip in enumerate(some)]
        made = render_takes(pipeline, requests, Sampling(options.steps), TakeRule(TAKES))
        for clip, takes in zip(some, made, strict=True):
            if not isinstance(takes, list):
                raise RuntimeError(f"{clip['video_id']}: {takes}")
            sounds = [take.output.audio.mean(0) for take in takes]
            heard = [judge.classify(sound[None], spec.sample_rate)[0] == clip["materials"] for sound in sounds]
            reference = clip_envelope(clip["audio"].mean(0), spec.sample_rate)
            true = [envelope_l1(clip_envelope(sound, spec.sample_rate), reference) for sound in sounds]
            rows.append(([take.score.envelope_l1 for take in takes], heard, true, [t.score.volume for t in takes]))
    asked, heard, true, volume = (np.array(column, float) for column in zip(*rows, strict=True))
    print(f"{len(rows)} clips, {TAKES} takes, {options.steps} steps, seed {options.seed}; kept, then a random take:")
    for name, values in (("E-L1 to the envelope asked for", asked), ("E-L1 to the true sound's", true),
                          ("material heard by the judge", heard), ("GRAM volume", volume)):  # fmt: skip
        gain = values[:, 0] - values.mean(1)
        print(f"{name:32} {values[:, 0].mean():.5f}  {values.mean():.5f}  difference {gain.mean():+.5f} +- "
              f"{1.96 * gain.std(ddof=1) / len(gain) ** 0.5:.5f}")  # fmt: skip
    nearest = heard[np.arange(len(heard)), volume.argmin(1)].mean()
    obedient = heard[np.arange(len(heard)), asked.argmin(1)].mean()
    print(f"material, kept by the smallest volume alone {nearest:.3f}, by the smallest E-L1 alone {obedient:.3f}")


if __name__ == "__main__":
    main()
