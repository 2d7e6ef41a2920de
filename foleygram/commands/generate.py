"""`foleygram generate`: sound for a video or a folder of videos."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import typer

from foleygram.commands.errors import reported
from foleygram.commands.options import MINI, ApgScale, Device, Guidance, Offload, Precision, Seed, Solver, Steps


def generate(
    context: typer.Context,
    *,
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="VIDEO_OR_FOLDER", help="Videos, or folders of videos (subfolders are ignored)."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Release folder, or hub:OWNER/NAME; checkpoints/mini by default.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Description of the sound.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="Description of sounds to avoid.")] = None,
    envelope: Annotated[
        str,
        typer.Option(
            metavar="predicted|audio|FILE",
            help="Timing and loudness: predicted from the video, measured on its own sound, or read from a "
            ".csv, .json, .mid or .wav file (docs/envelope.md).",
        ),
    ] = "predicted",
    reference_audio: Annotated[
        Path | None, typer.Option(help="A sound to imitate: a sound file or a video with sound.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="Weight of each condition, such as video=1,text=0.5,audio=0.")
    ] = "video=1,text=1,audio=2",
    segment: Annotated[
        list[str] | None, typer.Option(help="FROM:TO:PROMPT: a prompt for a time span, in seconds; repeatable.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="CSV with options per file: columns file, prompt, negative_prompt, envelope, seed, reference, "
            "weights, from, to."
        ),
    ] = None,
    takes: Annotated[
        int, typer.Option(min=1, max=100, help="Takes per file; the best one becomes the video's sound.")
    ] = 1,
    max_e_l1: Annotated[
        float | None,
        typer.Option(
            min=0, help="Make up to four more takes while E-L1, relative to the envelope's mean level, is above this."
        ),
    ] = None,
    steps: Steps = None,
    guidance: Guidance = None,
    apg_scale: ApgScale = None,
    solver: Solver = None,
    control_scale: Annotated[float, typer.Option(help="Weight of the envelope condition.")] = 1.0,
    seed: Seed = 0,
    container: Annotated[
        Literal["mp4", "mov", "mkv", "webm"],
        typer.Option(help="Container; MKV or MOV if it cannot hold the video."),
    ] = "mp4",
    audio_codec: Annotated[
        Literal["aac", "flac", "opus", "pcm"] | None,
        typer.Option(help="Codec of the sound; default AAC, in WebM Opus."),
    ] = None,
    mix_original: Annotated[
        str | None, typer.Option(metavar="DB", help="Keep the video's own sound underneath, with a gain such as -12dB.")
    ] = None,
    stems: Annotated[bool, typer.Option("--stems", help="Also write a sound file per segment.")] = False,
    lufs: Annotated[
        float | None, typer.Option(min=-70, max=0, help="Loudness of the video's sound (ITU-R BS.1770), such as -23.")
    ] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Also write the onsets as .edl, .otio and a Reaper table.")
    ] = False,
    from_sidecar: Annotated[
        Path | None, typer.Option(help="Render the result of this .json record again; name the video if it has moved.")
    ] = None,
    device: Device = "auto",
    offload: Offload = False,
    dtype: Precision = "float32",
    batch_size: Annotated[
        int,
        typer.Option(min=1, max=1000, help="Clips of the model's length per batch; a longer video counts as several."),
    ] = 4,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Generate files again that are done.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be done; write nothing.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep running, and generate what is put into the folders, until Ctrl-C.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 also if a result is `done, but` not what was asked for.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only files that failed or are `done, but`, on standard error.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the outcome as JSON on standard output, progress on standard error.")
    ] = False,
) -> None:
    """Generate synchronised sound for a video or a folder of videos."""
    with reported():
        if from_sidecar:
            used = {"sources", "out", "checkpoint", "from_sidecar", "device", "offload"}
            sources_of = {name: context.get_parameter_source(name) for name in context.params}
            given = {name for name, found in sources_of.items() if found and found.name == "COMMANDLINE"}
            if given - used:
                names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given - used))
                raise ValueError(f"--from-sidecar renders what {from_sidecar} records; leave out {names}")
            if len(sources or ()) > 1:
                raise ValueError(f"--from-sidecar renders one result; name only the video of {from_sidecar}")
            from foleygram.console import rerender_with_progress

            video = sources[0] if sources else None
            if rerender_with_progress(from_sidecar, video, out, checkpoint, device=device, offload=offload):
                raise typer.Exit(1)
            return
        if not sources:
            raise typer.BadParameter("give a video, a folder of videos, or --from-sidecar")
        from foleygram.envelope.editing.files import chosen_envelope
        from foleygram.production.export import ExportOptions, parse_level
        from foleygram.production.job import JobOptions, parse_segment, parse_weights, read_job_options

        chosen_envelope(envelope)  # an unreadable file fails before anything starts
        if reference_audio is not None and not reference_audio.is_file():
            raise FileNotFoundError(f"{reference_audio}: no such file; check the path")
        segments = tuple(parse_segment(text) for text in segment or ())
        options = JobOptions(prompt, negative_prompt, envelope, seed, reference_audio, parse_weights(weights), segments)
        original_db = None if mix_original is None else parse_level(mix_original)
        # Importing the networks' libraries takes seconds, so it comes after the checks.
        from foleygram.console import Printing, generate_with_progress, load_pipeline, pick_device
        from foleygram.datasets.folder import find_videos
        from foleygram.pipeline.release import find_release, sampler_of
        from foleygram.production.batch_runner import TakeRule, sampling_of

        release = find_release(checkpoint or MINI)
        sampling = sampling_of(
            sampler_of(release), control_scale, dtype=dtype, num_inference_steps=steps, guidance_scale=guidance,
            apg_scale=apg_scale, solver=solver,
        )  # fmt: skip
        load = cache(lambda: load_pipeline(release, pick_device(device), offload=offload, dtype=dtype))
        if watch:
            runs = watched(sources, out, unsuited={"--sheet": sheet is not None, "--dry-run": dry_run})
            if not quiet:
                typer.echo(f"watching {', '.join(map(str, sources))}; stop it with Ctrl-C", err=True)
        else:
            named = {video.resolve(): video for source in sources for video in find_videos(source)}
            runs = iter([list(named.values())])
        not_as_asked = 0
        for videos in runs:
            outcome = generate_with_progress(
                read_job_options(videos, options, sheet), out, release, load, sampling=sampling,
                rule=TakeRule(takes, max_e_l1),
                export=ExportOptions(container, audio_codec, original_db, stems, lufs, timeline), batch_size=batch_size,
                overwrite=overwrite, dry_run=dry_run, printing=Printing(quiet, as_json),
            )  # fmt: skip
            not_as_asked += outcome.num_failed + (outcome.num_deviating if strict else 0)
    if not_as_asked:
        raise typer.Exit(1)


def watched(sources: list[Path], out: Path, *, unsuited: dict[str, bool]) -> Iterator[list[Path]]:
    """The videos that appear in the folders `sources`; raises ValueError for what `--watch` cannot do.

    `unsuited` are options that do not go with it, and whether they are given.
    """
    from foleygram.distributed import SINGLE_PROCESS, current_process
    from foleygram.production.watch import appearing_videos

    if given := [name for name, found in unsuited.items() if found]:
        raise ValueError(f"--watch does not go with {given[0]}; leave one of them out")
    if current_process() != SINGLE_PROCESS:
        raise ValueError("--watch runs in one process; start it without torchrun or srun")
    for source in sources:
        if not source.is_dir():
            raise ValueError(f"--watch: {source} is not a folder; name the folder that videos are put into")
        if source.resolve() == out.resolve():
            raise ValueError(f"--watch: {source} is also --out, so that results would count as videos; choose another")
    return appearing_videos(sources)
