"""Captions of clips, written from their annotated events."""

from collections.abc import Sequence
from pathlib import Path

from foleygram.datasets.cache import CachedClips
from foleygram.datasets.clip import Event

UNLABELLED = "A person uses a wooden stick."


def caption(events: Sequence[Event]) -> str:
    """A caption of `events`: `A person hits|scratches|hits and scratches {materials} with a wooden stick.`

    Materials come in the order of their first appearance; where no event has one, the sentence names none.
    """
    what = predicate(events)
    return f"A person {what} with a wooden stick." if what else UNLABELLED


def predicate(events: Sequence[Event]) -> str | None:
    """`hits|scratches|hits and scratches {materials}`; None where no event has a material."""
    materials = list(dict.fromkeys(event.material for event in events if event.material))
    actions = {event.action for event in events if event.action}
    if not materials:
        return None
    verb = "hits and scratches" if actions >= {"hit", "scratch"} else "scratches" if "scratch" in actions else "hits"
    return f"{verb} {_list(materials)}"


def cached_captions(cache: str | Path) -> list[str]:
    """Captions of all clips of a cache, in its order; raises FileNotFoundError or ValueError as `CachedClips`."""
    return [text for shard in CachedClips(cache, fields=()).manifest["shards"] for text in shard["strings"]["caption"]]


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
