"""A scene of the physical world: what sounds in it and when, and how it looks on film."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foleygram.datasets.captions import predicate
from foleygram.datasets.clip import Event
from foleygram.synthetic.physics.camera import Sensor
from foleygram.synthetic.physics.contacts import Contact, Impact, find_impacts
from foleygram.synthetic.physics.events import annotate


@dataclass(frozen=True)
class Scene:
    """A scene of `seconds`: what touches what, and how it is filmed. `materials` are those of its things, by number."""

    seconds: float
    subject: str
    """Template of the caption; `{}` is replaced by actions and materials."""
    silent: str
    """The caption of a scene without contact."""
    film: Callable[[np.ndarray, Sensor], Iterator[np.ndarray]]
    """Gives frames (height, width, 3) uint8 at times (n,) in seconds, as a sensor records them."""
    materials: list[str]
    tool_material: str
    contacts: list[Contact]

    @cached_property
    def impacts(self) -> list[Impact]:
        """The contacts that begin with an impact."""
        return find_impacts(self.contacts)

    @cached_property
    def events(self) -> list[Event]:
        """Hits and scrapes as an annotator would list them."""
        return annotate(self.impacts, self.materials)

    @property
    def caption(self) -> str:
        """A sentence on who does what to which materials."""
        what = predicate(self.events)
        return self.subject.format(what) if what else self.silent
