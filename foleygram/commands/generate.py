"""`foleygram generate`: sound for a video or a folder of videos."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from foleygram.commands.errors import reported
from foleygram.files import shipped


def generate(
    context: typer.Context,
    *,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="VIDEO_OR_FOLDER", help="A video, or a folder with videos; not those of its subfolders."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Release folder; checkpoints/mini by default.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What sounds, in words.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What must not sound.")] = None,
    envelope: Annotated[
        str,
        typer.Option(
            metavar="predicted|audio|FILE",
            help="Predict the envelope from the picture, take the video's own sound's, or a file's: "
            ".csv, .json, .mid, a curve or a guide as .wav (docs/envelope.md).",
        ),
    ] = "predicted",
    reference_audio: Annotated[
        Path | None, typer.Option(help="A sound to take after, of any length and rate; a video's track will do.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="How much each speaks, as video=1,text=0.5,audio=0.")
    ] = "video=1,text=1,audio=2",
    segment: Annotated[
        list[str] | None, typer.Option(help="FROM:TO:PROMPT, in seconds: words for a stretch; may be given again.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="CSV of each file's prompt, negative_prompt, envelope, seed, reference, weights, from, to."),
    ] = None,
    takes: Annotated[int, typer.Option(min=1, help="Takes of each file; the best one is kept.")] = 1,
    max_e_l1: Annotated[
        float | None,
        typer.Option(min=0, help="Up to four more takes while E-L1 is above this share of the level asked for."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 25,
    guidance: Annotated[float, typer.Option(help="Guidance scale; 1 is none.")] = 5.0,
    control_scale: Annotated[float, typer.Option(help="Weight of the envelope.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    container: Annotated[
        Literal["mp4", "mov", "mkv", "webm"],
        typer.Option(help="Of the film; MKV or MOV where it cannot carry the video."),
    ] = "mp4",
    audio_codec: Annotated[
        Literal["aac", "flac", "opus", "pcm"] | None, typer.Option(help="Of the video's sound; AAC, in WebM Opus.")
    ] = None,
    mix_original: Annotated[
        str | None, typer.Option(metavar="DB", help="Keep the video's own sound beneath, at a level such as -12dB.")
    ] = None,
    stems: Annotated[bool, typer.Option("--stems", help="Also a sound file per segment.")] = False,
    lufs: Annotated[
        float | None, typer.Option(min=-70, max=0, help="Loudness of the video's sound (BS.1770), as -23.")
    ] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Also the onsets for an editor: an .edl and Reaper's table.")
    ] = False,
    from_sidecar: Annotated[
        Path | None, typer.Option(help="Render again what this .json records; a video says where its input lies now.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    offload: Annotated[
        bool, typer.Option("--offload", help="Keep networks in main memory, each on the device for its step alone.")
    ] = False,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(
            help="What the networks compute in; the last two take half the memory. Times and envelopes stay float32."
        ),
    ] = "float32",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Clips of the model's own length at once; a longer video counts as several.")
    ] = 4,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do files again that are done.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
) -> None:
    """Generate synchronised sound for a video or a folder of videos."""
    with reported():
        if from_sidecar:
            unheard = sorted(_given(context) - {"source", "out", "checkpoint", "from_sidecar", "device", "offload"})
            if unheard:
                options = ", ".join(f"--{name.replace('_', '-')}" for name in unheard)
                raise ValueError(f"--from-sidecar renders what {from_sidecar} records; leave out {options}")
            from foleygram.console import render_again_with_progress

            if render_again_with_progress(from_sidecar, source, out, checkpoint, device=device, offload=offload):
                raise typer.Exit(1)
            return
        if source is None:
            raise typer.BadParameter("give a video or a folder of videos, or --from-sidecar")
        from foleygram.console import generate_with_progress
        from foleygram.datasets.folder import find_videos
        from foleygram.envelope.editing.files import chosen_envelope
        from foleygram.production.batch_runner import Sampling, TakeRule
        from foleygram.production.export import Delivery, parse_level
        from foleygram.production.job import Wish, parse_segment, parse_weights
        from foleygram.production.sheet import read_wishes

        chosen_envelope(envelope)  # what cannot be read is said before anything begins
        segments = tuple(parse_segment(text) for text in segment or ())
        wish = Wish(prompt, negative_prompt, envelope, seed, reference_audio, parse_weights(weights), segments)
        beneath = None if mix_original is None else parse_level(mix_original)
        failed = generate_with_progress(
            read_wishes(find_videos(source), wish, sheet), out, shipped(checkpoint or "checkpoints/mini"),
            sampling=Sampling(steps, guidance, control_scale, dtype=dtype), rule=TakeRule(takes, max_e_l1),
            delivery=Delivery(container, audio_codec, beneath, stems, lufs, timeline), batch_size=batch_size,
            overwrite=overwrite, dry_run=dry_run, device=device, offload=offload,
        )  # fmt: skip
    if failed:
        raise typer.Exit(1)


def _given(context: typer.Context) -> set[str]:
    """Names of the parameters that the command line gives."""
    return {name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"}
