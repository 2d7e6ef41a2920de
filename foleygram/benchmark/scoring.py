"""Scores sets of pairs by the chosen metrics: what both forms of `evaluate` have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch

from foleygram.benchmark.audiovisual import add_favd
from foleygram.benchmark.embeddings import OWN, PUBLISHED, Embedded, SoundSets, embed_sets, load_class, load_published
from foleygram.benchmark.intervals import MIN_VIDEOS, bootstrap_intervals
from foleygram.benchmark.pairs import ClipKey, Remarks, SoundPair, read_pair
from foleygram.benchmark.protocol import scoring_protocol
from foleygram.benchmark.report import Report
from foleygram.distributed import Process, all_gather, progress_bar
from foleygram.evaluation.embedders import AudioEmbedder
from foleygram.evaluation.favd import PROFILES, load_profile
from foleygram.evaluation.feature_cache import FeatureCache
from foleygram.evaluation.material import MaterialJudge
from foleygram.evaluation.networks.i3d import I3D
from foleygram.evaluation.networks.vggish import VGGish
from foleygram.evaluation.scores import CLIP_METRICS, gather_rows, score_clip
from foleygram.evaluation.statistics import Row
from foleygram.weights.hub import load_network

METRICS = (*CLIP_METRICS, "alignment", OWN, *PUBLISHED, *PROFILES)
WANTED = {
    "material": "a judge, --judge FOLDER",
    "alignment": "a checkpoint that generates, --checkpoint and --data",
    OWN: "a release: beside --generated give it as "
    "--embedder foleygram.evaluation.embedders.AlignedEmbedder=checkpoints/mini",
}
"""Requirements of metrics that may be unavailable."""


def choose_metrics(names: Sequence[str] | None, *, alignment: bool = False, judge: bool = True) -> tuple[str, ...]:
    """The named metrics, each once, without space around them; by default all that are available.

    `alignment`: whether a checkpoint is scored; `judge`: whether there is a material judge. Raises ValueError
    for an unknown name, listing all, and for an unavailable metric.
    """
    lacking = {"alignment": not alignment, OWN: not alignment, "material": not judge}
    if names is None:
        return tuple(name for name in METRICS if not lacking.get(name))
    names = [name.strip() for name in names]
    unknown = sorted(set(names) - set(METRICS))
    if unknown:
        raise ValueError(f"unknown metrics {', '.join(unknown)}; choose among {', '.join(METRICS)}")
    for name in names:
        if lacking.get(name):
            raise ValueError(f"the metric {name} needs {WANTED[name]}")
    return tuple(dict.fromkeys(names))


class Networks(NamedTuple):
    """Loaded networks, and the metrics left out because their networks are missing."""

    judge: MaterialJudge | None
    judge_folder: Path | None
    embedders: list[AudioEmbedder]
    favd: dict[str, tuple[I3D, VGGish]]
    """FAVD's networks by profile."""
    left_out: dict[str, str]
    """Metrics without weights, and how to get them."""


def load_networks(
    metrics: Sequence[str],
    *,
    checkpoint: Path | None,
    judge: Path | None,
    weights: Path,
    embedders: Sequence[str],
    device: str | torch.device,
) -> Networks:
    """Load what `metrics` need; published weights that are missing leave their metric out, with the way to get them.

    `embedders` are CLASS_PATH=FOLDER. Raises FileNotFoundError for a judge that is not there, ValueError for weights
    that are damaged and for two embedders of one name.
    """
    networks = Networks(None, None, [], {}, {})
    if judge is not None and "material" in metrics:
        networks = networks._replace(judge=load_judge(judge), judge_folder=judge)
    for name in metrics:
        try:
            if name == OWN or name in PUBLISHED:
                networks.embedders.append(_on_device(load_published(name, weights, checkpoint), device))
            elif name in PROFILES:
                i3d, vggish = load_profile(name, weights)
                networks.favd[name] = _on_device(i3d, device), _on_device(vggish, device)
        except FileNotFoundError as error:
            networks.left_out[name] = str(error)
    networks.embedders.extend(_on_device(load_class(text), device) for text in embedders)
    names = [str(embedder.identity["name"]) for embedder in networks.embedders]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{names.count(name)} embedders are called {name}, of which a report holds one: leave {name} out of "
                "--metrics, or score once for each --embedder"
            )
    return networks


def load_judge(folder: Path) -> MaterialJudge:
    """The judge saved in `folder`; raises FileNotFoundError with how to train one."""
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder}: no material judge there; train one with `foleygram judge`, or choose --metrics without material"
        )
    return load_network(MaterialJudge, folder)


def _on_device(network: Any, device: str | torch.device) -> Any:
    return network.to(device) if isinstance(network, torch.nn.Module) else network


def score(
    pairs: Mapping[str, list[SoundPair]],
    networks: Networks,
    metrics: Sequence[str],
    system: Mapping[str, Any],
    process: Process,
    *,
    cache: str | Path | None,
    seed: int,
    show_progress: bool,
) -> Report:
    """Score each named set of pairs; the first set is the references. Each process reads its share.

    The folder `cache` keeps the embeddings of files.
    """
    total = sum(len(process.share(members)) for members in pairs.values())
    with progress_bar("scoring", total, shown=process.first and show_progress) as advance:
        rows, remarks, seconds = score_pairs(pairs, networks.judge, metrics, process, advance)
    features = FeatureCache(cache) if cache is not None and (networks.embedders or networks.favd) else None
    sets, embedded = SoundSets(pairs, seconds, process, features, seed, show_progress), Embedded()
    for embedder in networks.embedders:
        embed_sets(sets, embedder, embedded)
    for name, both in networks.favd.items():
        add_favd(name, sets, both, embedded)
    references = pairs[sets.references]
    scores = {name: embedded.scores(name, found) for name, found in rows.items()}
    return Report(
        title="",
        protocol=dict(system)
        | scoring_protocol(metrics, references, networks.judge_folder, embedders=embedded.protocol),
        scores=scores,
        pairs=dict(pairs),
        intervals={name: bootstrap_intervals(scored.rows, seed=seed) for name, scored in scores.items()},
        labels=embedded.labels,
        remarks=remarks,
        notes=(*_few(references), *embedded.notes),
        left_out=networks.left_out,
    )


def _few(references: Sequence[SoundPair]) -> list[str]:
    videos = len({pair.video_id for pair in references})
    if videos >= MIN_VIDEOS:
        return []
    return [f"an interval needs {MIN_VIDEOS} videos, here are {videos}: the metrics describe these clips only"]


def score_pairs(
    pairs: Mapping[str, list[SoundPair]],
    judge: MaterialJudge | None,
    metrics: Sequence[str],
    process: Process,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, list[Row]], Remarks, dict[str, dict[ClipKey, float]]]:
    """Rows of each named set of all processes, remarks on files, and the references' seconds that this process read."""
    remarks, rows, done = Remarks(), {}, 0
    seconds: dict[str, dict[ClipKey, float]] = {name: {} for name in pairs}
    for name, members in pairs.items():
        own = []
        for pair in process.share(members):
            clip = read_pair(pair, remarks)
            if clip is not None:
                own.append(score_clip(clip, metrics, judge))
                seconds[name][pair.key] = len(clip.reference) / clip.sample_rate
            done += 1
            if progress:
                progress(done)
        rows[name] = gather_rows(own)
    return rows, gather_remarks(remarks), seconds


def gather_remarks(remarks: Remarks) -> Remarks:
    """The remarks of all processes, each once."""
    parts = all_gather(remarks)
    names = [field.name for field in fields(Remarks)]
    return Remarks(**{name: sorted({line for part in parts for line in getattr(part, name)}) for name in names})
