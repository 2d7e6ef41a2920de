"""The paper's experiments on a trained model: each is one function from a way to run the benchmark to a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from foleygram.benchmark.embeddings import OWN
from foleygram.benchmark.intervals import Interval, difference_intervals
from foleygram.benchmark.report import Finding, Report, cell
from foleygram.benchmark.settings import ORACLE, Condition, parse_condition
from foleygram.experiments.plots import draw_dots, draw_lines

Run = Callable[..., Report]
"""Generates and scores the `conditions` it is given: `run.evaluate` with everything else decided."""
COMBINATIONS = ("a", "v", "t", "av", "vt", "at", "avt")
SHIFTS_MS = (-120, -80, -40, 0, 40, 80, 120)
"""Whole values of the envelope's 125 per second, so that a shift is exact; 40 lies within both tolerances."""
SCALES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""Control scales; 1 is the one of training."""
SHOWN = ("onset F1, 50 ms", "envelope correlation", "material accuracy")
NEAR_MS = 15.0
"""A lag this near to the shift that was asked for is the shift."""


def conditioning(run: Run, *, true_envelope: bool = False) -> Report:
    """Which modalities determine what sounds: A, V, T and all combinations, with the predicted or true envelope."""
    names = [f"{letters}{'+true' * true_envelope}" for letters in COMBINATIONS]
    report = run(conditions=[parse_condition(name) for name in names])
    envelope = "the reference's, as in the paper" if true_envelope else "predicted from the video, whatever the letters"
    text = (
        "a: the reference sound itself, v: the video, t: the caption; the letters choose the semantic tokens. The "
        f"envelope is {envelope}. {ORACLE}: uses the reference sound, so an oracle that a system with only the video "
        f"cannot reach. {OWN} is the encoder that makes a's token, so it is no independent judge of those conditions."
    )
    return replace(report, findings=(_finding("Conditioning", text, report, names),))


def perturbation(run: Run) -> Report:
    """Scores under an envelope that is wrong by a known amount: shifted, shuffled, or flat."""
    shifted = [Condition(_shift_name(ms), envelope="true", shift_ms=ms) for ms in SHIFTS_MS]
    spoilt = [Condition(f"{kind} envelope", envelope=kind) for kind in ("shuffled", "flat")]
    report = run(conditions=[*shifted, *spoilt])
    names = [condition.name for condition in (*shifted, *spoilt)]
    return replace(report, findings=(_shift_finding(report), _spoilt_finding(report, names)))


def smoothing(run: Run) -> Report:
    """Temporal smoothing: onsets and envelope under the true envelope, from no control to one and a half times it."""
    conditions = [Condition(_scale_name(scale), envelope="true", control_scale=scale) for scale in SCALES]
    report = run(conditions=conditions)
    return replace(report, findings=(_smoothing_finding(report),))


def projections(run: Run) -> Report:
    """Learned projectors against random ones of the same scale, in front of the same ControlNet and backbone."""
    names = ("v", "vt", "avt")
    pairs = [(parse_condition(name), f"{name}, random") for name in names]
    random = [replace(condition, name=name, random_projections=True) for condition, name in pairs]
    report = run(conditions=[*(condition for condition, _ in pairs), *random])
    text = (
        "Random projectors are drawn with the mean and deviation of the learned ones, and take their place after "
        "training. The envelope is the predicted one. What the material loses is what the projectors had learned; a "
        "ControlNet trained beside random projectors could make up for some of it, and was not tried here."
    )
    shown = [name for condition, other in pairs for name in (condition.name, other)]
    return replace(report, findings=(_finding("Learned and random projectors", text, report, shown),))


def _shift_name(ms: float) -> str:
    return f"{ms:+g} ms" if ms else "true"


def _scale_name(scale: float) -> str:
    return f"control scale {scale:g}"


def _finding(title: str, text: str, report: Report, names: Sequence[str]) -> Finding:
    """The main metrics, a row per name, with their intervals, as table and plot."""
    keys = {
        label: key
        for label, key in report.metrics.items()
        if label in SHOWN or label.startswith("KAD")
        if any(_value(report, name, key) is not None for name in names)
    }
    panels = {label: {report.marked(name): _value(report, name, key) for name in names} for label, key in keys.items()}
    known = {
        label: {
            report.marked(name): report.intervals[name][key] for name in names if key in report.intervals.get(name, {})
        }
        for label, key in keys.items()
    }
    rows = [(report.marked(name), *(_with_interval(report, name, key) for key in keys.values())) for name in names]
    marked = [report.marked(name) for name in names if name in report.oracle]
    return Finding(
        title, text, (title.lower(), *keys), tuple(rows),
        metrics={name: {key: _value(report, name, key) for key in keys.values()} for name in names},
        plot=draw_dots(panels, known, marked=marked),
    )  # fmt: skip


def _shift_finding(report: Report) -> Finding:
    shifted = {ms: report.scores[_shift_name(ms)] for ms in SHIFTS_MS}
    lags = {ms: _signed_lag(scores.rows) for ms, scores in shifted.items()}
    f1 = {ms: scores.summary.get("onset_f1_50") for ms, scores in shifted.items()}
    correlation = {ms: scores.summary.get("envelope_correlation") for ms, scores in shifted.items()}
    rows = [
        (f"{ms:+g} ms", cell("lag_ms", lags[ms]), cell("onset_f1_50", f1[ms]),
         cell("onset_f1_100", shifted[ms].summary.get("onset_f1_100")),
         cell("envelope_correlation", correlation[ms]), _verdict(lags[ms], ms))
        for ms in SHIFTS_MS
    ]  # fmt: skip
    text = (
        "The reference's envelope, moved by a known amount before it steers the sound. The lag that is measured should "
        f"be that amount (here: to {NEAR_MS:g} ms), F1 should fall where the amount passes its tolerance, and the "
        "correlation should fall with it on both sides."
    )
    panels = {
        "median lag, ms": [lags[ms] for ms in SHIFTS_MS],
        "onset F1, 50 ms": [f1[ms] for ms in SHIFTS_MS],
        "envelope correlation": [correlation[ms] for ms in SHIFTS_MS],
    }
    return Finding(
        "Shifted envelopes", text,
        ("shift", "median lag, ms", "onset F1, 50 ms", "onset F1, 100 ms", "envelope correlation", "lag as asked"),
        tuple(rows),
        metrics={f"{ms:+g} ms": {"median_lag_ms": lags[ms], "onset_f1_50": f1[ms]} for ms in SHIFTS_MS},
        plot=draw_lines(panels, SHIFTS_MS, xlabel="shift asked for, ms", wanted=["median lag, ms"]),
    )  # fmt: skip


def _smoothing_finding(report: Report) -> Finding:
    """A row per control scale; where onsets or envelope are worse than at scale 1 by more than chance."""
    labels = ("onset F1, 50 ms", "onset precision, 50 ms", "onset recall, 50 ms", "envelope correlation", "E-L1")
    keys = {label: report.metrics[label] for label in labels}
    names = {scale: _scale_name(scale) for scale in SCALES}
    worse = {
        label: [f"{scale:g}" for scale, name in names.items() if _is_worse(report, name, names[1.0], keys[label])]
        for label in ("onset F1, 50 ms", "envelope correlation")
    }
    text = (
        "The true envelope through the ControlNet at each scale; 1 is the scale of training, 0 leaves the control out. "
        "Smoothing would show as onsets lost (recall) at low scales. Below scale 1's by more than chance, paired by "
        "clip: " + "; ".join(f"{label} at {', '.join(found) or 'none'}" for label, found in worse.items()) + "."
    )
    shown = ("onset F1, 50 ms", "onset recall, 50 ms", "envelope correlation")
    return Finding(
        "Temporal smoothing", text, ("control scale", *keys),
        tuple((f"{s:g}", *(_with_interval(report, name, key) for key in keys.values())) for s, name in names.items()),
        metrics={f"{s:g}": {key: _value(report, name, key) for key in keys.values()} for s, name in names.items()},
        plot=draw_lines(
            {label: [_value(report, name, keys[label]) for name in names.values()] for label in shown},
            SCALES, xlabel="control scale",
            intervals={
                label: [report.intervals.get(name, {}).get(keys[label]) for name in names.values()] for label in shown
            },
        ),
    )  # fmt: skip


def _spoilt_finding(report: Report, names: Sequence[str]) -> Finding:
    """Every perturbed envelope beside the true one, and whether what it loses is more than chance."""
    sure = [name for name in names if name != "true" and _is_worse(report, name, "true", "envelope_correlation")]
    text = (
        "The same scores with their intervals. Shuffled: pieces of 250 ms in another order. Flat: the mean level "
        "throughout. Envelope correlation surely below the true envelope's, paired by clip: "
        f"{', '.join(sure) or 'none'}."
    )
    return _finding("Perturbed envelopes", text, report, names)


def _is_worse(report: Report, name: str, base: str, metric: str) -> bool:
    """Whether a condition's `metric` is below that of `base` by more than chance, paired by clip."""
    rows, truth = report.scores[name].rows, report.scores[base].rows
    if [row["video_id"] for row in rows] != [row["video_id"] for row in truth]:
        return False
    found = difference_intervals(rows, truth, seed=report.protocol["seed"])
    return metric in found and found[metric].high < 0


def _signed_lag(rows: Sequence[Mapping[str, object]]) -> float | None:
    lags = [float(lag) for row in rows if isinstance(lag := row.get("lag_ms"), int | float)]
    return median(lags) if lags else None


def _verdict(lag: float | None, asked: float) -> str:
    return "-" if lag is None else "yes" if abs(lag - asked) <= NEAR_MS else "no"


def _value(report: Report, name: str, key: str) -> float | None:
    return report.scores[name].summary.get(key)


def _with_interval(report: Report, name: str, key: str) -> str:
    interval: Interval | None = report.intervals.get(name, {}).get(key)
    text = cell(key, _value(report, name, key))
    return text if interval is None else f"{text} ({cell(key, interval.low)} to {cell(key, interval.high)})"
