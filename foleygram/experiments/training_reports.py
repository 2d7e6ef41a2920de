"""Reports of the experiments that train: one row per variant, and a plot of the main metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

from foleygram.benchmark.protocol import versions
from foleygram.benchmark.report import Finding, Report, cell
from foleygram.experiments.plots import draw_dots

SPACE = {
    "material, video to sound": "material_video_to_audio",
    "material, text to sound": "material_text_to_audio",
    "AUC, all mixed": "auc_all_mixed",
    "volume, matched": "volume_matched",
}
SOUND = {
    "onset F1, 50 ms": "onset_f1_50",
    "envelope correlation": "envelope_correlation",
    "E-L1": "envelope_l1",
    "material": "material_accuracy",
}
OBJECTIVES_TEXT = (
    "Every space is trained from the same one, whose own metrics are in the first row, with the same clips, "
    "steps and rates. Volume is the mean over held-out matched triplets. For the sound every space gets fresh "
    "projectors, and the same ControlNet is trained on beside them; the true envelope is given. The start was trained "
    "with GRAM: a few variants, one seed, no statistic."
)
SENSITIVITY_TEXT = (
    "Sizes: fresh heads of so many dimensions on the same networks. Temperatures: of the loss at the beginning, on the "
    "start as it is; the loss learns it from there. Metrics on held-out clips."
)
CONTROL_TEXT = (
    "Two ControlNets begin as the same copy of the DiT's blocks and train equally long, one on RMS envelopes, one on "
    "pulses at their onsets. Each gets the ground truth in its own form and is scored against the reference sound."
)


def objectives_report(content: Mapping[str, Any]) -> Report:
    """The report of `compare_objectives`."""
    names = dict.fromkeys(key.partition(": ")[0] for key in _keys(content) if ": " in key)
    sound = {f"{label} ({name})": f"{name}: {key}" for name in names for label, key in SOUND.items()}
    space = variants_finding("Spaces", OBJECTIVES_TEXT, content, SPACE)
    return _report("objectives", content, space, variants_finding("Sound", "", content, sound))


def sensitivity_report(content: Mapping[str, Any]) -> Report:
    """The report of `alignment_sensitivity`."""
    return _report("sensitivity", content, variants_finding("Sensitivity", SENSITIVITY_TEXT, content, SPACE))


def control_report(content: Mapping[str, Any]) -> Report:
    """The report of `compare_controls`, without the conditions' names, which repeat the control."""
    metrics = {name: {k.rpartition(": ")[2]: v for k, v in row.items()} for name, row in content["metrics"].items()}
    return _report(
        "control", content, variants_finding("Control", CONTROL_TEXT, {**content, "metrics": metrics}, SOUND)
    )


def variants_finding(title: str, text: str, content: Mapping[str, Any], keys: Mapping[str, str]) -> Finding:
    """A row per variant with the metrics that `keys` (label: name) names, a dash where one is missing."""
    metrics: Mapping[str, Mapping[str, float]] = content["metrics"]
    panels = {label: {name: row.get(key) for name, row in metrics.items()} for label, key in keys.items()}
    rows = tuple((name, *(cell(key, row.get(key)) for key in keys.values())) for name, row in metrics.items())
    return Finding(title, text, ("variant", *keys), rows, metrics=metrics, plot=draw_dots(panels, {}))


def _report(name: str, content: Mapping[str, Any], *findings: Finding) -> Report:
    protocol = {"experiment": name, **content["protocol"], "versions": versions()}
    variants: Sequence[str] = list(content["metrics"])
    return Report(title=f"{name}: {', '.join(variants)}", protocol=protocol, scores={}, findings=findings)


def _keys(content: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(key for row in content["metrics"].values() for key in row))
