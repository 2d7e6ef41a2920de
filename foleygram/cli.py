"""The command `foleygram` and its subcommands, which import heavy packages only when they run."""

import math
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from foleygram.commands import app as page
from foleygram.commands import (
    benchmark,
    data,
    doctor,
    envelope,
    evaluate,
    experiment,
    generate,
    listening,
    train,
    weights,
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(given: bool) -> None:
    if given:
        typer.echo(f"foleygram {version('foleygram')}")
        raise typer.Exit


def limit_threads(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> None:
    """Set OMP_NUM_THREADS to the cores that a container's quota (cgroup v2) allows, unless it is set already.

    PyTorch starts a thread per core of the machine, and the quota then halts all of them in turn. Has an effect only
    before PyTorch is loaded.
    """
    try:
        microseconds, period = quota.read_text().split()
        cores = math.ceil(int(microseconds) / int(period))
    except (OSError, ValueError):  # no such system, or "max": no quota
        return
    if cores < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Silent video in, synchronised Foley sound out."""
    limit_threads()


app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)(train.train)
app.command()(data.render)
app.command()(generate.generate)
app.command(cls=envelope.EnvelopeCommand)(envelope.envelope)
app.command()(evaluate.evaluate)
app.command()(listening.listening)
app.command("app", help="Open the editor: a page with a timeline to edit envelopes, make takes and export them.")(
    page.serve
)
app.command("serve", help="Serve the HTTP API and the page on this machine, for scripts, REAPER and browsers.")(
    page.serve
)
app.command()(doctor.doctor)
app.command()(data.judge)
app.command()(data.cache)
app.command()(data.trajectories)

about_weights = typer.Typer(
    help="Weight files: check a release, fetch public weights, convert them, average two trainings.",
    no_args_is_help=True,
)
app.add_typer(about_weights, name="weights")
about_weights.command("check")(weights.check_weights)
about_weights.command("fetch")(weights.fetch_weights)
about_weights.command("convert")(weights.convert_weights)
about_weights.command("export")(weights.export)
about_weights.command()(weights.interpolate)
about_weights.command()(weights.card)

benchmarks = typer.Typer(help="Benchmarks on published data sets.", no_args_is_help=True)
app.add_typer(benchmarks, name="benchmark")
benchmarks.command("greatest-hits")(benchmark.greatest_hits)

experiments = typer.Typer(help="The paper's experiments, each a report with tables and plots.", no_args_is_help=True)
app.add_typer(experiments, name="experiment")
experiments.command()(experiment.conditioning)
experiments.command()(experiment.perturbation)
experiments.command()(experiment.volumes)
experiments.command()(experiment.projections)
experiments.command()(experiment.objectives)
experiments.command()(experiment.sensitivity)
experiments.command()(experiment.control)
experiments.command()(experiment.smoothing)
experiments.command()(experiment.spaces)
experiments.command()(experiment.modalities)
experiments.command()(experiment.granularity)
experiments.command()(experiment.volume_success)


def main(arguments: list[str] | None = None) -> Any:
    """Entry point of `foleygram`; `arguments` default to the command line's."""
    app(args=sys.argv[1:] if arguments is None else arguments, prog_name="foleygram")
