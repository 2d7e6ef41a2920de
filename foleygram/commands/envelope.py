"""`foleygram envelope`: predict, edit, draw and write the envelope of a video."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from foleygram.commands.errors import reported
from foleygram.commands.options import MINI, Device, Quiet, Release

GIVEN = "foleygram.envelope.given"


class EnvelopeCommand(TyperCommand):
    """Keeps the order of the options, because each edit is applied to the result of the previous one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options and store the order of their names."""
        *_, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[GIVEN] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


def envelope(
    ctx: typer.Context,
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="The video.")],
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="File to write: .csv, .json, .wav, .mid, .edl, markers.csv or reaper.csv; repeatable.",
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Image to draw, .png, .svg or .pdf.")] = None,
    source: Annotated[
        str,
        typer.Option("--from", metavar="predicted|audio|FILE", help="Initial envelope, as `generate --envelope`."),
    ] = "predicted",
    gain: Annotated[list[str] | None, typer.Option(metavar="EDIT", help="START:END:DECIBELS, or DECIBELS.")] = None,
    mute: Annotated[list[str] | None, typer.Option(metavar="EDIT", help="START:END in seconds.")] = None,
    shift: Annotated[list[str] | None, typer.Option(metavar="EDIT", help="120ms, -0.1s, or START:END:120ms.")] = None,
    add_hit: Annotated[list[str] | None, typer.Option(metavar="EDIT", help="TIME, TIME:LEVEL or with :DECAY.")] = None,
    remove_hit: Annotated[list[str] | None, typer.Option(metavar="EDIT", help="TIME of the hit in seconds.")] = None,
    move_hit: Annotated[
        list[str] | None, typer.Option(metavar="EDIT", help="TIME:TO in seconds, or TIME:TO:LEVEL.")
    ] = None,
    draw: Annotated[
        list[str] | None, typer.Option(metavar="EDIT", help="Straight lines through TIME:LEVEL,TIME:LEVEL,...")
    ] = None,
    quantise: Annotated[
        list[str] | None,
        typer.Option(metavar="EDIT", help="Move onsets to frames: FRAMES PER SECOND, e.g. 24000/1001."),
    ] = None,
    scale_peak: Annotated[
        list[str] | None, typer.Option(metavar="EDIT", help="LEVEL of the peak: 0.3 or -10dB.")
    ] = None,
    frame_rate: Annotated[
        float | None,
        typer.Option(min=1, max=1000, help="Frames per second of time code in files; default: the video's."),
    ] = None,
    timecode: Annotated[
        str | None,
        typer.Option(
            help="Time code of the first frame in an .edl: 01:00:00:00, drop-frame 01:00:00;00; default: the video's."
        ),
    ] = None,
    decay: Annotated[
        float, typer.Option(min=0.001, max=60, help="Seconds in which a hit from MIDI decays by 20 dB.")
    ] = 0.1,
    checkpoint: Release = MINI,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print length, onsets with level and decay, and files as JSON.")
    ] = False,
) -> None:
    """Predict a video's envelope, edit it, draw it, and write it with its onsets.

    EDITs are applied in the order given and are repeatable. Times are in seconds, levels are a linear RMS up to 1 or in
    decibels: --shift 80ms --mute 2:2.5 --add-hit 1.2:-20dB.
    """
    edits = _edits(ctx)
    if not (out or plot):
        raise typer.BadParameter("no output: give -o FILE, --plot FILE or both", param_hint="--out")
    from foleygram.console import envelope_record, pick_device, print_json
    from foleygram.envelope.editing.edits import apply_edits
    from foleygram.envelope.editing.files import check_name, chosen_envelope, write_envelope
    from foleygram.media.video import probe
    from foleygram.production.film_strip import draw_envelope
    from foleygram.production.video_envelope import video_envelope

    with reported():
        for path in out or ():
            check_name(path)
        for path in [*(out or ()), *([plot] if plot else [])]:
            path.parent.mkdir(parents=True, exist_ok=True)
        info = probe(video)
        followed = chosen_envelope(source, decay=decay, frame_rate=frame_rate or info.frame_rate)
        before = video_envelope(video, followed, checkpoint=checkpoint, device=pick_device(device))
        after = apply_edits(before, edits)
        for path in out or ():
            write_envelope(path, after, frame_rate=frame_rate or info.frame_rate, start=timecode or info.start_timecode)
        if plot:
            draw_envelope(video, after, plot, before=before if edits else None)
    if as_json:
        print_json(envelope_record(video, after, [*(out or ()), *([plot] if plot else [])]))
    if quiet or as_json:
        return
    onsets = after.onsets()
    typer.echo(
        f"{video.name}: {after.seconds:.2f} s, {len(onsets)} onsets {' '.join(f'{time:.3f}' for time in onsets)}"
    )


def _edits(ctx: typer.Context) -> list[Any]:
    """The edits in the order given."""
    from foleygram.envelope.editing.options import FORMS, parse_edit

    texts = {name: iter(ctx.params.get(name.replace("-", "_")) or ()) for name in FORMS}
    names = [name.replace("_", "-") for name in ctx.meta[GIVEN]]
    edits = []
    for name in names:
        if name in FORMS:
            text = next(texts[name])
            try:
                edits.append(parse_edit(name, text))
            except ValueError as error:
                raise typer.BadParameter(str(error)) from None
    return edits
