"""The plan of a listening test: which clips are compared and rated under which blinded names; a pure, seeded draw."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

from foleygram.files import read_json

FORMAT = "foleygram listening key 1"
ANCHOR = "anchor"
"""System name of a spoilt sound, which attention checks pair with an intact one."""
SCALES = {
    "timing": "Do the sounds happen exactly when you see the actions?",
    "quality": "How natural and convincing is the sound itself?",
}
"""What is rated from 1 to 5 by default; timing is left out for sounds without a video."""
Tasks = Literal["both", "pairs", "ratings"]


class Stimulus(NamedTuple):
    """What lies behind a blinded name."""

    system: str
    clip: str


class Comparison(NamedTuple):
    """One comparison: two media of a clip, by blinded name, as shown to a listener who sees no mirror image."""

    clip: int
    left: str
    right: str


class Rating(NamedTuple):
    """One medium to rate on every scale."""

    clip: int
    medium: str


@dataclass(frozen=True)
class Plan:
    """A whole test; `media` by blinded name, trials by number, `checks` the better medium of each attention check."""

    page: str
    seed: int
    systems: tuple[str, ...]
    clips: tuple[str, ...]
    scales: dict[str, str]
    media: dict[str, Stimulus]
    pairs: dict[str, Comparison]
    ratings: dict[str, Rating]
    checks: dict[str, str]

    def public(self) -> dict[str, Any]:
        """The content of a listener's page: without system names, clip names and attention checks."""
        return {
            "page": self.page,
            "scales": self.scales,
            "pairs": [{"id": name, **pair._asdict()} for name, pair in self.pairs.items()],
            "ratings": [{"id": name, **rating._asdict()} for name, rating in self.ratings.items()],
        }

    def to_json(self) -> str:
        """The key: everything, to be kept from listeners."""
        content = {"format": FORMAT} | vars(self)
        for name in ("media", "pairs", "ratings"):
            content[name] = {key: value._asdict() for key, value in content[name].items()}
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Read a key; raises FileNotFoundError without one, ValueError for a file that is none."""
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such key; it was written beside the page, and answers cannot be read without it"
            )
        try:
            content = read_json(path)
            if content.pop("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT!r}")
            for name, kind in (("media", Stimulus), ("pairs", Comparison), ("ratings", Rating)):
                content[name] = {key: kind(**value) for key, value in content[name].items()}
            for name in ("systems", "clips"):
                content[name] = tuple(content[name])
            return cls(**content)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path}: not the key of a listening test ({error})") from error


def plan_trials(
    systems: Sequence[str],
    clips: Sequence[str],
    *,
    seed: int,
    scales: Mapping[str, str],
    tasks: Tasks = "both",
    num_checks: int = 0,
    salt: str = "",
) -> Plan:
    """Every pair of systems on every clip, and every system's every clip to rate, in blinded names and shuffled order.

    Of each pair of systems the one stands left in half of the clips, the other in the rest; half of the listeners see
    all of it mirrored. `num_checks` further pairs have an intact sound and a spoilt one. `salt` enters the page's
    identity, so that answers to another test are recognised. Raises ValueError for fewer than two systems, names that
    repeat, no clip, no scale to rate on, or more checks than clips.
    """
    _check(systems, clips, scales, tasks, num_checks)
    draw = random.Random(seed)
    media = {(system, clip): f"{draw.getrandbits(48):012x}" for clip in clips for system in systems}
    checked = [(draw.choice(systems), clip) for clip in draw.sample(list(clips), num_checks)]
    anchors = {clip: f"{draw.getrandbits(48):012x}" for _, clip in checked}
    numbers = {clip: number for number, clip in enumerate(draw.sample(list(clips), len(clips)))}
    versus = [
        Comparison(numbers[clip], media[left, clip], media[right, clip])
        for first, second in combinations(systems, 2)
        for clip, (left, right) in zip(clips, _sides(first, second, len(clips), draw), strict=True)
    ] * (tasks != "ratings")
    spoilt = [
        Comparison(numbers[clip], *((media[system, clip], anchors[clip])[:: (1, -1)[number % 2]]))
        for number, (system, clip) in enumerate(checked)
    ]
    rated = [Rating(numbers[clip], name) for (_, clip), name in media.items()] * (tasks != "pairs")
    pairs = {f"p{n}": pair for n, pair in enumerate(draw.sample(versus + spoilt, len(versus + spoilt)), start=1)}
    whole = {anchors[clip]: media[system, clip] for system, clip in checked}
    facts = json.dumps([seed, list(systems), list(clips), dict(scales), tasks, num_checks, salt])
    return Plan(
        page=hashlib.sha256(facts.encode()).hexdigest()[:16],
        seed=seed,
        systems=tuple(systems),
        clips=tuple(clips),
        scales=dict(scales) if rated else {},
        media={name: Stimulus(*what) for what, name in media.items()}
        | {name: Stimulus(ANCHOR, clip) for clip, name in anchors.items()},
        pairs=pairs,
        ratings={f"r{n}": rating for n, rating in enumerate(draw.sample(rated, len(rated)), start=1)},
        checks={name: whole[side] for name, pair in pairs.items() for side in (pair.left, pair.right) if side in whole},
    )


def _check(
    systems: Sequence[str], clips: Sequence[str], scales: Mapping[str, str], tasks: Tasks, num_checks: int
) -> None:
    if len(systems) < 2 or len(set(systems)) < len(systems) or ANCHOR in systems:
        raise ValueError(f"systems {list(systems)}: give two or more of different names, none of them {ANCHOR!r}")
    if not clips:
        raise ValueError("no clip that every system has")
    if tasks != "pairs" and not scales:
        raise ValueError("nothing to rate on: give a scale or choose only pairs")
    if not 0 <= num_checks <= len(clips):
        raise ValueError(f"{num_checks} attention checks on {len(clips)} clips: one per clip at most")


def _sides(first: str, second: str, count: int, draw: random.Random) -> list[tuple[str, str]]:
    """Left and right for `count` clips: each side equally often, to within one, in random order."""
    either = [(first, second), (second, first)]
    draw.shuffle(either)
    sides = [either[number % 2] for number in range(count)]
    draw.shuffle(sides)
    return sides


def is_mirrored(listener: str) -> bool:
    """Whether a listener, by hexadecimal identity, sees left and right exchanged; the page computes the same."""
    return int(listener[-1], 16) % 2 == 1
