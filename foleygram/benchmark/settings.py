"""Conditions of the benchmark: which inputs the model gets, and whether they include the reference sound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from foleygram.datasets.datamodule import collate_clips
from foleygram.envelope.editing.edits import shift
from foleygram.envelope.envelope import Envelope, onset_track
from foleygram.envelope.rms import rms_envelope
from foleygram.generation.model import MODALITIES
from foleygram.spec import ClipSpec

LETTERS = {"a": "audio", "v": "video", "t": "text"}
READ_FOR = {"audio": "envelope_audio", "video": "frames", "text": "caption"}
"""The field of a clip that each modality's token is made of."""
SHORT_NAMES = {"predicted": "v+predicted", "true": "v+true"}
AGAINST_OTHER = " (other's truth)"
ORACLE = "†"
"""Marks conditions that use the reference sound."""

SHUFFLED_SEC = 0.25
"""Length of the pieces that a shuffled envelope is cut into."""

Envelopes = Literal["predicted", "true", "onsets", "flat", "shuffled", "other"]


@dataclass(frozen=True)
class Condition:
    """A condition of the benchmark: tokens, envelope, control scale, and whether the video is another clip's."""

    name: str
    modalities: tuple[str, ...] = ("video",)
    envelope: Envelopes = "predicted"
    control_scale: float = 1.0
    other_video: bool = False
    shift_ms: float = 0.0
    """Delay of the envelope."""
    random_projections: bool = False
    """Whether random projectors replace the release's own."""

    @property
    def borrows(self) -> bool:
        """Whether another clip is among the inputs, so that the result is scored against that clip as well."""
        return self.other_video or self.envelope == "other"

    @property
    def oracle(self) -> bool:
        """Whether the reference sound is among the inputs."""
        from_reference = self.envelope in ("true", "onsets", "flat", "shuffled") and self.control_scale != 0
        return from_reference or "audio" in self.modalities

    @property
    def names(self) -> list[str]:
        """Names of its scores: against its own clip, and against the other clip among its inputs."""
        return [self.name, self.name + AGAINST_OTHER] if self.borrows else [self.name]

    @property
    def oracle_names(self) -> list[str]:
        """Those of `names` that are scored against a sound among the inputs."""
        marks = [self.oracle, self.envelope == "other"]
        return [name for name, marked in zip(self.names, marks, strict=False) if marked]

    @property
    def fields(self) -> set[str]:
        """Fields of a clip that are read for it."""
        inputs = {READ_FOR[modality] for modality in self.modalities} - {"caption"}
        return inputs | {"motion" if self.envelope == "predicted" else "envelope_audio"}


CONTROLS = (
    Condition("control scale 0", envelope="true", control_scale=0.0),
    Condition("flat envelope", envelope="flat"),
    Condition("other video", envelope="true", other_video=True),
    Condition("other envelope", envelope="other"),
)


def parse_condition(name: str) -> Condition:
    """The condition that a name stands for: letters of a, v, t in any order, then `+true` for the reference's envelope.

    `vt` is video and text with the predicted envelope, `avt+true` all three with the true one, `v+onsets` with a pulse
    at each of its onsets alone; `predicted` and `true` are short for `v+predicted` and `v+true`. Raises ValueError for
    an unknown name.
    """
    letters, _, envelope = SHORT_NAMES.get(name, name).partition("+")
    valid = bool(letters) and set(letters) <= LETTERS.keys() and len(set(letters)) == len(letters)
    if not valid or envelope not in ("", "predicted", "true", "onsets"):
        raise ValueError(
            f"unknown condition {name!r}; give letters of a, v, t, perhaps with +true, +onsets or +predicted "
            "(avt, vt+true), or predicted or true"
        )
    modalities = tuple(modality for modality in MODALITIES if modality[0] in letters)
    return Condition(name, modalities, envelope or "predicted")  # type: ignore[arg-type]


def choose_conditions(names: Sequence[str], *, controls: bool) -> list[Condition]:
    """The named conditions, each once, and the controls if wanted; raises ValueError for an unknown name."""
    conditions = {(c.modalities, c.envelope): c for c in reversed([parse_condition(name.strip()) for name in names])}
    return [*reversed(conditions.values()), *(CONTROLS if controls else ())]


def condition_batch(condition: Condition, own: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, Any]:
    """A condition's inputs, collated: `frames` (B, N, 3, S, S), `envelope_audio` (B, samples), `caption`, `motion`.

    `own` and `other` are items of a data set (`MediaClips`), B each; another video's tokens come from `other`'s frames.
    """
    names = {READ_FOR[modality] for modality in condition.modalities} | {"motion", "motion_ages"}
    batch = {key: value for key, value in collate_clips(own).items() if key in names}
    if condition.other_video:
        batch["frames"] = torch.stack([item["frames"] for item in other])
    return batch


def condition_envelopes(
    condition: Condition,
    own: Sequence[Mapping[str, Any]],
    other: Sequence[Mapping[str, Any]],
    spec: ClipSpec,
) -> Tensor | str:
    """Envelopes (B, values) that steer the sound, or "predicted"."""
    if condition.envelope == "predicted":
        return "predicted"
    source = other if condition.envelope == "other" else own
    curves = rms_envelope(torch.stack([item["envelope_audio"] for item in source]), spec.frame_length, spec.hop_length)
    if condition.envelope == "flat":
        return curves.mean(-1, keepdim=True).expand_as(curves).contiguous()
    if condition.envelope == "onsets":
        return onset_track(curves, spec.envelope_rate)
    if condition.envelope == "shuffled":
        curves = shuffled(curves, round(SHUFFLED_SEC * spec.envelope_rate))
    return shifted(curves, condition.shift_ms / 1000, spec.envelope_rate) if condition.shift_ms else curves


def shifted(curves: Tensor, seconds: float, rate: float) -> Tensor:
    """Envelopes (B, values) that come `seconds` later, earlier where negative; what passes an end is lost."""
    moved = [shift(Envelope(curve.numpy(), rate), seconds).values for curve in curves.cpu()]
    return torch.from_numpy(np.stack(moved))


def shuffled(curves: Tensor, size: int) -> Tensor:
    """Envelopes (B, values) cut into pieces of `size` in another order, the same for all, none where it was.

    What is left after the last whole piece stays. Raises ValueError for envelopes of fewer than two pieces.
    """
    count = curves.shape[-1] // size
    if count < 2:
        raise ValueError(f"an envelope of {curves.shape[-1]} values has no two pieces of {size} to shuffle")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    order = order[(torch.argsort(order) + 1) % count]  # each piece takes the place of the next of one cycle
    pieces = rearrange(curves[:, : count * size], "b (pieces size) -> b pieces size", size=size)[:, order]
    return torch.cat([rearrange(pieces, "b pieces size -> b (pieces size)"), curves[:, count * size :]], dim=-1)
