"""Whose material is heard when video, text and reference sound disagree: the conflict table.

Target: a reference sound of another material changes what is heard to it in at least half the cases where video and
text agree otherwise. The judge shares no network with the model's conditions.
"""

from collections import Counter
from typing import Any

import numpy as np

from benchmarks.heldout import load, parse_options, read_clips, request_of
from foleygram.pipeline.request import ModalityWeights
from foleygram.production.batch_runner import Sampling, generate_each

CASES: dict[str, tuple[str, str, str, ModalityWeights]] = {
    "video A": ("A", "", "", ModalityWeights()),
    "video A, text A": ("A", "A", "", ModalityWeights()),
    "video A, text B": ("A", "B", "", ModalityWeights()),
    "video A, reference B": ("A", "", "B", ModalityWeights()),
    "video A, text A, reference A": ("A", "A", "A", ModalityWeights()),
    "video A, text A, reference B": ("A", "A", "B", ModalityWeights()),
    "the same, all x 1": ("A", "A", "B", ModalityWeights(audio=1)),
    "the same, reference alone": ("A", "A", "B", ModalityWeights(0, 0, 1)),
    "video A, text B, reference C": ("A", "B", "C", ModalityWeights()),
}
"""Whose clip each modality is taken from, and the weights: a given reference counts twice by default."""


def unrelated_clips(clips: list[dict[str, Any]], index: int, seed: int) -> dict[str, dict[str, Any]]:
    """Clip A, and two others of other materials, B and C."""
    draw, chosen = np.random.default_rng((seed, index)), {"A": clips[index]}
    for name in ("B", "C"):
        taken = {clip["materials"] for clip in chosen.values()}
        others = [clip for clip in clips if clip["materials"] not in taken]
        if not others:
            raise ValueError(f"{len(clips)} clips hold fewer than three materials; give more with --clips")
        chosen[name] = others[draw.integers(len(others))]
    return chosen


def main() -> None:
    """Print, per case, the share of clips in which the judge hears A's, B's, C's or some other material."""
    options = parse_options(__doc__, clips=40, batch=8, steps=25)
    pipeline, judge = load(options.checkpoint)
    spec, clips = pipeline.spec, read_clips(options.data, pipeline.spec, options.clips)
    triples = [unrelated_clips(clips, index, options.seed) for index in range(len(clips))]
    print(
        f"{len(clips)} clips, {options.steps} steps, A's predicted envelope, seed {options.seed}; heard by the judge:"
    )
    for case, (video, text, reference, weights) in CASES.items():
        heard: Counter[str] = Counter()
        for first in range(0, len(triples), options.batch):
            some = triples[first : first + options.batch]
            places = [
                request_of(
                    triple[video], spec, options.seed + first + i, weights=weights,
                    prompt=triple[text]["caption"] if text else None,
                    reference_audio=triple[reference]["envelope_audio"] if reference else None,
                )
                for i, triple in enumerate(some)
            ]  # fmt: skip
            for triple, output in zip(some, generate_each(pipeline, places, Sampling(options.steps)), strict=True):
                if output is None or isinstance(output, Exception):
                    raise RuntimeError(f"{triple['A']['video_id']}: {output}")
                material = judge.classify(output.audio.mean(0)[None], spec.sample_rate)[0]
                heard[next((name for name, clip in triple.items() if clip["materials"] == material), "other")] += 1
        shares = "  ".join(f"{name} {heard[name] / len(triples):.3f}" for name in ("A", "B", "C", "other"))
        print(f"{case:32} {shares}", flush=True)


if __name__ == "__main__":
    main()
