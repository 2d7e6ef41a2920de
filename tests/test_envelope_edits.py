"""The shipped miniature obeys an edited envelope; `benchmarks/envelope_edits.py` asks the same of ten videos."""

from pathlib import Path

import pytest

from benchmarks.envelope_edits import SHIFT_SEC, obey_edits, quietest_moment
from foleygram.envelope.editing.hits import Hit, draw_hits
from foleygram.pipeline.pipeline import FoleyGRAMPipeline

ROOT = Path(__file__).parents[1]


def test_a_shift_a_mute_and_an_added_note_are_heard(rendered: Path, tmp_path: Path) -> None:
    pipeline = FoleyGRAMPipeline.from_pretrained(ROOT / "checkpoints" / "mini")
    videos = sorted(rendered.glob("*.mp4"))
    found = [obey_edits(pipeline, video, tmp_path, seed=0, steps=12) for video in videos]
    assert all(one.lag_ms == pytest.approx(1000 * SHIFT_SEC, abs=20) and one.muted_db < -40 for one in found)
    assert sum(one.num_moved for one in found) >= sum(one.num_onsets for one in found) - 1 >= 7
    assert sum(one.heard for one in found) >= 3 and not any(one.heard_before for one in found)


def test_the_added_hit_lies_where_nothing_else_sounds() -> None:
    assert quietest_moment(draw_hits([Hit(0.5, 0.1), Hit(3.0, 0.1)]), 4.0) == pytest.approx(1.75, abs=0.02)
    assert quietest_moment(draw_hits([Hit(0.5, 0.1), Hit(1.0, 0.1)]), 4.0) == pytest.approx(2.5, abs=0.02)
