"""FAVD of sets of sounds with the videos they belong to, by the profiles of `evaluation/favd.py`."""

from foleygram.benchmark.embeddings import Embedded, SoundSets
from foleygram.distributed import progress_bar
from foleygram.evaluation.distances import FrechetAudioVisualDistance
from foleygram.evaluation.extraction import AudioClip, extract, window_protocol
from foleygram.evaluation.favd import extract_videos
from foleygram.evaluation.networks.i3d import I3D
from foleygram.evaluation.networks.vggish import VGGish


def add_favd(name: str, sets: SoundSets, networks: tuple[I3D, VGGish], into: Embedded) -> None:
    """Add a profile's distance of every set from its references, both with the references' videos.

    The references' distance is the floor, one half of them against the other.
    """
    i3d, vggish = networks
    clips = {
        group: [
            (
                pair,
                AudioClip(pair.video, pair.start, round(sets.seconds[group][pair.key], 6)),
                *sets.sounds(group, pair),
            )
            for pair in sets.own(group)
            if pair.video is not None
        ]
        for group in sets.pairs
    }
    members = [member for group in clips.values() for member in group]
    all_videos = list(dict.fromkeys(video for _, video, *_ in members))
    all_sounds = list(dict.fromkeys(sound for _, _, *both in members for sound in both))
    with progress_bar(f"videos, {name}", len(all_videos), shown=sets.process.first and sets.show_progress) as advance:
        from_videos = extract_videos(all_videos, i3d, cache=sets.cache, progress=advance)
    from_sounds = extract(all_sounds, vggish, cache=sets.cache)
    into.fail(name, [*from_videos.failures.values(), *from_sounds.failures.values()])
    of_video = dict(zip(all_videos, from_videos.features, strict=True))
    of_sound = dict(zip(all_sounds, from_sounds.features, strict=True))
    into.labels |= {f"FAVD, {name}": f"favd_{name}", f"embeddings, {name}": f"num_embeddings_{name}"}
    into.protocol[name] = {
        "video": dict(i3d.identity), "sound": dict(vggish.identity) | {"windows": window_protocol(vggish)}
    }  # fmt: skip
    for group, members in clips.items():
        embedded = [
            (pair, (seen.embeddings, made.covered), (seen.embeddings, true.covered))
            for pair, video, generated, reference in members
            if (seen := of_video[video]) and (made := of_sound[generated]) and (true := of_sound[reference])
        ]
        distance = sets.distance(group, FrechetAudioVisualDistance(name, infinity=False, seed=sets.seed), embedded)
        into.summaries.setdefault(group, {}).update({f"favd_{name}": distance.value} | into.counts(name, distance))
        without = sum(pair.video is None for pair in sets.pairs[group])
        unseen = [f"{without} of {len(sets.pairs[group])} clips have no video and are not counted"] * bool(without)
        into.note(f"FAVD, {name}", group, [*distance.notes, *unseen])
