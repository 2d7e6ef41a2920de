"""The predictor's envelopes of validation clips beside the true ones, to look at (Lightning)."""

from typing import Any

from foleygram.envelope.module import EnvelopeModule
from foleygram.training.previews import Preview, Previews


class EnvelopePreviews(Previews):
    """Predicted and true envelopes; see `Previews`."""

    def make(self, stage: EnvelopeModule, batch: dict[str, Any]) -> list[Preview]:
        """Envelopes (values,) of each of a batch's B clips; the batch is that of `EnvelopeModule`."""
        predicted = stage.predictor.predict(batch["motion"], batch["motion_ages"]).float().cpu()
        true = stage.true_envelope(batch).cpu()
        rate = stage.predictor.config.envelope_rate
        return [
            Preview({}, {"predicted": ours, "true": theirs}, sample_rate=0, curve_rate=rate)
            for ours, theirs in zip(predicted, true, strict=True)
        ]
