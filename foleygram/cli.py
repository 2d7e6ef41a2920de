"""The one command `foleygram` and its subcommands; each imports only what it needs."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    help="Silent video in, synchronised Foley sound out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


def _fail(error: BaseException) -> typer.Exit:
    typer.echo(f"foleygram: {error}", err=True)
    return typer.Exit(1)


def _root(error: BaseException) -> BaseException:
    """What was raised first, beneath what was raised from it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def train(context: typer.Context) -> None:
    """Train a stage: `foleygram train fit --config configs/mini/alignment.yaml` (LightningCLI; `fit --help`)."""
    import warnings

    from lightning.pytorch.cli import LightningCLI

    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")  # that is where our arguments come from

    class StageCLI(LightningCLI):
        """LightningCLI whose YAML and command line hold on a resumed run too, a longer `total_steps` for example."""

        def _parse_ckpt_path(self) -> None:
            """Leave out what Lightning does here: the checkpoint's hyperparameters would silently replace ours."""

        def instantiate_classes(self) -> None:
            """Build the parts; a file that is missing or does not fit is one line, not the parser's traceback."""
            try:
                super().instantiate_classes()
            except (ValueError, OSError) as error:
                raise _fail(_root(error)) from None

    StageCLI(
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_kwargs={"overwrite": True},
        seed_everything_default=0,
        args=context.args,
    )


@app.command()
def render(
    out: Annotated[Path, typer.Argument(help="Folder to write, in Greatest Hits' layout.")],
    videos: Annotated[int, typer.Option(help="Number of videos.")],
    seed: Annotated[int, typer.Option(help="Seed; another seed shares no object.")] = 0,
    seconds: Annotated[str, typer.Option(help="Length of the videos, FROM:TO in seconds.")] = "4:12",
    shares: Annotated[
        Literal["balanced", "real"], typer.Option(help="Materials evenly, or as in the real set.")
    ] = "balanced",
    test_share: Annotated[float, typer.Option(help="Share of the videos in test.txt.")] = 0.25,
    sample_rate: Annotated[int, typer.Option(help="Rate of the sound, in Hz.")] = 16_000,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Render drumstick videos with sound, in Greatest Hits' own layout."""
    from foleygram.datasets.drumstick import render_dataset

    try:
        first, _, last = seconds.partition(":")
        span = (float(first), float(last or first))
    except ValueError:
        raise typer.BadParameter(f"{seconds!r} is not FROM:TO in seconds", param_hint="--seconds") from None
    try:
        ids = render_dataset(
            out, num_videos=videos, seed=seed, seconds=span, shares=shares, test_share=test_share,
            sample_rate=sample_rate, num_workers=workers,
        )  # fmt: skip
    except (ValueError, OSError) as error:
        raise _fail(error) from None
    typer.echo(f"{len(ids)} videos in {out}")


@app.command()
def generate(
    source: Annotated[Path, typer.Argument(metavar="VIDEO_OR_FOLDER", help="A video, or a folder of videos.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    checkpoint: Annotated[Path, typer.Option(help="Release folder.")] = Path("checkpoints/mini"),
    prompt: Annotated[str | None, typer.Option(help="What sounds, in words.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What must not sound.")] = None,
    envelope: Annotated[
        Literal["predicted", "audio"],
        typer.Option(help="Predict the envelope from the picture, or take the video's own sound's."),
    ] = "predicted",
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 50,
    guidance: Annotated[float, typer.Option(help="Guidance scale; 1 is none.")] = 5.0,
    control_scale: Annotated[float, typer.Option(help="Weight of the envelope.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    offload: Annotated[
        bool, typer.Option("--offload", help="Keep networks in main memory, each on the device for its step alone.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do files again that are done.")] = False,
) -> None:
    """Generate synchronised sound for a video or a folder of videos."""
    from foleygram.batch import GenerationOptions
    from foleygram.console import generate_with_progress

    options = GenerationOptions(prompt, negative_prompt, envelope, steps, guidance, control_scale, seed, overwrite)
    try:
        failed = generate_with_progress(source, out, checkpoint, options, device=device, offload=offload)
    except (ValueError, OSError, RuntimeError) as error:
        raise _fail(error) from None
    if failed:
        raise typer.Exit(1)


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Option(help="Release folder.")],
    data: Annotated[Path, typer.Option(help="Greatest Hits' folder, or a rendered one.")],
    split: Annotated[str, typer.Option(help="train, test, or a list of ids.")] = "test",
    conditions: Annotated[
        str, typer.Option(help="predicted (silent video only), true (the reference's envelope).")
    ] = "predicted,true",
    controls: Annotated[
        bool, typer.Option(help="Also the controls: no control, flat envelope, another clip's.")
    ] = True,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 50,
    guidance: Annotated[float, typer.Option(help="Guidance scale; 1 is none.")] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many clips, spread over the split.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips at once.")] = 8,
    out: Annotated[Path | None, typer.Option(help="JSON report to write.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
) -> None:
    """Score a checkpoint on a split: onsets, envelope, material, as a table and JSON."""
    from foleygram.console import pick_device
    from foleygram.study.run import evaluate as run

    try:
        run(
            checkpoint, data, split, conditions=conditions.split(","), controls=controls, num_inference_steps=steps,
            guidance_scale=guidance, seed=seed, limit=limit, batch_size=batch_size, out=out, device=pick_device(device),
        )  # fmt: skip
    except (ValueError, OSError, RuntimeError) as error:
        raise _fail(error) from None


@app.command()
def judge(
    data: Annotated[Path, typer.Argument(help="Rendered folder whose train split it learns from.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
) -> None:
    """Train the material judge, the network that scores and conditions nothing."""
    from foleygram.evaluation.judge_training import train_judge_from_folder

    try:
        accuracy = train_judge_from_folder(data, out, steps=steps, seed=seed)
    except (ValueError, OSError) as error:
        raise _fail(error) from None
    typer.echo(f"accuracy on the test split's sounds: {accuracy:.3f}")


@app.command()
def cache(
    data: Annotated[Path, typer.Argument(help="Greatest Hits' folder, or a rendered one.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    spec: Annotated[Path, typer.Option(help="YAML or index with the clip's rates.")],
    fields: Annotated[str, typer.Option(help="frames,motion,envelope_audio,latents,control_latents,embeddings")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder with the networks that latents and embeddings need.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, test, or a list of ids.")] = "train",
    workers: Annotated[int, typer.Option(help="Reading processes.")] = 1,
    compile: Annotated[
        bool,
        typer.Option(
            "--compile", help="Compile the autoencoder: faster past some hundred clips, needs a C++ compiler."
        ),
    ] = False,
) -> None:
    """Write clips, and what frozen networks make of them, into a cache for training."""
    from foleygram.caching import cache_dataset

    try:
        manifest = cache_dataset(
            data, out, spec_path=spec, fields=fields.split(","), checkpoint=checkpoint, split=split,
            num_workers=workers, compile=compile,
        )  # fmt: skip
    except (ValueError, OSError) as error:
        raise _fail(error) from None
    if not manifest.is_file():  # a shell inside a SLURM allocation looks like the first of several processes
        typer.echo(f"{out}: this process's shards are written; the cache is whole when the other processes have theirs")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder with the trained parts.")],
    out: Annotated[Path, typer.Argument(help="Release folder to write.")],
    spec: Annotated[Path, typer.Option(help="YAML with the clip's rates.")],
    sigma_min: Annotated[float, typer.Option(help="Last noise level of the sampler.")] = 0.05,
    sigma_max: Annotated[float, typer.Option(help="First noise level of the sampler.")] = 80.0,
    half: Annotated[bool, typer.Option("--half", help="Store weights as float16.")] = False,
) -> None:
    """Assemble a release folder from trained parts."""
    from foleygram.caching import read_spec
    from foleygram.checkpoints import export_release

    try:
        export_release(run, out, read_spec(spec), (sigma_min, sigma_max), half=half)
    except (ValueError, OSError) as error:
        raise _fail(error) from None


weights = typer.Typer(help="Weight files: check a release, fetch public weights, convert them.", no_args_is_help=True)
app.add_typer(weights, name="weights")
weights.command("export")(export)


@weights.command("check")
def check_weights(folder: Annotated[Path, typer.Argument(help="Release folder.")]) -> None:
    """Load a release, verify its hashes, print what each part is."""
    from foleygram.console import print_parts
    from foleygram.weights import check_release

    try:
        print_parts(folder, check_release(folder))
    except (ValueError, OSError) as error:
        raise _fail(error) from None


@weights.command("fetch")
def fetch_weights(
    name: Annotated[str, typer.Argument(help="Which weights; an unknown name lists them.")],
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("weights"),
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")] = "main",
) -> None:
    """Download public weights and verify their hashes; a broken download goes on where it stopped."""
    from foleygram.weights import fetch

    try:
        typer.echo(f"{name} is in {fetch(name, out, revision=revision)}")
    except (ValueError, OSError) as error:
        raise _fail(error) from None


@weights.command("convert")
def convert_weights(
    source: Annotated[Path, typer.Argument(help="Folder of stable-audio-tools, of diffusers, or GRAM's release.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not exist.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="BERT's tokenizer, folder or hub id, which GRAM's release lacks.")
    ] = None,
) -> None:
    """Bring weights into their other form: stable-audio-tools to diffusers and back, GRAM to a release's encoders."""
    from foleygram.weights import convert

    try:
        typer.echo(f"{convert(source, out, tokenizer=tokenizer)}: {out}")
    except (ValueError, OSError) as error:
        raise _fail(error) from None


def main(arguments: list[str] | None = None) -> Any:
    """Entry point of `foleygram`; `arguments` default to the command line's."""
    app(args=sys.argv[1:] if arguments is None else arguments, prog_name="foleygram")
