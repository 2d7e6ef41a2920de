"""The page's actions without a page: their return values and error messages."""

from pathlib import Path
from typing import Any

import av
import gradio as gr
import numpy as np
import pytest
import torch

from foleygram import FoleyGRAMPipeline
from foleygram.app.limits import Limits
from foleygram.app.session import Session
from foleygram.app.studio import MAX_TAKES, OWN_SOUND, PREDICTED, Studio, error_message, shown_errors
from foleygram.envelope.editing.files import write_envelope
from foleygram.envelope.editing.hits import Hit, draw_hits
from foleygram.media.audio import write_audio
from foleygram.production.batch_runner import take_seed

PARTS = 7
"""Components of a card: column, head, two players, three buttons."""


@pytest.fixture(scope="module")
def studio(tiny_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    folder = tmp_path_factory.mktemp("page")
    return Studio(FoleyGRAMPipeline.from_pretrained(tiny_release), folder, Limits(seconds=10.0))


@pytest.fixture(scope="module")
def session(studio: Studio, rendered: Path) -> Session:
    return studio.open(str(min(rendered.glob("*.mp4"))), None)[1]


def make(studio: Studio, session: Session | None, *, prompt: str = "", reference: str | None = None, count: int = 1):
    return list(studio.make(session, prompt, " ", reference, count, 5, 2, 3.0, 1.0, 1.0, 1.0, 1.0, progress=quiet))


def quiet(share: float, desc: str) -> None:
    assert 0 < share <= 1 and desc.startswith("take ")


def test_opening_shows_the_editor_and_no_video_hides_it(studio: Studio, rendered: Path) -> None:
    _, session, timeline, summary, start, end, source, *shown = studio.open(str(min(rendered.glob("*.mp4"))), None)
    assert timeline.startswith("<svg") and "frames/s" in summary and "Edits" not in summary
    assert (start, end) == (0, round(session.seconds, 3)) and source == PREDICTED
    assert [update["visible"] for update in shown[:2]] == [True, True] and shown[2] == ""
    assert [update["visible"] for update in shown[3:]] == [False] * MAX_TAKES  # no takes of the previous video
    video, closed, _, _, _, _, _, *hidden = studio.open(None, session)
    assert video is closed is None and [update["visible"] for update in hidden[:2]] == [False, False]
    assert not session.folder.exists()


def test_edits_are_listed_and_undone(studio: Studio, session: Session) -> None:
    after, timeline, summary = studio.edit("mute")(session, 0.2, 0.8)
    assert "<code>--mute 0.200:0.800</code>" in summary and 'class="before"' in timeline
    again, timeline, summary = studio.undo(after, 0.2, 0.8)
    assert again.edits == () and "Edits" not in summary and 'class="before"' not in timeline


def test_the_source_of_the_envelope_is_chosen(studio: Studio, session: Session, tmp_path: Path) -> None:
    muted, _, _ = studio.edit("mute")(session, 0.2, 0.8)
    own, _, _ = studio.start_over(OWN_SOUND, muted, 0, 1)
    assert own.edits == () and own.envelope.values.tolist() != session.envelope.values.tolist()
    back, _, _ = studio.start_over(PREDICTED, own, 0, 1)
    assert (back.envelope.values == session.envelope.values).all()
    drawn = draw_hits([Hit(0.5, 0.1)], seconds=2.0)
    write_envelope(tmp_path / "drawn.csv", drawn)
    loaded, _, summary = studio.load(str(tmp_path / "drawn.csv"), muted, 0, 1)
    fitted = drawn.slice(0.0, session.seconds)
    assert loaded.envelope.values == pytest.approx(fitted.values, abs=1e-6) and "1 onset." in summary


def test_takes_appear_one_by_one_and_are_ranked_at_the_end(studio: Studio, session: Session, tmp_path: Path) -> None:
    write_audio(tmp_path / "like.wav", 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)), 16_000)
    first, second = make(studio, session, prompt="wood", reference=str(tmp_path / "like.wav"), count=2)
    assert len(first) == len(second) == 1 + MAX_TAKES * PARTS
    assert "take 1 of 2" in first[0] and "no" not in second[0].split()[:1] and "rank" not in first[2]
    columns = [[update["visible"] for update in cards[1::PARTS]] for cards in (first, second)]
    assert columns == [[True] + [False] * 5, [True, True] + [False] * 4]
    heads = second[2 : 2 + 2 * PARTS : PARTS]
    assert sorted(("best score" in head, "rank 2 of 2" in head) for head in heads) == [(False, True), (True, False)]
    assert all(f"<dd>{seed}</dd>" in head for seed, head in zip((5, take_seed(5, 2)), heads, strict=True))
    assert first[2] in heads[0].replace('<span class="best">best score</span>', "").replace(
        '<span class="rank">rank 2 of 2</span>', ""
    )
    for update in second[5 : 5 + 3]:
        assert Path(update["value"]).is_relative_to(session.folder) and Path(update["value"]).is_file()


@pytest.mark.parametrize(
    "act",
    [
        lambda studio: studio.edit("mute")(None, 0, 1),
        lambda studio: studio.undo(None, 0, 1),
        lambda studio: studio.start_over(PREDICTED, None, 0, 1),
        lambda studio: make(studio, None),
    ],
)
def test_without_a_video_actions_ask_for_one(studio: Studio, act: Any) -> None:
    with pytest.raises(gr.Error) as caught:
        act(studio)
    assert "drop one at the top" in caught.value.message and not caught.value.print_exception


def test_a_bad_video_is_named_without_its_folder_and_cleared(studio: Studio, monkeypatch) -> None:
    bad = studio.folder / "0123abcd" / "<img src=x onerror=alert(1)>.mp4"
    bad.parent.mkdir()
    bad.write_text("no video")
    warnings: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda message, **_: warnings.append(message))
    video, session, timeline, *_, hidden = studio.open(str(bad), None)
    assert (video, session, timeline, hidden["visible"]) == (None, None, "", False)
    [message] = warnings
    assert message.startswith("&lt;img src=x") and "<" not in message and str(studio.folder) not in message
    assert "0123abcd" not in message and "not a readable media file" in message


def test_messages_omit_the_folder(tmp_path: Path) -> None:
    error = ValueError(f"{tmp_path}/a1/b2/my film.mp4: bad; see {tmp_path}/x/other.wav & more")
    assert error_message(error, tmp_path) == "my film.mp4: bad; see other.wav &amp; more"
    assert error_message(MemoryError(), tmp_path) == "MemoryError"


def test_internal_errors_are_shown_only_in_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(gr.Error) as caught, shown_errors(tmp_path):
        raise KeyError("deep inside")
    assert "deep inside" not in caught.value.message and "terminal" in caught.value.message
    assert "KeyError: 'deep inside'" in capsys.readouterr().err


def test_a_codec_that_no_browser_plays_has_an_audio_player_and_downloads(studio: Studio, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "old.avi"), "w") as target:
        stream: Any = target.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number, np.uint8))
            frame.pts = number
            for packet in stream.encode(frame):
                target.mux(packet)
        for packet in stream.encode(None):
            target.mux(packet)
    session = studio.open(str(tmp_path / "old.avi"), None)[1]
    [cards] = make(studio, session)
    video, audio, film = cards[3], cards[4], cards[5]
    assert (video["visible"], video["value"], audio["visible"]) == (False, None, True)
    assert Path(audio["value"]).suffix == ".wav" and Path(film["value"]).suffix == ".mp4"
