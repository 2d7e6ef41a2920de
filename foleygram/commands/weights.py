"""`foleygram weights`: check, download and convert weights, assemble releases."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from foleygram.commands.errors import reported


def export(
    run: Annotated[Path, typer.Argument(help="Folder with the trained parts, or a checkpoint (.ckpt) of a training.")],
    out: Annotated[Path, typer.Argument(help="Release folder to write.")],
    spec: Annotated[Path | None, typer.Option(help="YAML with the clip's rates.")] = None,
    base: Annotated[
        Path | None, typer.Option(help="Release that supplies untrained parts, rates and sampler settings.")
    ] = None,
    sigma_min: Annotated[float | None, typer.Option(help="Last noise level of the sampler (0.05).")] = None,
    sigma_max: Annotated[float | None, typer.Option(help="First noise level of the sampler (80).")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps (25).")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale (5).")] = None,
    apg_scale: Annotated[float | None, typer.Option(help="APG scale, 0 to 1 (0: plain guidance).")] = None,
    solver: Annotated[str | None, typer.Option(help="Solver (dpmpp_2m).")] = None,
    half: Annotated[bool, typer.Option("--half", help="Store weights as float16.")] = False,
    backbone: Annotated[
        str | None, typer.Option(help="Folder or hub id of the frozen backbone, for parts missing in RUN.")
    ] = None,
    licence: Annotated[
        list[str] | None, typer.Option(metavar="PART=LICENCE", help="Licence of a part, if not Apache-2.0; repeatable.")
    ] = None,
    trained_on: Annotated[
        list[Path] | None,
        typer.Option(
            help="Cache or list of ids it was trained on, added to those of --base; `evaluate` warns about these "
            "videos; repeatable."
        ),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(help="Folder of recorded training sounds, with an index.csv; the model card credits them."),
    ] = None,
) -> None:
    """Assemble a release folder from trained parts."""
    from foleygram.generation.sampling import SamplerSettings
    from foleygram.pipeline.export import export_release, training_data, unpack_checkpoint
    from foleygram.pipeline.release import INDEX, read_index, sampler_settings
    from foleygram.spec import read_spec
    from foleygram.synthetic.recordings import load_recorded
    from foleygram.weights.shards import is_sharded

    with reported():
        if spec is None and base is None:
            raise ValueError("the clip's rates are missing: give --spec or --base")
        base_index: dict[str, Any] = read_index(base) if base else {}
        sampler = (sampler_settings(base_index) or SamplerSettings()).override(
            num_inference_steps=steps, guidance_scale=guidance, apg_scale=apg_scale, solver=solver,
            sigma_min=sigma_min, sigma_max=sigma_max,
        )  # fmt: skip
        rates = read_spec(spec or base / INDEX)  # type: ignore[operator]
        licences = dict(_part_and_licence(text) for text in licence or ())
        credits = load_recorded(recordings, rates.sample_rate, "train").credits() if recordings else ()
        data = training_data(trained_on or (), credits, known=base_index.get("trained_on"))
        with tempfile.TemporaryDirectory() as unpacked:
            if run.is_file() or is_sharded(run):
                unpack_checkpoint(run, Path(unpacked))
                run = Path(unpacked)
            export_release(
                run, out, rates, sampler, base=base, backbone=backbone, half=half, licences=licences, trained_on=data
            )


def _part_and_licence(text: str) -> tuple[str, str]:
    part, separator, licence = text.partition("=")
    if not separator or not licence:
        raise ValueError(f"--licence {text}: write PART=LICENCE, such as transformer='Stability AI Community License'")
    return part, licence


def check_weights(folder: Annotated[Path, typer.Argument(help="Release folder.")]) -> None:
    """Load a release, verify its hashes and list its parts."""
    from foleygram.console import print_parts
    from foleygram.pipeline.convert import check_release

    with reported():
        print_parts(folder, check_release(folder))


def fetch_weights(
    name: Annotated[str, typer.Argument(help="Name of the weights; an unknown name lists all.")],
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("weights"),
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")] = "main",
) -> None:
    """Download public weights and verify their hashes; interrupted downloads resume."""
    from foleygram.weights.download import fetch

    def report(file: str, size: int) -> None:
        typer.echo(f"{file} ({size / 1e6:,.1f} MB)")

    with reported():
        typer.echo(f"{name} is in {fetch(name, out, revision=revision, progress=report)}")


def convert_weights(
    source: Annotated[
        Path,
        typer.Argument(help="Folder of stable-audio-tools, diffusers, GRAM or LanguageBind, or ImageBind's .pth file."),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not exist.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer, folder or hub id: BERT's for GRAM, CLIP's for ImageBind.")
    ] = None,
) -> None:
    """Convert weights: stable-audio-tools to diffusers and back; GRAM, ImageBind, LanguageBind to encoders."""
    from foleygram.pipeline.convert import convert

    with reported():
        typer.echo(f"{convert(source, out, tokenizer=tokenizer)}: {out}")


def interpolate(
    start: Annotated[Path, typer.Argument(help="Folder of one part, such as RELEASE/envelope_predictor.")],
    trained: Annotated[Path, typer.Argument(help="Folder of the same part after further training.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not exist.")],
    share: Annotated[float, typer.Option(help="0 is START, 1 is TRAINED.")] = 0.5,
) -> None:
    """Average two trainings of a part: keeps what START could do and much of what TRAINED learned (WiSE-FT)."""
    from foleygram.weights.interpolation import interpolate_weights

    with reported():
        interpolate_weights(start, trained, out, share)
        typer.echo(out)


def card(
    folder: Annotated[Path, typer.Argument(help="Release folder.")],
    scores: Annotated[
        Path | None, typer.Option(help="Report of `foleygram evaluate --checkpoint FOLDER` to include.")
    ] = None,
) -> None:
    """Write a release's model card, README.md."""
    from foleygram.benchmark.output import read_report
    from foleygram.files import file_hash
    from foleygram.pipeline.card import record_scores, write_card
    from foleygram.pipeline.release import INDEX, read_index

    with reported():
        index = read_index(folder)
        if scores is None:
            write_card(folder, index)
        else:
            record_scores(folder, index, read_report(scores), file_hash(folder / INDEX))
        typer.echo(folder / "README.md")
