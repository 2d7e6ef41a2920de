"""Figures that need a network's rows: Frechet and kernel distances, cosines with the reference and with captions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from foleygram.benchmark.intervals import MIN_VIDEOS
from foleygram.benchmark.pairs import Pair
from foleygram.distributed import Place, from_all, progress_bar
from foleygram.evaluation.distances import FrechetAudioDistance, KernelAudioDistance
from foleygram.evaluation.embedders import AlignedEmbedder, AudioEmbedder
from foleygram.evaluation.extraction import AudioClip, extract, window_protocol
from foleygram.evaluation.feature_cache import FeatureCache, Features
from foleygram.evaluation.metrics import ClapScore, clap_score
from foleygram.evaluation.networks.laion_clap import LaionClap
from foleygram.evaluation.networks.microsoft_clap import MicrosoftClap
from foleygram.evaluation.networks.vggish import VGGish
from foleygram.evaluation.scores import computed

OWN = "foleygram-audio"
PUBLISHED = ("laion-clap", "microsoft-clap", "vggish")
AUDIO_SCORE, TEXT_SCORE = "audio_score_", "text_score_"
"""Columns of a clip's row begin with these; the network's name follows."""
TITLES = {"laion-clap": "FAD-LC", "microsoft-clap": "FAD-C"}
TOO_FEW = f"fewer than {2 * MIN_VIDEOS} videos: no floor, what two halves have in common would be chance"
ClipKey = tuple[str, float]


def clip_key(pair: Pair) -> ClipKey:
    """What names a clip within a set."""
    return pair.video_id, pair.start


def load_published(name: str, weights: Path, checkpoint: Path | None) -> AudioEmbedder:
    """The network that a metric's name stands for; raises FileNotFoundError saying how to get its weights."""
    if name == OWN and checkpoint is not None:
        return AlignedEmbedder.from_pretrained(checkpoint)
    if name == "laion-clap":
        return LaionClap.from_pretrained(weights / name)
    if name == "microsoft-clap":
        words = weights / "gpt2-tokenizer"
        path = weights / name / "CLAP_weights_2023.pth"
        return MicrosoftClap.from_weights(path, tokenizer=words if words.is_dir() else None)
    if name == "vggish":
        return VGGish.from_weights(min(weights.glob("vggish-*.pth"), default=weights / "vggish-10086976.pth"))
    raise ValueError(f"unknown embedder {name!r}; there are {', '.join((OWN, *PUBLISHED))}")


def load_class(text: str) -> AudioEmbedder:
    """The embedder of CLASS_PATH=FOLDER, by the class's `from_pretrained`; raises ValueError for anything else."""
    path, _, folder = text.partition("=")
    module, _, name = path.rpartition(".")
    if not (module and folder):
        raise ValueError(f"--embedder {text}: give CLASS_PATH=FOLDER, as my.package.Embedder=weights/mine")
    try:
        embedder: AudioEmbedder = getattr(import_module(module), name).from_pretrained(folder)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--embedder {text}: {path} cannot be had ({error})") from error
    return embedder


def figure_labels(name: str) -> dict[str, str]:
    """What the figures of an embedder are called, and their keys."""
    fad = TITLES.get(name, f"FAD, {name}")
    cosine = "CLAP-score" if name in TITLES else "cosine"
    return {
        fad: f"fad_{name}",
        f"{fad}, infinity": f"fad_infinity_{name}",
        f"KAD, {name}": f"kad_{name}",
        f"rows, {name}": f"num_rows_{name}",
        f"{cosine} to sound, {name}": f"{AUDIO_SCORE}{name}",
        f"{cosine} to text, {name}": f"{TEXT_SCORE}{name}",
    }


class Lengths(NamedTuple):
    """Seconds of the reference of each clip that could be read, by set."""

    seconds: dict[str, dict[ClipKey, float]]

    def kept(self, name: str, pairs: Sequence[Pair]) -> list[Pair]:
        """Those of a set's pairs that were read."""
        return [pair for pair in pairs if clip_key(pair) in self.seconds[name]]


@dataclass
class Embedded:
    """What networks say of sets: figures by set, columns of clips by set, labels, and what to know of them."""

    summaries: dict[str, dict[str, float | None]] = field(default_factory=dict)
    columns: dict[str, dict[ClipKey, dict[str, float]]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    remarks: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def note(self, label: str, set_name: str, lines: Sequence[str]) -> None:
        """Remember what a distance of a set says of itself."""
        for line in lines:
            self.remarks.setdefault((label, line), []).append(set_name)

    def fail(self, name: str, failures: list[str]) -> None:
        """Remember which files failed a network, in this process and in all others."""
        self.failures += [f"{name}: {line}" for line in sorted({line for part in from_all(failures) for line in part})]

    @property
    def notes(self) -> list[str]:
        """Sentences for the reader, one for all sets of which the same is to be said."""
        return self.failures + [
            f"{label}: {line} ({', '.join(names)})" for (label, line), names in self.remarks.items()
        ]


def embed_sets(
    pairs: Mapping[str, list[Pair]],
    lengths: Lengths,
    embedder: AudioEmbedder,
    place: Place,
    into: Embedded,
    *,
    cache: FeatureCache | None,
    seed: int,
    show_progress: bool,
) -> None:
    """Add the figures of one embedder: each set against its references, the references' halves against each other.

    The first set is the references; theirs is the floor, real against real. Sounds are cut or zero-padded to their
    reference. Each process embeds its share, and all get the same figures.
    """
    name = str(embedder.identity["name"])
    own = {group: lengths.kept(group, place.share(members)) for group, members in pairs.items()}
    sounds = {group: [sounds_of(pair, lengths.seconds[group]) for pair in members] for group, members in own.items()}
    files = list(dict.fromkeys(clip for clips in sounds.values() for pair in clips for clip in pair))
    with progress_bar(f"embedding, {name}", len(files), shown=place.first and show_progress) as advance:
        found = extract(files, embedder, cache=cache, progress=advance)
    rows = dict(zip(files, found.features, strict=True))
    into.fail(name, list(found.failures.values()))
    into.labels |= figure_labels(name)
    into.protocol[name] = dict(embedder.identity) | {"windows": window_protocol(embedder)}
    halves = floor_half(next(iter(pairs.values())), seed)
    for number, (group, clips) in enumerate(sounds.items()):
        both = [
            (pair, made, true)
            for pair, (first, second) in zip(own[group], clips, strict=True)
            if (made := rows[first]) is not None and (true := rows[second]) is not None
        ]
        _distances(name, group, both, halves if number == 0 else None, into, seed)
        _cosines(name, group, both, embedder, into)


def sounds_of(pair: Pair, seconds: Mapping[ClipKey, float]) -> tuple[AudioClip, AudioClip]:
    """What is embedded of a pair: the generated sound, as long as its reference, and the reference."""
    if pair.generated == pair.reference:
        return AudioClip(pair.reference), AudioClip(pair.reference)
    return AudioClip(pair.generated, 0.0, round(seconds[clip_key(pair)], 6)), AudioClip(pair.reference)


def floor_half(references: Sequence[Pair], seed: int) -> set[str]:
    """Half of the references' videos, drawn by `seed`: real clips that stand in for generated ones.

    None of fewer than ten: what two halves of them have in common is chance.
    """
    videos = sorted({pair.video_id for pair in references})
    if len(videos) < 2 * MIN_VIDEOS:
        return set()
    drawn = np.random.default_rng(seed).permutation(len(videos))
    return {videos[i] for i in drawn[: len(videos) // 2]}


def _distances(
    name: str, group: str, both: Sequence[tuple[Pair, Features, Features]], half: set[str] | None, into: Embedded,
    seed: int,
) -> None:  # fmt: skip
    if half is not None and not half:
        into.summaries[group] = into.summaries.get(group, {}) | {f"{key}_{name}": None for key in ("fad", "kad")}
        into.note(f"FAD and KAD, {name}", f"{group}, the floor", (TOO_FEW,))
        return
    frechet, kernel = FrechetAudioDistance(seed=seed), KernelAudioDistance()
    for metric in (frechet, kernel):
        for pair, made, true in both:
            clip = f"{pair.video_id} {pair.start:g}"
            if half is None:
                metric.update(made.rows, real=False, clip=clip)
            metric.update(true.rows, real=half is None or pair.video_id not in half, clip=clip)
    labels, fad, kad = list(figure_labels(name)), computed(frechet), computed(kernel)
    into.summaries[group] = into.summaries.get(group, {}) | {
        f"fad_{name}": fad.value,
        f"fad_infinity_{name}": fad.infinity,
        f"kad_{name}": kad.value,
        f"num_rows_{name}": fad.num_generated,
        f"num_reference_rows_{name}": fad.num_reference,
    }
    for label, found in ((labels[0], fad), (labels[2], kad)):
        into.note(label, f"{group}, the floor" if half is not None else group, found.notes)


def _cosines(
    name: str, group: str, both: Sequence[tuple[Pair, Features, Features]], embedder: AudioEmbedder, into: Embedded
) -> None:
    """Each clip's cosine with its reference and with its caption, over the windows that lie wholly in the sound."""
    words = _words(embedder, sorted({pair.caption for pair, _, _ in both if pair.caption}))
    metrics = {f"{AUDIO_SCORE}{name}": ClapScore(), f"{TEXT_SCORE}{name}": ClapScore()}
    own: dict[ClipKey, dict[str, float]] = {}
    for pair, made, true in both:
        for (kind, metric), other in zip(metrics.items(), (true.covered, words.get(pair.caption)), strict=True):
            if other is not None:
                metric.update(made.covered, other)
                own.setdefault(clip_key(pair), {})[kind] = clap_score(made.covered, other)
    columns, found = into.columns.setdefault(group, {}), {k: v for part in from_all(own) for k, v in part.items()}
    for key, values in found.items():
        columns.setdefault(key, {}).update(values)
    scores = {kind: float(computed(metric)) for kind, metric in metrics.items()}
    into.summaries[group] |= {kind: score for kind, score in scores.items() if not math.isnan(score)}
    spoken = sum(f"{TEXT_SCORE}{name}" in values for values in found.values())
    if 0 < spoken < len(found):
        line = f"{len(found) - spoken} of {len(found)} clips have no caption: not in it"
        into.note(list(figure_labels(name))[-1], group, [line])


def _words(embedder: Any, captions: list[str]) -> dict[str | None, torch.Tensor]:
    if not captions or not hasattr(embedder, "embed_text") or getattr(embedder, "text", True) is None:
        return {}
    return {caption: row[None] for caption, row in zip(captions, embedder.embed_text(captions), strict=True)}
