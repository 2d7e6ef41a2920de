"""Drawn times and levels, read back from the SVG."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from foleygram.app.drawing import (
    CARD_HEIGHT,
    CARD_WIDTH,
    CURVE_HEIGHT,
    GAP,
    MAX_POINTS,
    STRIP_HEIGHT,
    WIDTH,
    draw_take,
    draw_timeline,
    num_strip_frames,
)
from foleygram.envelope.editing.hits import Hit, draw_hits
from foleygram.envelope.envelope import Envelope

FLOOR = STRIP_HEIGHT + GAP + CURVE_HEIGHT
SECONDS = 4.0
HITS = draw_hits([Hit(1.0, 0.2), Hit(3.0, 0.1)], seconds=SECONDS)


def parts(svg: str, tag: str, kind: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(svg)
    return [part for part in root if part.tag.endswith("}" + tag) and part.get("class", kind) == kind]


def corners(svg: str, kind: str) -> np.ndarray:
    [path] = parts(svg, "path", kind)
    return np.array([float(number) for number in re.findall(r"[\d.]+", path.get("d", ""))]).reshape(-1, 2)


def test_a_peak_is_at_its_time_and_reaches_the_top() -> None:
    points = corners(draw_timeline(["a", "b"], SECONDS, HITS), "asked")
    x, y = points[points[:, 1].argmin()]
    assert x / WIDTH * SECONDS == pytest.approx(int(HITS.values.argmax()) / HITS.rate, abs=0.005)
    assert y == pytest.approx(STRIP_HEIGHT + GAP, abs=0.1)
    late = points[points[:, 0] > 0.7 * WIDTH]
    assert FLOOR - late[:, 1].min() == pytest.approx(CURVE_HEIGHT / 2, rel=0.05)  # half the level, half the height
    assert points[0].tolist() == [0.0, FLOOR] and points[-1].tolist() == [WIDTH, FLOOR]


def test_onsets_are_where_the_envelope_has_them() -> None:
    lines = parts(draw_timeline(["a"], SECONDS, HITS), "line", "onset")
    times = [float(line.get("x1", "")) / WIDTH * SECONDS for line in lines]
    assert times == pytest.approx(HITS.onsets().tolist(), abs=1e-4) and len(times) == 2


def test_frames_fill_the_strip_evenly() -> None:
    images = parts(draw_timeline(["data:a", "data:b", "data:c", "data:d"], SECONDS, HITS), "image", "")
    assert [image.get("href") for image in images] == ["data:a", "data:b", "data:c", "data:d"]
    middles = [float(image.get("x", "")) + float(image.get("width", "")) / 2 for image in images]
    assert middles == pytest.approx([125, 375, 625, 875])


@pytest.mark.parametrize(("size", "count"), [((1920, 1080), 7), ((1080, 1920), 21), ((640, 640), 12), ((4000, 100), 4)])
def test_the_number_of_frames_fits_their_aspect(size: tuple[int, int], count: int) -> None:
    assert num_strip_frames(*size) == count


def test_the_region_and_the_envelope_before_edits_are_drawn_if_given() -> None:
    plain = draw_timeline(["a"], SECONDS, HITS)
    assert parts(plain, "rect", "region") == [] and parts(plain, "path", "before") == []
    louder = Envelope(2 * HITS.values, HITS.rate)
    svg = draw_timeline(["a"], SECONDS, HITS, before=louder, region=(1.0, 3.0))
    [region] = parts(svg, "rect", "region")
    assert (float(region.get("x", "")), float(region.get("width", ""))) == (WIDTH / 4, WIDTH / 2)
    assert corners(svg, "before")[:, 1].min() == pytest.approx(STRIP_HEIGHT + GAP, abs=0.1)
    assert FLOOR - corners(svg, "asked")[:, 1].min() == pytest.approx(CURVE_HEIGHT / 2, abs=0.1)


def test_a_region_is_clipped_and_an_instant_is_visible() -> None:
    [region] = parts(draw_timeline(["a"], SECONDS, HITS, region=(2.0, 99.0)), "rect", "region")
    assert float(region.get("x", "")) + float(region.get("width", "")) == WIDTH
    [moment] = parts(draw_timeline(["a"], SECONDS, HITS, region=(2.0, 2.0)), "rect", "region")
    assert float(moment.get("width", "")) > 1


def test_one_loud_value_in_ten_minutes_is_drawn() -> None:
    values = np.zeros(75_000, np.float32)
    values[54_321] = 0.5
    points = corners(draw_timeline(["a"], 600.0, Envelope(values, 125.0)), "asked")
    assert len(points) <= MAX_POINTS + 2 and points[:, 1].min() == pytest.approx(STRIP_HEIGHT + GAP, abs=0.1)
    assert points[points[:, 1].argmin(), 0] == pytest.approx(54_321 / 75_000 * WIDTH, abs=1)


def test_silence_is_flat_and_labels_of_dense_onsets_do_not_overlap() -> None:
    silent = Envelope(np.zeros(501, np.float32), 125.0)
    assert set(corners(draw_timeline(["a"], SECONDS, silent), "asked")[:, 1]) == {FLOOR}
    dense = draw_hits([Hit(0.15 * i, 0.2, 0.05) for i in range(1, 26)], seconds=SECONDS)
    svg = draw_timeline(["a"], SECONDS, dense)
    xs = [float(text.get("x", "")) for text in parts(svg, "text", "time")]
    assert len(parts(svg, "line", "onset")) == 25 > len(xs) and np.diff(xs).min() >= 40


def test_both_envelopes_of_a_take_share_one_scale() -> None:
    svg = draw_take(HITS, Envelope(HITS.values / 4, HITS.rate), SECONDS)
    assert corners(svg, "asked")[:, 1].min() == pytest.approx(0, abs=0.1)
    assert CARD_HEIGHT - corners(svg, "obtained")[:, 1].min() == pytest.approx(CARD_HEIGHT / 4, abs=0.2)
    assert corners(svg, "obtained")[:, 0].max() == CARD_WIDTH
