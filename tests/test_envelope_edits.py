"""The shipped miniature obeys an edited envelope; `benchmarks/envelope_edits.py` asks the same of ten videos."""

from pathlib import Path

import pytest

from benchmarks.envelope_edits import SHIFT_SEC, obey_edits, quietest_moment
from foleygram.envelope.editing.hits import Hit, draw_hits
from foleygram.pipeline.pipeline import FoleyGRAMPipeline

ROOT = Path(__file__).parents[1]


def test_a_shift_a_mute_and_an_added_note_are_heard(rendered: Path, tmp_path: Path) -> None:
    pipeline = FoleyGRAMPipeline.from_pretrained(ROOT / "checkpoints" / "mini")
    for video in sorted(rendered.glob("*.mp4"))[1:3]:
        found = obey_edits(pipeline, video, tmp_path, seed=0, steps=12)
        assert found.lag_ms == pytest.approx(1000 * SHIFT_SEC, abs=20)
        assert found.num_moved == found.num_onsets >= 2
        assert found.muted_db < -40
        assert found.heard and not found.heard_before


def test_the_added_hit_lies_where_nothing_else_sounds() -> None:
    assert quietest_moment(draw_hits([Hit(0.5, 0.1), Hit(3.0, 0.1)]), 4.0) == pytest.approx(1.75, abs=0.02)
    assert quietest_moment(draw_hits([Hit(0.5, 0.1), Hit(1.0, 0.1)]), 4.0) == pytest.approx(2.5, abs=0.02)
