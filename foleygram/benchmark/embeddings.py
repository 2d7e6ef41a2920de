"""Metrics of embeddings: Frechet and kernel distances, cosines with the reference and with captions."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torchmetrics import Metric

from foleygram.benchmark.intervals import MIN_VIDEOS
from foleygram.benchmark.pairs import ClipKey, SoundPair
from foleygram.distributed import Process, all_gather, progress_bar
from foleygram.evaluation.distances import Distance, FrechetAudioDistance, KernelAudioDistance
from foleygram.evaluation.embedders import AlignedEmbedder, AudioEmbedder
from foleygram.evaluation.extraction import AudioClip, extract, window_protocol
from foleygram.evaluation.feature_cache import FeatureCache, Features
from foleygram.evaluation.metrics import clap_score
from foleygram.evaluation.networks.laion_clap import LaionClap
from foleygram.evaluation.networks.microsoft_clap import MicrosoftClap
from foleygram.evaluation.networks.vggish import VGGish
from foleygram.evaluation.scores import Scores, scores_of
from foleygram.evaluation.statistics import AUDIO_SCORE, TEXT_SCORE, Row

OWN = "foleygram-audio"
PUBLISHED = ("laion-clap", "microsoft-clap", "vggish")
TITLES = {"laion-clap": "FAD-LC", "microsoft-clap": "FAD-C"}
TOO_FEW = f"fewer than {2 * MIN_VIDEOS} videos: no floor, the distance of two halves would be chance"
EmbeddedPair = tuple[SoundPair, tuple[Tensor, ...], tuple[Tensor, ...]]
"""A pair, and what a distance's `update` takes of its generated and of its reference clip."""


def load_published(name: str, weights: Path, checkpoint: Path | None) -> AudioEmbedder:
    """The network of a metric's name; raises FileNotFoundError with how to get its weights."""
    if name == OWN and checkpoint is not None:
        return AlignedEmbedder.from_pretrained(checkpoint)
    if name == "laion-clap":
        return LaionClap.from_pretrained(weights / name)
    if name == "microsoft-clap":
        tokenizer = weights / "gpt2-tokenizer"
        path = weights / name / "CLAP_weights_2023.pth"
        return MicrosoftClap.from_weights(path, tokenizer=tokenizer if tokenizer.is_dir() else None)
    if name == "vggish":
        return VGGish.from_weights(min(weights.glob("vggish-*.pth"), default=weights / "vggish-10086976.pth"))
    raise ValueError(f"unknown embedder {name!r}; choose among {', '.join((OWN, *PUBLISHED))}")


def load_class(text: str) -> AudioEmbedder:
    """The embedder of CLASS_PATH=FOLDER, by the class's `from_pretrained`; raises ValueError for anything else."""
    path, _, folder = text.partition("=")
    module, _, name = path.rpartition(".")
    if not (module and folder):
        raise ValueError(f"--embedder {text}: give CLASS_PATH=FOLDER, as my.package.Embedder=weights/mine")
    try:
        embedder: AudioEmbedder = getattr(import_module(module), name).from_pretrained(folder)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--embedder {text}: {path} cannot be imported ({error})") from error
    return embedder


def embedder_labels(name: str) -> dict[str, str]:
    """Labels of the metrics of an embedder, and their keys in a summary."""
    fad = TITLES.get(name, f"FAD, {name}")
    cosine = "CLAP-score" if name in TITLES else "cosine"
    return {
        fad: f"fad_{name}",
        f"{fad}, infinity": f"fad_infinity_{name}",
        f"KAD, {name}": f"kad_{name}",
        f"embeddings, {name}": f"num_embeddings_{name}",
        f"{cosine} to sound, {name}": f"{AUDIO_SCORE}{name}",
        f"{cosine} to text, {name}": f"{TEXT_SCORE}{name}",
    }


class SoundSets(NamedTuple):
    """Sets of pairs to embed, by name, the references first; each process embeds its share of every set."""

    pairs: Mapping[str, list[SoundPair]]
    seconds: Mapping[str, Mapping[ClipKey, float]]
    """Length of the reference of each clip that this process could read, by set."""
    process: Process
    cache: FeatureCache | None
    seed: int
    show_progress: bool

    def own(self, name: str) -> list[SoundPair]:
        """The pairs of a set that this process has read."""
        return [pair for pair in self.process.share(self.pairs[name]) if pair.key in self.seconds[name]]

    def sounds(self, name: str, pair: SoundPair) -> tuple[AudioClip, AudioClip]:
        """The sounds of a pair to embed: the generated one, cut to its reference's length, and the reference."""
        if pair.generated == pair.reference:
            return AudioClip(pair.reference), AudioClip(pair.reference)
        return AudioClip(pair.generated, 0.0, round(self.seconds[name][pair.key], 6)), AudioClip(pair.reference)

    @property
    def references(self) -> str:
        """Name of the set of references."""
        return next(iter(self.pairs))

    def distance(self, name: str, metric: Metric, clips: Sequence[EmbeddedPair]) -> Distance:
        """Distance of a set's generated from its reference embeddings; for the references, between their halves."""
        half = floor_half(self.pairs[name], self.seed) if name == self.references else None
        if half is not None and not half:
            return Distance(None, None, 0, 0, 0, (TOO_FEW,))
        for pair, generated, reference in clips:
            clip = f"{pair.video_id} {pair.start:g}"
            if half is None:
                metric.update(*generated, real=False, clip=clip)
            metric.update(*reference, real=half is None or pair.video_id not in half, clip=clip)
        return computed(metric)


def floor_half(references: Sequence[SoundPair], seed: int) -> set[str]:
    """Half of the references' videos, drawn by `seed`, to compare with the other half.

    Empty for fewer than ten videos: the distance of two such halves is chance.
    """
    videos = sorted({pair.video_id for pair in references})
    if len(videos) < 2 * MIN_VIDEOS:
        return set()
    drawn = np.random.default_rng(seed).permutation(len(videos))
    return {videos[i] for i in drawn[: len(videos) // 2]}


@dataclass
class Embedded:
    """Metrics by set and values of clips by set that networks give, with labels, protocol and notes."""

    summaries: dict[str, dict[str, float | None]] = field(default_factory=dict)
    columns: dict[str, dict[ClipKey, dict[str, float]]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    remarks: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def note(self, label: str, set_name: str, lines: Sequence[str]) -> None:
        """Keep a distance's notes about a set."""
        for line in lines:
            self.remarks.setdefault((label, line), []).append(set_name)

    def fail(self, name: str, failures: list[str]) -> None:
        """Keep which files failed a network, of all processes."""
        lines = {line for part in all_gather(failures) for line in part}
        self.failures += [f"{name}: {line}" for line in sorted(lines)]

    def counts(self, name: str, distance: Distance) -> dict[str, float | None]:
        """Numbers of embeddings of a distance; empty for a floor that does not exist."""
        if not distance.num_reference:
            return {}
        return {
            f"num_embeddings_{name}": distance.num_generated,
            f"num_reference_embeddings_{name}": distance.num_reference,
        }

    def scores(self, name: str, rows: Sequence[Row]) -> Scores:
        """Scores of a set: its rows with the columns that networks add, and the distances among the metrics."""
        columns = self.columns.get(name, {})
        more = [{**row, **columns.get((str(row["video_id"]), float(row["start"] or 0)), {})} for row in rows]
        scores = scores_of(more)
        return Scores(scores.rows, scores.summary | self.summaries.get(name, {}))

    @property
    def notes(self) -> list[str]:
        """Notes for the report; one that holds for several sets names them all."""
        return self.failures + [
            f"{label}: {line} ({', '.join(names)})" for (label, line), names in self.remarks.items()
        ]


def embed_sets(sets: SoundSets, embedder: AudioEmbedder, into: Embedded) -> None:
    """Add an embedder's FAD, KAD and cosines of each set; all processes get the same.

    The references' distances are the floor, one half of them against the other.
    """
    name = str(embedder.identity["name"])
    sounds = {group: [(pair, *sets.sounds(group, pair)) for pair in sets.own(group)] for group in sets.pairs}
    files = list(dict.fromkeys(clip for members in sounds.values() for _, *both in members for clip in both))
    with progress_bar(f"embedding, {name}", len(files), shown=sets.process.first and sets.show_progress) as advance:
        extracted = extract(files, embedder, cache=sets.cache, progress=advance)
    features = dict(zip(files, extracted.features, strict=True))
    into.fail(name, list(extracted.failures.values()))
    into.labels |= embedder_labels(name)
    into.protocol[name] = dict(embedder.identity) | {"windows": window_protocol(embedder)}
    for group, members in sounds.items():
        clips = [
            (pair, made, true)
            for pair, generated, reference in members
            if (made := features[generated]) is not None and (true := features[reference]) is not None
        ]
        _add_distances(
            name, group, sets, [(pair, (made.embeddings,), (true.embeddings,)) for pair, made, true in clips], into
        )
        _add_cosines(name, group, clips, embedder, into)


def _add_distances(name: str, group: str, sets: SoundSets, clips: Sequence[EmbeddedPair], into: Embedded) -> None:
    fad = sets.distance(group, FrechetAudioDistance(seed=sets.seed), clips)
    kad = sets.distance(group, KernelAudioDistance(), clips)
    into.summaries.setdefault(group, {}).update(
        {f"fad_{name}": fad.value, f"fad_infinity_{name}": fad.infinity, f"kad_{name}": kad.value}
        | into.counts(name, fad)
    )
    label = f"{group}, the floor" if group == sets.references else group
    titles = list(embedder_labels(name))
    into.note(titles[0], label, fad.notes)
    into.note(titles[2], label, kad.notes)


def _add_cosines(
    name: str, group: str, clips: Sequence[tuple[SoundPair, Features, Features]], embedder: AudioEmbedder,
    into: Embedded,
) -> None:  # fmt: skip
    """Each clip's cosine with its reference and with its caption, over the windows that lie wholly in the sound."""
    texts = _embedded_texts(embedder, sorted({pair.caption for pair, _, _ in clips if pair.caption}))
    own: dict[ClipKey, dict[str, float]] = {}
    for pair, made, true in clips:
        own[pair.key] = {f"{AUDIO_SCORE}{name}": clap_score(made.covered, true.covered)}
        if pair.caption in texts:
            own[pair.key][f"{TEXT_SCORE}{name}"] = clap_score(made.covered, texts[pair.caption])
    clip_scores = {key: values for part in all_gather(own) for key, values in part.items()}
    columns = into.columns.setdefault(group, {})
    for key, values in clip_scores.items():
        columns.setdefault(key, {}).update(values)
    captioned = sum(f"{TEXT_SCORE}{name}" in values for values in clip_scores.values())
    if 0 < captioned < len(clip_scores):
        line = f"{len(clip_scores) - captioned} of {len(clip_scores)} clips have no caption and are not counted"
        into.note(list(embedder_labels(name))[-1], group, [line])


def _embedded_texts(embedder: Any, captions: list[str]) -> dict[str | None, Tensor]:
    if not captions or not hasattr(embedder, "embed_text") or getattr(embedder, "text", True) is None:
        return {}
    return {caption: vector[None] for caption, vector in zip(captions, embedder.embed_text(captions), strict=True)}


def computed(metric: Metric) -> Distance:
    """A metric's value, without the warning that this process added nothing: others may have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        return metric.compute()
