"""Annotated events of a simulated scene, as a listener would mark them: one for touches that follow closely."""

from foleygram.datasets.clip import Event
from foleygram.synthetic.drumstick.materials import MATERIALS
from foleygram.synthetic.physics.contacts import Impact

TOGETHER = 0.12
"""Seconds within which touches are heard as one event."""
SCRAPE = 0.09
"""Seconds of sliding from which an event is a scratch."""


def annotate(impacts: list[Impact], materials: list[str]) -> list[Event]:
    """Events in the order of time, from the impacts on things of `materials`."""
    groups: list[list[Impact]] = []
    for impact in impacts:
        if groups and impact.time - groups[-1][-1].time < TOGETHER:
            groups[-1].append(impact)
        else:
            groups.append([impact])
    events = []
    for group in groups:
        loudest = max(impact.impulse for impact in group)
        first = next(impact for impact in group if impact.impulse >= 0.25 * loudest)
        sliding = max(impact.sliding for impact in group)
        material = materials[max(group, key=lambda impact: impact.impulse).thing]
        action = "scratch" if sliding >= SCRAPE else "hit"
        events.append(Event(first.time, material, action, MATERIALS[material].reaction))
    return events
