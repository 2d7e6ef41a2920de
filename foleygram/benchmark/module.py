"""Evaluation as a Lightning stage: `train.py test` generates for a test split's clips and scores them."""

import zlib
from collections.abc import Sequence
from typing import Any

import lightning
import torch

from foleygram.benchmark.settings import choose_conditions, condition_batch, condition_envelopes
from foleygram.evaluation.scores import ScoredClip, gather_rows, score_clip, scores_of
from foleygram.evaluation.statistics import Row
from foleygram.files import shipped
from foleygram.pipeline.pipeline import FoleyGRAMPipeline

METRICS = ("onsets", "envelope")
"""Those that need no network; `foleygram evaluate` has all of them, with a report."""


class EvaluationModule(lightning.LightningModule):
    """Generates each test clip in each of `conditions` with the release `checkpoint`, and logs onsets and envelope.

    Batches are clips of `GreatestHits` with audio, frames, motion and envelope_audio. A clip's sound depends on `seed`,
    its video and its start, and not on its batch or process. Steps and guidance that are None are the release's own.
    Raises ValueError for an unknown condition or one with inputs from another clip.
    """

    def __init__(
        self,
        checkpoint: str,
        conditions: Sequence[str] = ("predicted", "true"),
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.pipeline = FoleyGRAMPipeline.from_pretrained(shipped(checkpoint))
        self.conditions = choose_conditions(conditions, controls=False)
        self.sampling = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
        self.seed = seed
        self.rows: dict[str, list[Row]] = {}

    def on_test_start(self) -> None:
        """Move the release to the device, and forget earlier rows."""
        self.pipeline.to(self.device)
        self.rows = {condition.name: [] for condition in self.conditions}

    def test_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Generate and score a batch, as the class describes it, in every condition, a row of values per clip."""
        count = len(batch["video_id"])
        clips = [{name: values[i] for name, values in batch.items()} for i in range(count)]
        seeds = [self.seed + zlib.crc32(f"{clip['video_id']} {float(clip['start']):.3f}".encode()) for clip in clips]
        for condition in self.conditions:
            sounds = self.pipeline.generate_clips(
                condition_batch(condition, clips, clips),
                envelopes=condition_envelopes(condition, clips, clips, self.pipeline.spec),
                present=condition.modalities,
                controlnet_conditioning_scale=condition.control_scale,
                seeds=seeds,
                **self.sampling,
            )
            for clip, sound in zip(clips, sounds.float().cpu(), strict=True):
                self.rows[condition.name].append(score_clip(self._scored(clip, sound), METRICS))

    def _scored(self, clip: dict[str, Any], sound: torch.Tensor) -> ScoredClip:
        return ScoredClip(
            generated=sound.mean(0),
            reference=clip["audio"].float().cpu().mean(0),
            sample_rate=self.pipeline.spec.sample_rate,
            event_times=[float(time) for time in clip["event_times"]],
            event_actions=clip["event_actions"],
            material=None,
            video_id=clip["video_id"],
            start=float(clip["start"]),
        )

    def on_test_epoch_end(self) -> None:
        """Log the scores of every condition over the clips of all processes, each clip once."""
        for name, rows in self.rows.items():
            once = {(row["video_id"], row["start"]): row for row in gather_rows(rows)}
            for key, value in scores_of(list(once.values())).summary.items():
                if value is not None:
                    self.log(f"{name}/{key}", float(value), rank_zero_only=True)
