"""`foleygram listening`: a blind listening test as a static page, and the analysis of its answers."""

import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from foleygram.commands.errors import reported


def listening(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR_A DIR_B ... | PAGE ANSWERS ...",
            help="A folder of sounds or videos per system; with --collect a page, then answer files or folders.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Page to write, a folder; with --collect, metrics as JSON.")] = None,
    collect: Annotated[bool, typer.Option("--collect", help="Analyse the answers to a page.")] = False,
    media: Annotated[
        Literal["auto", "audio", "video"],
        typer.Option(help="Sounds only, or with their videos; auto: with them if all have one."),
    ] = "auto",
    videos: Annotated[
        Path | None,
        typer.Option("--videos", "--pictures", help="Folder of videos to show with every system's sound, by name."),
    ] = None,
    tasks: Annotated[Literal["both", "pairs", "ratings"], typer.Option(help="What listeners are asked.")] = "both",
    scale: Annotated[
        list[str] | None,
        typer.Option(help="NAME=QUESTION to rate from 1 to 5; may be repeated. Default: timing, quality."),
    ] = None,
    clips: Annotated[int | None, typer.Option(min=1, help="Maximum number of clips, drawn by the seed.")] = None,
    checks: Annotated[int, typer.Option(min=0, help="Attention checks: pairs with one spoilt sound.")] = 2,
    title: Annotated[str, typer.Option(help="Title that listeners see.")] = "Listening test",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the blinded names and sides, or of --collect's intervals.")
    ] = None,
) -> None:
    """Write a blind listening test as a page to hand out, or analyse the answers to one (--collect)."""
    with reported():
        if collect:
            _collect(paths, out, seed or 0)
        elif out is None:
            raise ValueError("no output: give --out PAGE, a folder to write")
        else:
            scales = None if scale is None else dict(_read_scale(text) for text in scale)
            _write(
                paths, out, media=media, videos=videos, tasks=tasks, scales=scales, limit=clips, num_checks=checks,
                title=title, seed=secrets.randbits(32) if seed is None else seed,
            )  # fmt: skip


def _read_scale(text: str) -> tuple[str, str]:
    name, _, question = (part.strip() for part in text.partition("="))
    if not (name and question):
        raise ValueError(f"--scale {text}: give NAME=QUESTION, for example 'match=Does it sound like these materials?'")
    return name, question


def _write(folders: list[Path], out: Path, *, media: Any, videos: Path | None, limit: int | None, **plan: Any) -> None:
    from foleygram.benchmark.sounds import pick_clips
    from foleygram.listening.page import key_path, match_systems, write_test

    match = match_systems(folders, media=media, videos=videos)
    for line in match.left_out:
        typer.echo(f"left out: {line}", err=True)
    match = match._replace(clips=[match.clips[index] for index in pick_clips(len(match.clips), limit)])
    written = write_test(out, match, **plan)
    typer.echo(
        f"{out}: {len(match.systems)} systems on {len(match.clips)} clips; "
        f"{len(written.pairs)} comparisons and {len(written.ratings)} ratings for each listener"
    )
    typer.echo(f"hand out that folder, or put it on a web server; keep {key_path(out).name} beside it from listeners")


def _collect(paths: list[Path], out: Path | None, seed: int) -> None:
    from foleygram.listening.answers import collect
    from foleygram.listening.page import key_path
    from foleygram.listening.plan import Plan
    from foleygram.listening.preferences import analyse, print_findings, write_findings

    page, *answers = paths
    if not answers:
        raise ValueError("no answers given: name the page, then answer files or folders of them")
    plan = Plan.read(key_path(page))
    collected = collect(answers, plan)
    if not collected.sheets:
        reasons = [f"{path.name}: {reason}" for path, reason in collected.excluded]
        raise ValueError("; ".join(["no valid answers", *reasons]))
    findings = analyse(collected.sheets, plan, seed=seed)
    print_findings(findings, collected)
    if out is not None:
        write_findings(out, findings, collected, plan, seed=seed)
