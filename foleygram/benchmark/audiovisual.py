"""FAVD of sets of sounds under the videos they go with, by the profiles of `evaluation/favd.py`."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from foleygram.benchmark.embeddings import Embedded, Lengths, clip_key, floor_half, sounds_of
from foleygram.benchmark.pairs import Pair
from foleygram.distributed import Place, progress_bar
from foleygram.evaluation.distances import Distance, FrechetAudioVisualDistance
from foleygram.evaluation.extraction import AudioClip, extract, window_protocol
from foleygram.evaluation.favd import extract_pictures
from foleygram.evaluation.feature_cache import FeatureCache
from foleygram.evaluation.networks.i3d import I3D
from foleygram.evaluation.networks.vggish import VGGish
from foleygram.evaluation.scores import computed


def add_favd(
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
    i3d, vggish = networks
    own = {
        group: [pair for pair in lengths.kept(group, place.share(members)) if pair.picture is not None]
        for group, members in pairs.items()
    }
    sounds = {g: [sounds_of(pair, lengths.seconds[g]) for pair in members] for g, members in own.items()}
    pictures = {g: [_picture(pair, lengths, g) for pair in members] for g, members in own.items()}
    every_sound = list(dict.fromkeys(clip for clips in sounds.values() for both in clips for clip in both))
    every_picture = list(dict.fromkeys(clip for clips in pictures.values() for clip in clips))
    with progress_bar(f"pictures, {name}", len(every_picture), shown=place.first and show_progress) as advance:
        from_pictures = extract_pictures(every_picture, i3d, cache=cache, progress=advance)
    from_sounds = extract(every_sound, vggish, cache=cache)
    into.fail(name, [*from_pictures.failures.values(), *from_sounds.failures.values()])
    heard = dict(zip(every_sound, from_sounds.features, strict=True))
    seen = dict(zip(every_picture, from_pictures.features, strict=True))
    into.labels |= {f"FAVD, {name}": f"favd_{name}", f"rows, {name}": f"num_rows_{name}"}
    into.protocol[name] = {
        "picture": dict(i3d.identity), "sound": dict(vggish.identity) | {"windows": window_protocol(vggish)}
    }  # fmt: skip
    halves = floor_half(next(iter(pairs.values())), seed)
    for number, group in enumerate(pairs):
        rows = [
            (pair, view.rows, made.covered, true.covered)
            for pair, (first, second), picture in zip(own[group], sounds[group], pictures[group], strict=True)
            if (view := seen[picture]) and (made := heard[first]) and (true := heard[second])
        ]
        found = _distance(name, rows, halves if number == 0 else None, seed)
        into.summaries[group] = into.summaries.get(group, {}) | {
            f"favd_{name}": found.value,
            f"num_rows_{name}": found.num_generated,
            f"num_reference_rows_{name}": found.num_reference,
        }
        without = sum(pair.picture is None for pair in pairs[group])
        unseen = [f"{without} of {len(pairs[group])} clips have no picture: not in it"] * bool(without)
        into.note(f"FAVD, {name}", group, [*found.notes, *unseen])


def _distance(
    name: str, rows: Sequence[tuple[Pair, Tensor, Tensor, Tensor]], half: set[str] | None, seed: int
) -> Distance:
    """Of rows of picture, sound and reference; of one `half` of the references' videos from the other, where given."""
    metric = FrechetAudioVisualDistance(name, infinity=False, seed=seed)
    for pair, picture, made, true in rows:
        clip = f"{pair.video_id} {pair.start:g}"
        if half is None:
            metric.update(picture, made, real=False, clip=clip)
        metric.update(picture, true, real=half is None or pair.video_id not in half, clip=clip)
    return computed(metric)


def _picture(pair: Pair, lengths: Lengths, group: str) -> AudioClip:
    assert pair.picture is not None
    return AudioClip(pair.picture, pair.start, round(lengths.seconds[group][clip_key(pair)], 6))
