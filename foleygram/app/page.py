"""Layout of the page, and which button calls which action."""

from importlib.resources import files
from typing import Any, NamedTuple

import gradio as gr

from foleygram.app.session import close_session
from foleygram.app.studio import MAX_TAKES, PREDICTED, SOURCES, Studio
from foleygram.pipeline.request import DEFAULT_WEIGHTS

ASSETS = files("foleygram.app") / "assets"
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
"""Actions that use the networks run one at a time."""
STYLE = (ASSETS / "page.css").read_text(encoding="utf-8")
CURVES = [".csv", ".tsv", ".json", ".mid", ".midi", ".wav", ".flac"]
"""Files that hold an envelope."""
WEIGHTS = ("envelope", "video", "prompt", "reference sound")
LIGHT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def theme() -> gr.themes.Base:
    """Colours, and system fonts, so that none is fetched."""
    return gr.themes.Base(
        primary_hue="orange", secondary_hue="blue", neutral_hue="slate", font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )  # fmt: skip


class Editor(NamedTuple):
    """Components of the envelope editor."""

    timeline: gr.HTML
    summary: gr.HTML
    start: gr.Number
    end: gr.Number
    source: gr.Dropdown


class TakeCard(NamedTuple):
    """Components that show one take."""

    column: gr.Column
    head: gr.HTML
    video: gr.Video
    audio: gr.Audio
    video_file: gr.DownloadButton
    sound_file: gr.DownloadButton
    curve_file: gr.DownloadButton


def build_page(studio: Studio, *, steps: int | None = None) -> gr.Blocks:
    """The page with the actions of `studio`; `steps` is the initial number of sampling steps, None the release's."""
    limits = studio.limits
    with gr.Blocks(title="foleygram", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.HTML(
            "<h1>foleygram</h1><p>Drop a video, check and edit when it sounds, make takes, download one.</p>",
            elem_id="head",
        )
        session = gr.State(None, delete_callback=close_session)
        with gr.Row():
            video = gr.Video(
                label=f"Video, up to {limits.seconds:g} s and {limits.megabytes:g} MB", sources=["upload"],
                height=280, scale=3, min_width=320, elem_id="video",
            )  # fmt: skip
            with gr.Column(visible=False, scale=2, min_width=320) as prompting:
                conditions = _conditions()
        with gr.Column(visible=False) as editing:
            editor = _editor(studio, session)
            shown_takes = _takes(studio, session, conditions, steps or studio.pipeline.sampler.num_inference_steps)
        gr.on(
            [video.upload, video.clear],
            studio.open,
            [video, session],
            [video, session, *editor, prompting, editing, *shown_takes],
            show_progress_on=[video],
            **MODEL,
        )
    return page


def _conditions() -> list[Any]:
    """Fields for prompt, negative prompt and reference sound."""
    return [
        gr.Textbox(label="Prompt", placeholder="metal, hit with a wooden stick", elem_id="prompt"),
        gr.Textbox(label="Negative prompt", placeholder="water", elem_id="negative"),
        gr.Audio(
            label="Reference sound", sources=["upload"], type="filepath", editable=False, buttons=[],
            elem_id="reference",
        ),
    ]  # fmt: skip


def _editor(studio: Studio, session: gr.State) -> Editor:
    """Timeline, selection, and the buttons that edit it."""
    timeline = gr.HTML(
        js_on_load=(ASSETS / "timeline.js").read_text(encoding="utf-8"), apply_default_css=False, elem_id="timeline"
    )
    summary = gr.HTML(elem_id="summary")
    with gr.Row():
        start = _number("From (s)", "from", value=0.0, minimum=0)
        end = _number("To (s)", "to", value=0.0, minimum=0)
        source = gr.Dropdown(list(SOURCES), value=PREDICTED, label="Envelope", elem_id="source", scale=2)
    with gr.Row():
        amounts = {
            "gain": _amount("Gain", "gain", "dB", -6.0),
            "shift": _amount("Shift", "shift", "ms, later is positive", 100.0),
            "add-hit": _amount("Add hit", "add-hit", "level, such as -20dB", None),
        }
        with gr.Column(min_width=150):
            buttons = {"mute": _button("Mute", "mute"), "remove-hit": _button("Remove hit", "remove-hit")}
        with gr.Column(min_width=150):
            buttons["quantise"] = _button("Snap to frames", "quantise")
            undo = _button("Undo", "undo")
        with gr.Column(min_width=150):
            load = gr.UploadButton("Load envelope", file_types=CURVES, elem_id="load")
            reset = _button("Reset", "reset")
    shown, region = [session, timeline, summary], [session, start, end]
    for name, (amount, button) in amounts.items():
        button.click(studio.edit(name), [*region, amount], shown, **LIGHT)
    for name, button in buttons.items():
        button.click(studio.edit(name), region, shown, **LIGHT)
    undo.click(studio.undo, region, shown, **LIGHT)
    gr.on([reset.click, source.input], studio.start_over, [source, *region], shown, show_progress="hidden", **MODEL)
    load.upload(studio.load, [load, *region], shown, **LIGHT)
    gr.on([start.input, end.input], studio.redraw, region, timeline, trigger_mode="always_last", **LIGHT)
    timeline.region(studio.choose, None, [start, end], **LIGHT)
    return Editor(timeline, summary, start, end, source)


def _button(label: str, name: str) -> gr.Button:
    return gr.Button(label, elem_id=name)


def _number(label: str, name: str, **options: Any) -> gr.Number:
    return gr.Number(label=label, elem_id=name, precision=3, step=0.01, min_width=100, **options)


def _amount(label: str, name: str, unit: str, value: float | None) -> tuple[Any, gr.Button]:
    """A field above its button; without a value it is an optional text field."""
    with gr.Column(min_width=150):
        field = (
            gr.Textbox(label=unit, placeholder="as the other hits", elem_id=f"{name}-by")
            if value is None
            else _number(unit, f"{name}-by", value=value)
        )
        return field, _button(label, name)


def _takes(studio: Studio, session: gr.State, conditions: list[Any], steps: int) -> list[Any]:
    """Number of takes, sampling options, and the cards that show the takes."""
    with gr.Row(equal_height=True):
        count = gr.Slider(1, MAX_TAKES, value=3, step=1, label="Takes", elem_id="takes", min_width=160)
        number = gr.Number(label="Seed", value=0, precision=0, minimum=0, elem_id="seed", min_width=90)
        make = gr.Button("Make takes", variant="primary", elem_id="make", min_width=160)
        stop = gr.Button("Stop after this take", elem_id="stop", min_width=160)
    with gr.Accordion("More", open=False), gr.Row():
        more = [
            gr.Slider(1, 150, value=steps, step=1, label="Steps", elem_id="steps"),
            gr.Slider(1, 12, value=studio.pipeline.sampler.guidance_scale, step=0.5, label="Guidance"),
            *(
                gr.Slider(0, 2, value=weight, step=0.1, label=f"Weight: {name}")
                for name, weight in zip(WEIGHTS, (1.0, *DEFAULT_WEIGHTS), strict=True)
            ),
        ]
    status = gr.HTML(elem_id="status")
    with gr.Row(elem_id="cards"):
        cards = [_card() for _ in range(MAX_TAKES)]
    making = make.click(
        studio.make,
        [session, *conditions, count, number, *more],
        [status, *(part for card in cards for part in card)],
        show_progress_on=[status],
        **MODEL,
    )
    stop.click(None, cancels=[making], api_visibility="private")
    return [status, *(card.column for card in cards)]


def _card() -> TakeCard:
    with gr.Column(visible=False, min_width=300, elem_classes=["take"]) as column:
        head = gr.HTML(apply_default_css=False)
        video = gr.Video(interactive=False, show_label=False, height=220, buttons=[])
        audio = gr.Audio(interactive=False, show_label=False, visible=False, buttons=[])
        with gr.Row():
            buttons = [gr.DownloadButton(label, size="sm", min_width=60) for label in ("Video", "WAV", "Envelope")]
    return TakeCard(column, head, video, audio, *buttons)
