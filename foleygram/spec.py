"""Rates and durations of a clip; every length is derived from them."""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from foleygram.files import shipped

FrameTransform = Literal["squash", "crop"]


@dataclass(frozen=True)
class ClipSpec:
    """Rates and duration of a clip; lengths are properties (arXiv 2510.05829, sec. III; defaults: full size).

    Raises ValueError when a rate or a duration is not positive and finite, or a count is not a whole number.
    """

    seconds: float = 10.0
    """Length of a clip, in seconds."""
    sample_rate: int = 44_100
    """Audio rate of the backbone, in Hz."""
    audio_channels: int = 2
    """Channels the backbone's autoencoder reads and writes."""
    latent_hop: int = 2048
    """Audio samples per latent (the product of the autoencoder's strides)."""
    envelope_sample_rate: int = 16_000
    """Rate at which the RMS envelope is measured, in Hz, whatever the backbone's rate."""
    frame_length: int = 512
    """Window of the RMS envelope, in samples at `envelope_sample_rate`."""
    hop_length: int = 128
    """Hop of the RMS envelope, in samples at `envelope_sample_rate`."""
    num_frames: int = 8
    """Frames for the aligned video encoder: the middles of equal segments (GRAM)."""
    image_size: int = 224
    """Side of those frames, in pixels."""
    frame_transform: FrameTransform = "squash"
    """How frames are made square: `squash` scales both sides to `image_size` (bicubic), `crop` scales the
    shorter one to it and keeps the middle (bilinear; GRAM's `vision_transforms: crop_flip`)."""
    motion_frame_rate: float = 30.0
    """Rate of the envelope predictor's time grid, in Hz."""
    motion_size: int = 112
    """Side of the predictor's frames, in pixels."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "frame_transform":
                if value not in get_args(FrameTransform):
                    raise ValueError(f"ClipSpec.frame_transform is {value!r}: write squash or crop")
                continue
            if not 0 < value < math.inf:
                raise ValueError(f"ClipSpec.{field.name} is {value}: it must be positive")
            if field.type is int and not isinstance(value, int):
                raise ValueError(f"ClipSpec.{field.name} is {value}: it must be a whole number")

    def facts(self) -> dict[str, Any]:
        """The fields by name; without `frame_transform` where it is the one that older caches had, `squash`."""
        found = asdict(self)
        return found if self.frame_transform != "squash" else {k: v for k, v in found.items() if k != "frame_transform"}

    @property
    def num_samples(self) -> int:
        """Audio samples of a clip at the backbone's rate."""
        return round(self.seconds * self.sample_rate)

    @property
    def num_latents(self) -> int:
        """Latents of a clip, rounded up."""
        return math.ceil(self.num_samples / self.latent_hop)

    @property
    def num_padded_samples(self) -> int:
        """Audio samples that `num_latents` latents decode to."""
        return self.num_latents * self.latent_hop

    @property
    def envelope_rate(self) -> float:
        """Envelope values per second."""
        return self.envelope_sample_rate / self.hop_length

    @property
    def num_envelope_values(self) -> int:
        """Values of a clip's centred RMS envelope (the first at time 0)."""
        return round(self.seconds * self.envelope_sample_rate) // self.hop_length + 1

    @property
    def num_motion_frames(self) -> int:
        """Frames of a clip on the envelope predictor's time grid."""
        return round(self.seconds * self.motion_frame_rate)


def as_spec(spec: str | ClipSpec) -> ClipSpec:
    """`spec` itself, or the one in the file that it names; for arguments that YAML files give."""
    return read_spec(Path(spec)) if isinstance(spec, str) else spec


def read_spec(path: Path) -> ClipSpec:
    """The clip's rates from a YAML of `ClipSpec` fields or a release's index.

    The path counts from the working directory. Raises FileNotFoundError, and ValueError naming the field.
    """
    if not shipped(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; the clip's rates, counted from the folder you are in")
    try:
        content = yaml.safe_load(shipped(path).read_text(encoding="utf-8"))
        return ClipSpec(**content.get("spec", content))
    except (TypeError, AttributeError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}; it must hold fields of ClipSpec") from error
