"""Predicts the RMS envelope from the motion in a video (paper notes, section 4)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel

from foleygram.envelope.rms import inverse_mu_law

AGE_FEATURES, PHASE_FEATURES = 4, 6
MAX_GAP = 8.0
"""Gaps between frames count up to this many grid steps; a still picture says no more than that."""


class EnvelopePredictorConfig(PretrainedConfig):
    """Rates in Hz and sizes of the networks; `map_widths` are channels at 1/2, 1/4 and 1/8 of `motion_size`."""

    model_type = "envelope_predictor"

    def __init__(
        self,
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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.motion_size, self.motion_frame_rate, self.envelope_rate = motion_size, motion_frame_rate, envelope_rate
        self.num_classes, self.map_widths, self.num_blocks = num_classes, list(map_widths), num_blocks
        self.num_keypoints, self.value_width = num_keypoints, value_width
        self.hidden_size, self.lstm_size, self.head_width = hidden_size, lstm_size, head_width
        self.dropout = dropout


class Shots(NamedTuple):
    """The distinct frames of a batch in one row, and where on the time grid each is on screen."""

    frames: Tensor
    """(S, 3, M, M) in [0, 1]."""
    previous: Tensor
    """(S,) index of the frame before, in the same clip; the frame itself where there is none."""
    following: Tensor
    """(S,) index of the frame after, likewise."""
    clip: Tensor
    """(S,) clip of each frame."""
    shown: Tensor
    """(B, N) which frame is on screen at each time of the grid."""
    stamps: Tensor
    """(B, N) its time stamp, in grid steps."""


def distinct_shots(motion: Tensor, ages: Tensor, frame_rate: float) -> Shots:
    """Find the distinct frames of motion (B, N, 3, M, M), uint8 or in [0, 1], by their ages (B, N) in seconds.

    A video of 15 to 30 frames per second repeats frames on the grid; each is looked at once, and its neighbours are the
    frames before and after it in the video, at any rate.
    """
    count = motion.shape[1]
    stamps = torch.arange(count, device=ages.device) + 0.5 - ages.float() * frame_rate
    is_new = torch.ones(stamps.shape, dtype=torch.bool, device=ages.device)
    is_new[:, 1:] = stamps.diff(dim=1) > 0.25
    shown = is_new.flatten().long().cumsum(0).reshape(stamps.shape) - 1
    clip = torch.nonzero(is_new)[:, 0]
    index = torch.arange(len(clip), device=ages.device)
    starts, ends = is_new.new_ones(len(clip)), is_new.new_ones(len(clip))
    starts[1:] = ends[:-1] = clip.diff() > 0
    frames = motion[is_new]
    frames = frames.float() / 255 if frames.dtype == torch.uint8 else frames.float()
    return Shots(frames, index - (~starts).long(), index + (~ends).long(), clip, shown, stamps)


class _Block(nn.Module):
    """A residual convolution that sees one third of its channels a frame earlier and one third a frame later."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.share = width // 3
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, maps: Tensor, shots: Shots) -> Tensor:
        before, after, now = maps.split([self.share, self.share, maps.shape[1] - 2 * self.share], dim=1)
        moved = torch.cat([before[shots.previous], after[shots.following], now], dim=1)
        return F.relu(maps + self.norm(self.conv(moved)))


class ShotEncoder(nn.Module):
    """Distinct frames to one vector each: what moves and where, by maps that exchange channels with their neighbours."""

    def __init__(self, config: EnvelopePredictorConfig) -> None:
        super().__init__()
        half, quarter, eighth = config.map_widths
        self.stem = nn.Sequential(
            nn.Conv2d(6, half, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, quarter, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(quarter),
            nn.ReLU(),
        )
        self.blocks = nn.ModuleList([_Block(quarter) for _ in range(config.num_blocks)])
        self.heatmaps = nn.Conv2d(quarter, config.num_keypoints, 1)
        self.values = nn.Conv2d(quarter, config.value_width, 1)
        self.deep = nn.Sequential(
            nn.Conv2d(quarter, eighth, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(eighth), nn.ReLU()
        )
        self.deep_block = _Block(eighth)
        self.num_features = config.num_keypoints * (4 + config.value_width) + 2 * eighth

    def forward(self, shots: Shots) -> Tensor:
        maps = self.stem(_inputs(shots))
        for block in self.blocks:
            maps = block(maps, shots)
        deep = self.deep_block(self.deep(maps), shots)
        pooled = torch.cat([deep.mean((2, 3)), deep.amax((2, 3))], dim=1)
        return torch.cat([_keypoints(self.heatmaps(maps), self.values(maps)), pooled], dim=1)


def _inputs(shots: Shots) -> Tensor:
    """Colour, signed change since the last and until the next frame, and difference from the clip's mean: (S, 6, M, M)."""
    frames = shots.frames
    light = frames.mean(1)
    sums = light.new_zeros(len(shots.shown), *light.shape[1:]).index_add_(0, shots.clip, light)
    mean = sums / torch.bincount(shots.clip, minlength=len(sums))[:, None, None]
    changes = [light - light[shots.previous], light[shots.following] - light, light - mean[shots.clip]]
    # Channels last in memory: convolutions on a CPU take half the time.
    return torch.stack([*(frames - 0.5).unbind(1), *(4 * change for change in changes)], dim=-1).permute(0, 3, 1, 2)


def _keypoints(logits: Tensor, values: Tensor) -> Tensor:
    """Soft-argmax position, spread and strength of each heatmap (S, K, H, W), and the values under it: (S, K * (4 + V))."""
    height, width = logits.shape[2:]
    weights = logits.flatten(2).float().softmax(-1).to(logits.dtype)
    y = torch.linspace(-1, 1, height, device=logits.device, dtype=logits.dtype)
    x = torch.linspace(-1, 1, width, device=logits.device, dtype=logits.dtype)
    places = torch.stack([y[:, None].expand(height, width), x.expand(height, width)]).flatten(1)  # (2, H * W)
    places = torch.cat([places, (places**2).sum(0, keepdim=True)])
    found = weights @ places.T  # (S, K, 3)
    spread = found[..., 2:] - (found[..., :2] ** 2).sum(-1, keepdim=True)
    strength = 0.1 * logits.flatten(2).amax(-1, keepdim=True)
    under = weights @ values.flatten(2).transpose(1, 2)  # (S, K, V)
    return torch.cat([2 * found[..., :2], 4 * spread, strength, under], dim=-1).flatten(1)


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
        self.shots = ShotEncoder(config)
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
    ) -> "EnvelopePredictor":
        """A predictor with random weights, from typed arguments; `EnvelopePredictorConfig` explains them."""
        return cls(
            EnvelopePredictorConfig(
                motion_size=motion_size, motion_frame_rate=motion_frame_rate, envelope_rate=envelope_rate,
                num_classes=num_classes, map_widths=map_widths, num_blocks=num_blocks, num_keypoints=num_keypoints,
                value_width=value_width, hidden_size=hidden_size, lstm_size=lstm_size, head_width=head_width,
                dropout=dropout,
            )  # fmt: skip
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
        if motion.dim() != 5 or motion.shape[2:] != (3, size, size) or ages.shape != motion.shape[:2] or not ages.shape[1]:
            raise ValueError(
                f"motion of shape {tuple(motion.shape)} with ages {tuple(ages.shape)}: give (B, N, 3, {size}, {size}) and (B, N)"
            )
        shots = distinct_shots(motion, ages, self.config.motion_frame_rate)
        vectors = self.shots(shots)[shots.shown]  # (B, N, features)
        hidden = self.frame(torch.cat([vectors, _age_features(shots.stamps)], dim=-1))
        hidden = self.trunk(F.gelu(self.frame_norm(hidden)))
        hidden = hidden + self.join(self.lstm(hidden)[0])
        return self.classes(self.fine(self._at_envelope_rate(hidden, shots.stamps)))

    def _at_envelope_rate(self, hidden: Tensor, stamps: Tensor) -> Tensor:
        """Mix the frames (B, N, hidden) left and right of every value by where it lies between them: (B, values, head)."""
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
        return decode_levels(self(motion, ages))

    @torch.inference_mode()
    def predict_long(
        self, motion: Tensor, ages: Tensor, *, window_sec: float = 8.0, overlap_sec: float = 2.0
    ) -> Tensor:
        """`predict` for any length: windows of `window_sec` that fade into each other over the middle of their overlap.

        Equal to `predict` where one window holds everything; memory does not grow with the length beyond the result.
        Raises ValueError when the overlap is not shorter than the window.
        """
        rate, total = self.config.motion_frame_rate, motion.shape[1]
        window, overlap = round(window_sec * rate), round(overlap_sec * rate)
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
    """0 in the outer quarter of the overlap, where a window has seen only one side, 1 past the inner one; never all 0."""
    return ((distance - overlap / 4) / max(overlap / 2, 1e-6)).clamp(1e-6, 1)


def _age_features(stamps: Tensor) -> Tensor:
    """Age, whether the frame is new, and the gaps to the neighbouring grid frames' stamps: (B, N, 4), in grid steps."""
    steps = torch.arange(stamps.shape[1], device=stamps.device) + 0.5
    before = F.pad(stamps.diff(dim=1), (1, 0), value=1.0)
    after = F.pad(stamps.diff(dim=1), (0, 1), value=1.0)
    return torch.stack([steps - stamps, (before > 0.25).float(), before, after], dim=-1).clamp(-MAX_GAP, MAX_GAP)


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
