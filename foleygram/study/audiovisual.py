"""FAVD of sets of sounds under the videos they go with, by the profiles of `evaluation/favd.py`."""

from collections.abc import Mapping

from foleygram.evaluation.distances import FrechetAudioVisualDistance
from foleygram.evaluation.extraction import AudioClip, extract, window_protocol
from foleygram.evaluation.favd import extract_pictures
from foleygram.evaluation.feature_cache import FeatureCache
from foleygram.evaluation.i3d import I3D
from foleygram.evaluation.scores import computed
from foleygram.evaluation.vggish import VGGish
from foleygram.processes import Place, from_all, progress_bar
from foleygram.study.embedding import Embedded, Lengths, clip_key, floor_half, told_sounds
from foleygram.study.pairs import Pair


def see_sets(
    name: str,
    pairs: Mapping[str, list[Pair]],
    lengths: Lengths,
    networks: tuple[I3D, VGGish],
    place: Place,
    into: Embedded,
    *,
    cache: FeatureCache | None,
    seed: int,
    show_progress: bool,
) -> None:
    """Add a profile's distance of every set from its references, both under the references' pictures.

    The first set is the references, whose figure is the floor: one half of the videos against the other.
    """
    eye, ear = networks
    own = {
        group: [pair for pair in lengths.kept(group, place.share(members)) if pair.picture is not None]
        for group, members in pairs.items()
    }
    told = {group: [told_sounds(pair, lengths.seconds[group]) for pair in members] for group, members in own.items()}
    seen = {group: [_picture(pair, lengths, group) for pair in members] for group, members in own.items()}
    sounds = list(dict.fromkeys(clip for clips in told.values() for both in clips for clip in both))
    pictures = list(dict.fromkeys(clip for clips in seen.values() for clip in clips))
    with progress_bar(f"looking, {name}", len(pictures), shown=place.first and show_progress) as advance:
        looked = extract_pictures(pictures, eye, cache=cache, progress=advance)
    heard = extract(sounds, ear, cache=cache)
    failures = [*looked.failures.values(), *heard.failures.values()]
    into.failures += [f"{name}: {line}" for line in sorted({line for part in from_all(failures) for line in part})]
    rows = dict(zip(sounds, heard.features, strict=True))
    views = dict(zip(pictures, looked.features, strict=True))
    into.labels |= {f"FAVD, {name}": f"favd_{name}", f"rows, {name}": f"num_rows_{name}"}
    into.protocol[name] = {
        "picture": dict(eye.identity), "sound": dict(ear.identity) | {"windows": window_protocol(ear)}
    }  # fmt: skip
    halves = floor_half(next(iter(pairs.values())), seed)
    for number, group in enumerate(pairs):
        metric = FrechetAudioVisualDistance(name, infinity=False, seed=seed)
        for pair, (made, true), picture in zip(own[group], told[group], seen[group], strict=True):
            view, generated, reference = views[picture], rows[made], rows[true]
            if view is None or generated is None or reference is None:
                continue
            clip = f"{pair.video_id} {pair.start:g}"
            if number == 0:
                metric.update(view.rows, reference.covered, real=pair.video_id not in halves, clip=clip)
            else:
                metric.update(view.rows, generated.covered, real=False, clip=clip)
                metric.update(view.rows, reference.covered, real=True, clip=clip)
        found = computed(metric)
        blind = sum(pair.picture is None for pair in pairs[group])
        unseen = [f"{blind} of {len(pairs[group])} clips have no picture: not in it"] * bool(blind)
        into.summaries[group] = into.summaries.get(group, {}) | {
            f"favd_{name}": found.value,
            f"num_rows_{name}": found.num_generated,
            f"num_reference_rows_{name}": found.num_reference,
        }
        into.note(f"FAVD, {name}", group, [*found.notes, *unseen])


def _picture(pair: Pair, lengths: Lengths, group: str) -> AudioClip:
    assert pair.picture is not None
    return AudioClip(pair.picture, pair.start, round(lengths.seconds[group][clip_key(pair)], 6))
