"""From the page's fields to an edit as the command line writes it."""

import math

from foleygram.app.session import NamedEdit, Session


def region_edit(
    session: Session, name: str, start: float | None, end: float | None, amount: float | str | None
) -> NamedEdit:
    """The edit `name` of the stretch from `start` to `end` in seconds, by `amount`.

    `amount` is in dB for a gain, in ms for a shift; for a hit a level as the command line writes it, where none takes
    that of the others. Raises ValueError for a field that is empty and needed.
    """
    if name == "quantise":
        return NamedEdit(name, session.frame_rate())
    begin = _filled(start, "From, the second it starts at")
    if name == "remove-hit":
        return NamedEdit(name, f"{begin:.3f}")
    if name == "add-hit":
        level = str(amount or "").strip()
        return NamedEdit(name, f"{begin:.3f}:{level}" if level else f"{begin:.3f}")
    stop = _filled(end, "To, the second it ends at")
    if stop - begin < 0.001:
        raise ValueError("choose a stretch first: drag over the picture, or fill in From and To")
    region = f"{begin:.3f}:{stop:.3f}"
    if name == "mute":
        return NamedEdit(name, region)
    unit = {"gain": "dB", "shift": "ms"}[name]
    return NamedEdit(name, f"{region}:{_filled(amount, f'the field beside the button, in {unit}'):g}{unit}")


def _filled(value: float | str | None, words: str) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"fill in {words}")
    return value
