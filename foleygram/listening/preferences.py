"""Analyses a listening test: opinion scores, win rates and strengths, with intervals over listeners and clips."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy.stats import binomtest

from foleygram.files import write_json
from foleygram.listening.answers import Collected, Grade, Preference, Sheet
from foleygram.listening.plan import Plan

NUM_REPLICATES = 2000
LEVEL = 0.95
PRIOR_WINS = 0.5
"""Added to every pair in both directions, so that a system which always wins has a finite strength (Agresti's half)."""
MAX_ITERATIONS, TOLERANCE = 1000, 1e-9


class Estimate(NamedTuple):
    """A value, its 95% interval over resampled listeners and clips, and the number of answers behind it."""

    value: float
    low: float
    high: float
    num_answers: int


class Duel(NamedTuple):
    """Two systems compared: share of answers for the first, ties half; listeners who lean to each; sign test."""

    first: str
    second: str
    share: Estimate
    num_ties: int
    listeners_for_first: int
    listeners_for_second: int
    p_value: float
    """Two-sided, exact, over listeners: each counts once, since one listener's answers are dependent."""


class Findings(NamedTuple):
    """All results of a test."""

    opinions: dict[str, dict[str, Estimate]]
    """By scale, then system."""
    duels: list[Duel]
    strengths: dict[str, Estimate]
    """Bradley-Terry, in logits, mean zero: the difference of two is the log odds of the one being preferred."""
    share_left: Estimate | None
    """Of decided answers: far from 0.5, listeners answered by side."""


def analyse(sheets: Sequence[Sheet], plan: Plan, *, seed: int = 0, num_replicates: int = NUM_REPLICATES) -> Findings:
    """Scores of every system from listeners' sheets.

    Intervals are percentiles over `num_replicates` draws in which listeners and clips are resampled independently of
    each other (the pigeonhole bootstrap, Owen 2007). Raises ValueError without a sheet.
    """
    if not sheets:
        raise ValueError("no valid answers to analyse")
    listeners = {sheet.listener: number for number, sheet in enumerate(sheets)}
    clips = {clip: number for number, clip in enumerate(plan.clips)}
    draw = np.random.default_rng(seed)
    weights = _Weights(_resample(len(listeners), num_replicates, draw), _resample(len(clips), num_replicates, draw))
    preferences = [answer for sheet in sheets for answer in sheet.preferences]
    grades = [grade for sheet in sheets for grade in sheet.grades]

    def table(answers: Sequence[Preference | Grade], value: Callable[[Any], float]) -> "_Table":
        sums, counts = np.zeros((2, len(listeners), len(clips)))
        for answer in answers:
            sums[listeners[answer.listener], clips[answer.clip]] += value(answer)
            counts[listeners[answer.listener], clips[answer.clip]] += 1
        return _Table(sums, counts)

    opinions: dict[str, dict[str, Estimate]] = {}
    for scale, system in product(plan.scales, plan.systems):
        given = [grade for grade in grades if (grade.system, grade.scale) == (system, scale)]
        if given:
            opinions.setdefault(scale, {})[system] = _mean(table(given, lambda grade: grade.value), weights)
    duels, tables = [], {}
    for pair in combinations(plan.systems, 2):
        met = [answer for answer in preferences if (answer.first, answer.second) == pair]
        if met:
            tables[pair] = table(met, lambda answer: answer.share)
            duels.append(_duel(*pair, met, _mean(tables[pair], weights)))
    strengths = _strengths(tables, plan.systems, weights) if tables else {}
    decided = [answer for answer in preferences if answer.share != 0.5]
    left = table(decided, lambda answer: (answer.share == 1) == answer.first_was_left)
    return Findings(opinions, duels, strengths, _mean(left, weights) if decided else None)


class _Weights(NamedTuple):
    """How often each listener and each clip was drawn, (replicates, listeners) and (replicates, clips)."""

    listeners: np.ndarray
    clips: np.ndarray


class _Table(NamedTuple):
    """Sums and counts of answers, both (listeners, clips)."""

    sums: np.ndarray
    counts: np.ndarray

    def resampled(self, weights: _Weights) -> tuple[np.ndarray, np.ndarray]:
        """Total and count of each replicate, both (replicates,)."""
        total, count = (
            np.einsum("rl,lc,rc->r", weights.listeners, part, weights.clips, optimize=True) for part in self
        )
        return total, count


def _resample(count: int, num_replicates: int, draw: np.random.Generator) -> np.ndarray:
    return draw.multinomial(count, np.full(count, 1 / count), size=num_replicates).astype(float)


def _interval(replicates: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _mean(table: _Table, weights: _Weights) -> Estimate:
    totals, counts = table.resampled(weights)
    replicates = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    return Estimate(float(table.sums.sum() / table.counts.sum()), *_interval(replicates), int(table.counts.sum()))


def _duel(first: str, second: str, answers: Sequence[Preference], share: Estimate) -> Duel:
    leaning: dict[str, float] = {}
    for answer in answers:
        leaning[answer.listener] = leaning.get(answer.listener, 0.0) + answer.share - 0.5
    for_first, for_second = (sum(sign * lean > 0 for lean in leaning.values()) for sign in (1, -1))
    decided = for_first + for_second
    p_value = float(binomtest(for_first, decided).pvalue) if decided else 1.0
    return Duel(first, second, share, sum(a.share == 0.5 for a in answers), for_first, for_second, p_value)


def _strengths(
    tables: Mapping[tuple[str, str], _Table], systems: Sequence[str], weights: _Weights
) -> dict[str, Estimate]:
    index = {system: number for number, system in enumerate(systems)}
    wins = np.zeros((1 + len(weights.clips), len(systems), len(systems)))  # row 0: the answers as given
    counts = dict.fromkeys(systems, 0)
    for (first, second), table in tables.items():
        total, count = (
            np.concatenate([[part.sum()], drawn]) for part, drawn in zip(table, table.resampled(weights), strict=True)
        )
        wins[:, index[first], index[second]], wins[:, index[second], index[first]] = total, count - total
        for system in (first, second):
            counts[system] += int(count[0])
    fitted = bradley_terry(wins)
    return {name: Estimate(float(fitted[0, i]), *_interval(fitted[1:, i]), counts[name]) for name, i in index.items()}


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    """Strengths (..., systems), in logits and of mean zero, from `wins[..., i, j]`, how often i was preferred to j.

    Maximum likelihood by minorisation (Hunter 2004, equation 3), ties counted half on each side beforehand, with
    `PRIOR_WINS` added between all systems.
    """
    size = wins.shape[-1]
    wins = wins + PRIOR_WINS * (1 - np.eye(size))
    met = wins + np.swapaxes(wins, -1, -2)
    won = wins.sum(-1)
    strength = np.ones(won.shape)
    for _ in range(MAX_ITERATIONS):
        updated = won / (met / (strength[..., :, None] + strength[..., None, :])).sum(-1)
        updated /= np.exp(np.log(updated).mean(-1, keepdims=True))
        settled = np.abs(np.log(updated / strength)).max() < TOLERANCE
        strength = updated
        if settled:
            break
    return np.log(strength)


def print_findings(findings: Findings, collected: Collected, *, console: Console | None = None) -> None:
    """Print tables of opinion scores, win rates and strengths, excluded listeners with the reason, and warnings."""
    console = console or Console()
    sheets = collected.sheets
    for scale, systems in findings.opinions.items():
        table = Table("system", "mean", "95% interval", "answers", title=f"{escape(scale)}, mean opinion (1 to 5)")
        for system, mean in sorted(systems.items(), key=lambda item: -item[1].value):
            table.add_row(escape(system), f"{mean.value:.2f}", _span(mean, 2), str(mean.num_answers))
        console.print(table)
    if findings.duels:
        table = Table(
            "preferred", "to", "share", "95% interval", "answers", "ties", "listeners", "p (sign)", title="pairs"
        )
        for duel in findings.duels:
            leaning = f"{duel.listeners_for_first} : {duel.listeners_for_second}"
            table.add_row(
                escape(duel.first), escape(duel.second), f"{duel.share.value:.3f}", _span(duel.share, 3),
                str(duel.share.num_answers), str(duel.num_ties), leaning, f"{duel.p_value:.3g}",
            )  # fmt: skip
        console.print(table)
        table = Table("system", "strength, logits", "95% interval", title="Bradley-Terry")
        for system, strength in sorted(findings.strengths.items(), key=lambda item: -item[1].value):
            table.add_row(escape(system), f"{strength.value:+.2f}", _span(strength, 2))
        console.print(table)
    minutes = np.median([sheet.seconds for sheet in sheets]) / 60
    console.print(f"{len(sheets)} listeners, {minutes:.1f} minutes each (median), intervals over listeners and clips")
    for line in _caveats(findings, sheets):
        console.print(line, style="yellow", highlight=False)
    for path, reason in collected.excluded:
        console.print(f"left out: {path.name}: {reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _span(estimate: Estimate, digits: int) -> str:
    return f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}"


def _caveats(findings: Findings, sheets: Sequence[Sheet]) -> list[str]:
    lines = []
    if len(sheets) < 2:
        lines.append("one listener: the intervals do not cover how others hear")
    if findings.share_left and not findings.share_left.low <= 0.5 <= findings.share_left.high:
        left = findings.share_left
        lines.append(
            f"the left one was preferred in {left.value:.0%} of decided answers ({_span(left, 2)}): a bias by side"
        )
    unplayable = sum(sheet.num_unplayable for sheet in sheets)
    if unplayable:
        lines.append(f"{unplayable} trials could not be played by their listener's browser and are not counted")
    return lines


def write_findings(path: Path, findings: Findings, collected: Collected, plan: Plan, *, seed: int) -> None:
    """Write all results, the listeners counted and those left out as JSON, whole or not at all."""
    content = {
        "page": plan.page,
        "systems": plan.systems,
        "num_clips": len(plan.clips),
        "num_listeners": len(collected.sheets),
        "interval": {"level": LEVEL, "num_replicates": NUM_REPLICATES, "seed": seed, "over": ["listeners", "clips"]},
        **_plain(findings),
        "counted": [sheet.path.name for sheet in collected.sheets],
        "left_out": [{"file": path.name, "reason": reason} for path, reason in collected.excluded],
    }
    write_json(path, content)


def _plain(value: Any) -> Any:
    """Named tuples as the objects that JSON has."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list) else value
