"""Where the tip of a scene's stick is at any time: its height above the surface, and its place on it."""

import numpy as np

from foleygram.synthetic.drumstick.scene import Scene, StickEvent


def scrape_speed(event: StickEvent, times: np.ndarray) -> np.ndarray:
    """Tip speed (T,) along the surface in a scrape, 0..1, at `times` (T,) seconds: fast attack, gentle end."""
    phase = np.clip((times - event.time) / event.duration, 0, 1)
    inside = (times >= event.time) & (times < event.time + event.duration)
    rise = 1 - np.exp(-(times - event.time).clip(0) / 0.008)
    return np.where(inside, event.speed * rise * np.cos(phase * np.pi / 2) ** 0.7, 0.0)


def _apex(event: StickEvent) -> float:
    return 0.07 + 0.33 * event.speed


def tip_height(scene: Scene, times: np.ndarray) -> np.ndarray:
    """Height of the tip above the surface at `times` (T,) seconds: (T,) frame heights, 0 in contact."""
    height = np.full(times.shape, 0.3)
    for begin, end, before, after in _gaps(scene):
        inside = (times >= begin) & (times < end)
        if inside.any():
            height[inside] = _swing(times[inside], begin, end, before, after)
            if not any(begin < feint < end for feint in scene.feints):
                height[inside] = _wander(height[inside], _pause(times[inside], begin, end), begin, end, scene.seed)
    for feint in scene.feints:
        height = height * (1 - 0.62 * np.exp(-(((times - feint) / 0.11) ** 2)))
    for event in scene.events:
        height[(times >= event.time) & (times <= event.time + event.duration)] = 0.0
    return height


def _gaps(scene: Scene) -> list[tuple[float, float, StickEvent | None, StickEvent | None]]:
    """Spans in which the stick is in the air: begin and end in seconds, the events on either side."""
    events: list[StickEvent | None] = [None, *scene.events, None]
    ends = [-1.0, *(e.time + e.duration for e in scene.events)]
    starts = [*(e.time for e in scene.events), scene.seconds + 1.0]
    return list(zip(ends, starts, events[:-1], events[1:], strict=True))


def _pause(times: np.ndarray, begin: float, end: float) -> np.ndarray:
    """0 near both contacts, 1 in the middle of a gap, with smooth ends; all 0 in a gap of under 1.1 s."""
    if end - begin < 1.1:
        return np.zeros_like(times)
    return np.sin(np.pi * np.clip((times - begin - 0.25) / (end - begin - 0.6), 0, 1)) ** 2


def _wander(height: np.ndarray, pause: np.ndarray, begin: float, end: float, seed: int) -> np.ndarray:
    """What the stick does in a long gap: hover, rest low above the surface, or leave the frame; heights (T,)."""
    habit = (seed + round(1000 * (begin + end))) % 4
    if habit == 0:
        return height * (1 - 0.8 * pause)
    return height + 0.9 * pause if habit == 1 else height


def _swing(
    times: np.ndarray, begin: float, end: float, before: StickEvent | None, after: StickEvent | None
) -> np.ndarray:
    gap = end - begin
    # Room for the wind-up between rebound and fall, or the stick would snap up faster than it strikes.
    fall = min(0.26 - 0.12 * after.speed, 0.45 * gap) if after else 0.3
    rise = min(0.16, 0.25 * gap)
    room = min(1.0, gap / 0.35)
    top = _apex(after) * room if after else 0.35
    rebound = (0.35 + 0.3 * before.speed) * _apex(before) * room if before else top
    blend = np.clip((times - begin - rise) / max(gap - rise - fall, 1e-3), 0, 1)
    height = rebound + (top - rebound) * blend**2 * (3 - 2 * blend)
    if before:
        height = np.where(times < begin + rise, rebound * np.sin(np.pi / 2 * (times - begin) / rise), height)
    if after:
        height = np.where(times > end - fall, top * np.sin(np.pi / 2 * (end - times) / fall), height)
    return height


def tip_position(scene: Scene, times: np.ndarray) -> np.ndarray:
    """Where the tip is on the surface at `times` seconds: (T, 2), shares of width and height."""
    anchors_t, anchors = [-1.0], [scene.things[scene.events[0].thing if scene.events else 0].position]
    for event in scene.events:
        # Around the object's middle, so that a scrape stays on the object.
        aside = 0.06 * (event.seed % 1009 / 1009 - 0.5)
        steps, along = np.zeros(1), np.zeros(1)
        if event.duration:
            steps = np.linspace(0, event.duration, 12)
            travel = 0.6 * np.cumsum(scrape_speed(event, event.time + steps)) * (event.duration / 12)
            along = event.direction * (travel - travel[-1] / 2)
        base = scene.things[event.thing].position
        anchors_t += list(event.time + steps)
        anchors += [base + np.array([aside + shift, 0.0]) for shift in along]
    x, y = np.array(anchors).T
    return np.stack([np.interp(times, anchors_t, x), np.interp(times, anchors_t, y)], axis=-1)
