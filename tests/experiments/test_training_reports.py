"""Metrics of variants as reports."""

from foleygram.experiments.training_reports import control_report, objectives_report

PROTOCOL = {"seed": 0, "clips": 2}


def test_objectives_are_reported_in_two_tables_with_dashes_for_missing_metrics() -> None:
    metrics = {
        "start": {"auc_all_mixed": 0.9, "v+true: onset_f1_50": 0.5},
        "GRAM": {"auc_all_mixed": 0.95, "volume_matched": 0.2},
    }
    space, sound = objectives_report({"protocol": PROTOCOL, "metrics": metrics}).findings
    assert space.rows[0] == ("start", "-", "-", "0.900", "-")
    assert sound.columns[:2] == ("variant", "onset F1, 50 ms (v+true)")
    assert [row[1] for row in sound.rows] == ["0.500", "-"]
    assert "<svg" in space.plot


def test_controls_are_compared_under_one_name_though_their_conditions_differ() -> None:
    metrics = {"RMS envelope": {"v+true: envelope_l1": 0.01}, "onset track": {"v+onsets: envelope_l1": 0.02}}
    report = control_report({"protocol": PROTOCOL, "metrics": metrics})
    (finding,) = report.findings
    assert [row[finding.columns.index("E-L1")] for row in finding.rows] == ["0.0100", "0.0200"]
    assert report.protocol["experiment"] == "control"
