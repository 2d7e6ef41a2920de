"""Listeners' answer files: untrusted input, checked against the test's key, kept or refused."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from foleygram.listening.plan import Plan, is_mirrored

FORMAT = "foleygram listening answers 1"
MAX_BYTES = 4_000_000
LISTENER = re.compile(r"[0-9a-f]{32}")
CHOICES = frozenset({"left", "right", "none", "unplayable"})
GRADES = range(1, 6)
MAX_TRIAL_SEC = 1e7
SHEET_FIELDS = {"format", "page", "listener", "started", "finished", "answers"}
PAIR_FIELDS = {"trial", "left", "right", "choice", "seconds"}
RATING_FIELDS = {"trial", "medium", "ratings", "seconds"}
MAX_SHOWN = 60


class Preference(NamedTuple):
    """One comparison answered: `share` of the first system, 1 preferred, 0.5 no difference, 0 the second preferred."""

    listener: str
    clip: str
    first: str
    second: str
    share: float
    first_was_left: bool


class Grade(NamedTuple):
    """One rating given, from 1 to 5."""

    listener: str
    clip: str
    system: str
    scale: str
    value: int


@dataclass(frozen=True)
class Sheet:
    """One listener's complete answers."""

    path: Path
    listener: str
    preferences: list[Preference]
    grades: list[Grade]
    num_unplayable: int
    num_checks_missed: int
    seconds: float
    fingerprint: str


class Collected(NamedTuple):
    """Valid answer sheets, and file and reason for each excluded one."""

    sheets: list[Sheet]
    excluded: list[tuple[Path, str]]


def collect(paths: Sequence[Path], plan: Plan) -> Collected:
    """Read answer files; what is damaged, incomplete, of another test, a repetition, or missed a check, is excluded.

    Of one listener's several files the first by name counts. Raises FileNotFoundError for a path that does not exist.
    """
    sheets: list[Sheet] = []
    excluded: list[tuple[Path, str]] = []
    listeners: dict[str, Path] = {}
    contents: dict[str, Path] = {}
    for path in answer_files(paths):
        try:
            sheet = read_answers(path, plan)
            if sheet.listener in listeners:
                raise ValueError(f"the same listener as {listeners[sheet.listener].name}")
            if sheet.fingerprint in contents:
                raise ValueError(f"the same answers at the same pace as {contents[sheet.fingerprint].name}")
            listeners[sheet.listener] = contents[sheet.fingerprint] = path
            if sheet.num_checks_missed:
                raise ValueError(f"missed {sheet.num_checks_missed} of {len(plan.checks)} attention checks")
        except ValueError as error:
            excluded.append((path, str(error)))
        else:
            sheets.append(sheet)
    return Collected(sheets, excluded)


def answer_files(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths` and every .json in the folders among them, once each, by name.

    Raises FileNotFoundError for a path that is not there.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder; check the path")
    found = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    return sorted(dict.fromkeys(found))


def read_answers(path: Path, plan: Plan) -> Sheet:
    """Read one answer file; raises ValueError, without the path, for anything but this test's complete answers."""
    content = _read_json(path)
    _check_fields(content, SHEET_FIELDS, "the file")
    if content["format"] != FORMAT:
        raise ValueError(f"its format is {_shown(content['format'])}, not {FORMAT!r}")
    if content["page"] != plan.page:
        raise ValueError(f"answers another test, {_shown(content['page'])}; this one is {plan.page}")
    listener = content["listener"]
    if not (isinstance(listener, str) and LISTENER.fullmatch(listener)):
        raise ValueError(f"its listener {_shown(listener)} is not 32 hexadecimal digits")
    answers = _by_trial(content["answers"], plan)
    num_trials = len(plan.pairs) + len(plan.ratings)
    if len(answers) < num_trials:
        raise ValueError(f"incomplete: {num_trials - len(answers)} of {num_trials} trials are not answered")
    winners = {name: _winner(answers[name], name, listener, plan) for name in plan.pairs}
    rated = {name: _rated(answers[name], name, plan) for name in plan.ratings}
    return Sheet(
        path=path,
        listener=listener,
        preferences=[
            _preference(listener, name, winner, plan)
            for name, winner in winners.items()
            if name not in plan.checks and winner is not None
        ],
        grades=[
            Grade(listener, clip, system, scale, value)
            for name, values in rated.items()
            for system, clip in [plan.media[plan.ratings[name].medium]]
            for scale, value in values.items()
        ],
        num_unplayable=sum(winner is None for winner in winners.values())
        + sum(not values for values in rated.values()),
        num_checks_missed=sum(winners[name] not in (good, None) for name, good in plan.checks.items()),
        seconds=sum(float(answer["seconds"]) for answer in answers.values()),
        fingerprint=json.dumps([answers[name] for name in sorted(answers)], sort_keys=True),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ValueError("a folder, pipe or device, not a file")
        if size > MAX_BYTES:
            raise ValueError(f"{size:,} bytes long; answers have {MAX_BYTES:,} at most")
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse, object_pairs_hook=_once)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError("not text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error})") from error
    except RecursionError as error:
        raise ValueError("nested too deeply for answers") from error
    return content


def _refuse(constant: str) -> float:
    raise ValueError(f"holds {constant}, which is not a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("names a field twice")
    return content


def _check_fields(content: Any, fields: set[str], what: str) -> None:
    if not isinstance(content, dict) or content.keys() != fields:
        found = sorted(content) if isinstance(content, dict) else content
        raise ValueError(f"{what} holds {_shown(found)}; it should hold {', '.join(sorted(fields))}")


def _shown(value: Any) -> str:
    """An untrusted value for a message: quoted, without control characters, short."""
    text = ascii(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def _by_trial(answers: Any, plan: Plan) -> dict[str, dict[str, Any]]:
    """Answers by trial, each with the fields that its trial asks for."""
    if not isinstance(answers, list):
        raise ValueError("its answers are not a list")
    found: dict[str, dict[str, Any]] = {}
    for answer in answers:
        trial = answer.get("trial") if isinstance(answer, dict) else None
        if not isinstance(trial, str) or not (trial in plan.pairs or trial in plan.ratings):
            raise ValueError(f"answers a trial that is not in the test, {_shown(trial)}")
        if trial in found:
            raise ValueError(f"answers trial {trial} twice")
        _check_fields(answer, PAIR_FIELDS if trial in plan.pairs else RATING_FIELDS, f"trial {trial}")
        seconds = answer["seconds"]
        if type(seconds) not in (int, float) or not 0 <= seconds <= MAX_TRIAL_SEC:
            raise ValueError(f"trial {trial} took {_shown(seconds)} seconds")
        found[trial] = answer
    return found


def _winner(answer: dict[str, Any], name: str, listener: str, plan: Plan) -> str | None:
    """Blinded name of the preferred medium, "" for no difference, None where it could not be played."""
    pair = plan.pairs[name]
    left, right = (pair.right, pair.left) if is_mirrored(listener) else (pair.left, pair.right)
    if (answer["left"], answer["right"]) != (left, right):
        raise ValueError(
            f"trial {name} shows {_shown([answer['left'], answer['right']])}, which this listener never saw"
        )
    choice = answer["choice"]
    if not (isinstance(choice, str) and choice in CHOICES):
        raise ValueError(f"trial {name} chose {_shown(choice)}; there are {', '.join(sorted(CHOICES))}")
    return {"left": left, "right": right, "none": "", "unplayable": None}[choice]


def _preference(listener: str, name: str, winner: str, plan: Plan) -> Preference:
    pair = plan.pairs[name]
    systems = {medium: plan.media[medium].system for medium in (pair.left, pair.right)}
    first, second = sorted(systems.values(), key=plan.systems.index)
    share = 0.5 if not winner else float(systems[winner] == first)
    return Preference(
        listener,
        plan.media[pair.left].clip,
        first,
        second,
        share,
        (systems[pair.left] == first) ^ is_mirrored(listener),
    )


def _rated(answer: dict[str, Any], name: str, plan: Plan) -> dict[str, int]:
    """Grades by scale; none where the medium could not be played."""
    if answer["medium"] != plan.ratings[name].medium:
        raise ValueError(f"trial {name} rates {_shown(answer['medium'])}, which is not its medium")
    ratings = answer["ratings"]
    if ratings is None:
        return {}
    _check_fields(ratings, set(plan.scales), f"trial {name}'s ratings")
    for scale, value in ratings.items():
        if type(value) is not int or value not in GRADES:
            raise ValueError(f"trial {name} rates {scale} {_shown(value)}; a grade is a whole number from 1 to 5")
    return ratings
