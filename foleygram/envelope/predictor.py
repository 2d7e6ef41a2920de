"""Predicts the RMS envelope from the motion in a video."""

from collections.abc import Sequence
from dataclasses import field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel

from foleygram.envelope.rms import inverse_mu_law
from foleygram.envelope.shots import ShotEncoder, distinct_shots

AGE_FEATURES, PHASE_FEATURES = 4, 6
LEAD_STEP_SEC = 1e-4
"""Leads are rounded to this step, so that rounded ages and time stamps change them little."""
MAX_GAP = 8.0
"""Gaps between frames count up to this many grid steps; a longer gap is a still video."""


class EnvelopePredictorConfig(PretrainedConfig):
    """Rates in Hz and sizes of the networks.

    `map_widths` are channels at 1/2, 1/4 and 1/8 of `motion_size`; `window_sec` is the length of the clips it is
    trained on, and of the windows in which longer videos are done.
    """

    model_type = "envelope_predictor"

    motion_size: int = 112
    motion_frame_rate: float = 30.0
    envelope_rate: float = 125.0
    num_classes: int = 64
    map_widths: Sequence[int] = field(default_factory=lambda: [32, 48, 96])
    num_blocks: int = 3
    num_keypoints: int = 32
    value_width: int = 16
    hidden_size: int = 256
    lstm_size: int = 192
    head_width: int = 128
    dropout: float = 0.1
    window_sec: float = 10.0


class _TimeBlock(nn.Module):
    """A residual, normalised, dilated convolution over time: (B, T, C) to the same."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        change = F.gelu(self.conv(self.norm(hidden).transpose(1, 2)).transpose(1, 2))
        return hidden + self.out(self.dropout(change))


class EnvelopePredictor(PreTrainedModel):
    """Distinct frames -> shot encoder -> convolutions and a BiLSTM on the frames' grid -> envelope at its own rate.

    One cross-entropy class per mu-law level, as in Video-Foley and Stable-V2A; here from signed frame differences
    instead of optical flow.
    """

    config_class = EnvelopePredictorConfig
    main_input_name = "motion"

    def __init__(self, config: EnvelopePredictorConfig) -> None:
        super().__init__(config)
        hidden, head = config.hidden_size, config.head_width
        self.shots = ShotEncoder(
            config.map_widths,
            num_blocks=config.num_blocks,
            num_keypoints=config.num_keypoints,
            value_width=config.value_width,
        )
        self.frame = nn.Linear(self.shots.num_features + AGE_FEATURES, hidden)
        self.frame_norm = nn.LayerNorm(hidden)
        self.trunk = nn.Sequential(*[_TimeBlock(hidden, dilation, config.dropout) for dilation in (1, 2, 4)])
        self.lstm = nn.LSTM(hidden, config.lstm_size, batch_first=True, bidirectional=True)
        self.join = nn.Linear(2 * config.lstm_size, hidden)
        self.earlier, self.later = nn.Linear(hidden, head), nn.Linear(hidden, head, bias=False)
        self.phase = nn.Linear(PHASE_FEATURES, head)
        self.fine = nn.Sequential(*[_TimeBlock(head, dilation, config.dropout) for dilation in (1, 2, 4)])
        self.classes = nn.Sequential(nn.LayerNorm(head), nn.Linear(head, config.num_classes))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Torch's own initialisation stands; transformers' default would shrink every convolution."""

    @classmethod
    def build(
        cls,
        motion_size: int = 112,
        motion_frame_rate: float = 30.0,
        envelope_rate: float = 125.0,
        num_classes: int = 64,
        map_widths: Sequence[int] = (32, 48, 96),
        num_blocks: int = 3,
        num_keypoints: int = 32,
        value_width: int = 16,
        hidden_size: int = 256,
        lstm_size: int = 192,
        head_width: int = 128,
        dropout: float = 0.1,
        window_sec: float = 10.0,
    ) -> "EnvelopePredictor":
        """A predictor with random weights, from typed arguments; `EnvelopePredictorConfig` explains them."""
        return cls(
            EnvelopePredictorConfig(
                motion_size=motion_size,
                motion_frame_rate=motion_frame_rate,
                envelope_rate=envelope_rate,
                num_classes=num_classes,
                map_widths=list(map_widths),
                num_blocks=num_blocks,
                num_keypoints=num_keypoints,
                value_width=value_width,
                hidden_size=hidden_size,
                lstm_size=lstm_size,
                head_width=head_width,
                dropout=dropout,
                window_sec=window_sec,
            )
        )

    def num_values(self, num_frames: int) -> int:
        """Envelope values from the first frame's beginning to the last one's end, as `ClipSpec` counts them."""
        return int(num_frames / self.config.motion_frame_rate * self.config.envelope_rate + 1e-6) + 1

    def forward(self, motion: Tensor, ages: Tensor) -> Tensor:
        """Logits (B, values, classes) of motion (B, N, 3, M, M), uint8 or in [0, 1], with ages (B, N) in seconds.

        Frame i is the one on screen at (i + 0.5) / motion_frame_rate; value j belongs to j / envelope_rate. Raises
        ValueError for shapes that do not fit.
        """
        size = self.config.motion_size
        if (
            motion.dim() != 5
            or motion.shape[2:] != (3, size, size)
            or ages.shape != motion.shape[:2]
            or not ages.numel()
        ):
            shapes = f"motion of shape {tuple(motion.shape)} with ages {tuple(ages.shape)}"
            raise ValueError(f"{shapes}: give (B, N, 3, {size}, {size}) and (B, N)")
        shots = distinct_shots(motion, ages, self.config.motion_frame_rate)
        vectors = self.shots(shots)[shots.shown]  # (B, N, features)
        hidden = self.frame(torch.cat([vectors, _age_features(shots.stamps)], dim=-1))
        hidden = self.trunk(F.gelu(self.frame_norm(hidden)))
        hidden = hidden + self.join(self.lstm(hidden)[0])
        return self.classes(self.fine(self._at_envelope_rate(hidden, shots.stamps)))

    def _at_envelope_rate(self, hidden: Tensor, stamps: Tensor) -> Tensor:
        """Mix the frames (B, N, hidden) left and right of each value by where it lies in between: (B, values, head)."""
        count = hidden.shape[1]
        times = torch.arange(self.num_values(count), device=hidden.device) / self.config.envelope_rate
        place = times * self.config.motion_frame_rate - 0.5  # in grid steps, frame i at i
        left = place.floor().long().clamp(0, count - 1)
        right = (place.floor().long() + 1).clamp(0, count - 1)
        share = (place - place.floor()).expand(len(hidden), -1)
        since = ((place + 0.5) - stamps[:, left]).clamp(-MAX_GAP, MAX_GAP)
        until = (stamps[:, right] - (place + 0.5)).clamp(-MAX_GAP, MAX_GAP)
        waves = [torch.sin(torch.pi * share), torch.cos(torch.pi * share), share**2]
        phase = torch.stack([share, since, until, *waves], dim=-1).to(hidden.dtype)
        return F.gelu(self.earlier(hidden)[:, left] + self.later(hidden)[:, right] + self.phase(phase))

    @torch.inference_mode()
    def predict(self, motion: Tensor, ages: Tensor) -> Tensor:
        """Linear RMS (B, values) of motion (B, N, 3, M, M) with ages (B, N) in seconds; silence is exactly 0."""
        self.eval()
        return self.levels(self(motion, ages), ages)

    def levels(self, logits: Tensor, ages: Tensor) -> Tensor:
        """Linear RMS (B, values) of logits (B, values, classes) for frames with ages (B, N): later by `grid_lead`."""
        lead = grid_lead(ages, self.config.motion_frame_rate)
        return delayed(decode_levels(logits), lead * self.config.envelope_rate)

    @torch.inference_mode()
    def predict_long(
        self, motion: Tensor, ages: Tensor, *, window_sec: float | None = None, overlap_sec: float | None = None
    ) -> Tensor:
        """`predict` for any length: (B, values) of motion (B, N, 3, M, M), in windows cross-faded where they overlap.

        A window lasts `window_sec`, by default as long as the clips of training, the overlap a quarter of it. Equal to
        `predict` where one window holds everything; memory does not grow with the length beyond the result. Raises
        ValueError when the overlap is not shorter than the window.
        """
        rate, total = self.config.motion_frame_rate, motion.shape[1]
        window = round((self.config.window_sec if window_sec is None else window_sec) * rate)
        overlap = window // 4 if overlap_sec is None else round(overlap_sec * rate)
        if not 0 <= overlap < window:
            raise ValueError(f"windows of {window} frames cannot overlap by {overlap}")
        if total <= window:
            return self.predict(motion, ages)
        starts = [*range(0, total - window, window - overlap), total - window]
        times = torch.arange(self.num_values(total), device=motion.device) / self.config.envelope_rate * rate
        level = torch.zeros(len(motion), len(times), device=motion.device)
        weight = torch.zeros(len(times), device=motion.device)
        for start in starts:
            part = self._window(motion, ages, start, window, times)
            inside = (times >= start) & (times <= start + window)
            fade = torch.ones_like(times[inside])
            if start > 0:
                fade = fade * _ramp(times[inside] - start, overlap)
            if start + window < total:
                fade = fade * _ramp(start + window - times[inside], overlap)
            level[:, inside] += fade * part
            weight[inside] += fade
        return level / weight

    def _window(self, motion: Tensor, ages: Tensor, start: int, window: int, times: Tensor) -> Tensor:
        """Levels of the window of frames from `start` on, read at those of `times` (in grid steps) that lie in it."""
        own = self.predict(motion[:, start : start + window], ages[:, start : start + window])
        inside = times[(times >= start) & (times <= start + window)]
        place = (inside - start) / self.config.motion_frame_rate * self.config.envelope_rate
        left = place.floor().long().clamp(max=own.shape[1] - 1)
        right = (left + 1).clamp(max=own.shape[1] - 1)
        return torch.lerp(own[:, left], own[:, right], (place - left).clamp(0, 1))


def _ramp(distance: Tensor, overlap: int) -> Tensor:
    """About 0 in the outer quarter of the overlap, where a window has seen one side only, 1 past the inner quarter."""
    return ((distance - overlap / 4) / max(overlap / 2, 1e-6)).clamp(1e-6, 1)


def _age_features(stamps: Tensor) -> Tensor:
    """Age, whether the frame is new, and the gaps to the neighbouring grid frames' stamps: (B, N, 4), in grid steps."""
    steps = torch.arange(stamps.shape[1], device=stamps.device) + 0.5
    before = F.pad(stamps.diff(dim=1), (1, 0), value=1.0)
    after = F.pad(stamps.diff(dim=1), (0, 1), value=1.0)
    return torch.stack([steps - stamps, (before > 0.25).float(), before, after], dim=-1).clamp(-MAX_GAP, MAX_GAP)


def grid_lead(ages: Tensor, frame_rate: float) -> Tensor:
    """Seconds (B,) by which hits are predicted early from frames with ages (B, N) on a grid of `frame_rate` Hz.

    The network takes a frame that is new on the grid for half a step old, as all are at 30 frames per second. At 12 or
    20 every second one is new at the very moment of a grid time. The lead is half a step minus the mean age of new
    frames, to a tenth of a millisecond; 0 without new frames.
    """
    stamps = torch.arange(ages.shape[1], device=ages.device) / frame_rate - ages.float()
    new = F.pad(stamps.diff(dim=1) * frame_rate > 0.25, (1, 0))  # not the first, which was new before the grid began
    count = new.sum(1)
    half = 0.5 / frame_rate
    lead = (half - (ages * new).sum(1) / count.clamp(min=1)).clamp(-half, half)
    return ((lead / LEAD_STEP_SEC).round() * LEAD_STEP_SEC).masked_fill(count == 0, 0.0)


def delayed(values: Tensor, steps: Tensor) -> Tensor:
    """Rows of values (B, V), each later by its number of steps (B,), linear between values; the ends are held."""
    last = values.shape[1] - 1
    place = (torch.arange(last + 1, device=values.device) - steps[:, None]).clamp(0, last)
    left = place.long()
    return torch.lerp(values.gather(1, left), values.gather(1, (left + 1).clamp(max=last)), place - left)


def decode_levels(logits: Tensor) -> Tensor:
    """Linear RMS (..., values) of logits (..., values, classes): the median level, interpolated; class 0 is exactly 0.

    The median moves in one jump where it is uncertain when an impact comes, so attacks stay steep; a mean would smear
    them, and would nowhere be silent.
    """
    probabilities = logits.float().softmax(-1)
    below = probabilities.cumsum(-1)
    middle = (below >= 0.5).float().argmax(-1, keepdim=True)
    mass = probabilities.gather(-1, middle)
    excess = below.gather(-1, middle) - 0.5  # of the class's mass, the part above the median
    level = (middle + 0.5 - excess / mass.clamp(min=1e-9)).squeeze(-1)
    level = torch.where(middle.squeeze(-1) == 0, torch.zeros_like(level), level)
    return inverse_mu_law(level / (logits.shape[-1] - 1))
