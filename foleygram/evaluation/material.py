"""A classifier of the struck material in a sound; independent of the networks that condition generation."""

from collections.abc import Sequence
from dataclasses import field

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel

from foleygram.media.audio import kaldi_fbank, resample

INAUDIBLE = 1e-4
"""Sound with a peak below -80 dB of full scale is not judged."""


class MaterialJudgeConfig(PretrainedConfig):
    """The judge's materials and sizes; levels more than `range_db` below a clip's loudest band are clipped."""

    model_type = "material_judge"

    materials: Sequence[str] = ()
    sample_rate: int = 16_000
    num_mel_bins: int = 64
    widths: Sequence[int] = field(default_factory=lambda: [24, 48, 96, 128])
    range_db: float = 70.0
    dropout: float = 0.2


class MaterialJudge(PreTrainedModel):
    """Log-mel spectrogram -> four convolution blocks -> attention over time -> one score per material."""

    config_class = MaterialJudgeConfig
    main_input_name = "audio"

    def __init__(self, config: MaterialJudgeConfig) -> None:
        super().__init__(config)
        widths = [1, *config.widths]
        # Only the first two blocks thin out time: a strike's decay is a matter of tens of milliseconds.
        strides = [(2, 2 if block < 2 else 1) for block in range(len(config.widths))]
        self.blocks = nn.Sequential(*map(_block, widths[:-1], widths[1:], strides))
        rows = -(-config.num_mel_bins // 2 ** len(config.widths))
        self.frame = nn.Linear(widths[-1] * rows, widths[-1])
        self.dropout = nn.Dropout(config.dropout)
        self.attention = nn.Linear(widths[-1], 1)
        self.head = nn.Linear(2 * widths[-1], len(config.materials))
        self.post_init()

    def log_mel(self, audio: Tensor) -> Tensor:
        """Log-mel spectrogram (B, 1, mels, frames) of sound (B, samples), in [0, 1], 1 at the clip's loudest value."""
        bank = kaldi_fbank(audio * 2**15, self.config.sample_rate, self.config.num_mel_bins)
        decibels = (bank - bank.amax((-2, -1), keepdim=True)) * (10 / torch.log(torch.tensor(10.0)))
        return rearrange((1 + decibels / self.config.range_db).clamp(min=0), "b frames mels -> b 1 mels frames")

    def forward(self, audio: Tensor) -> Tensor:
        """Logits (B, materials) of mono sound (B, samples) at the judge's rate, whatever its level."""
        maps = rearrange(self.blocks(self.log_mel(audio)), "b c bands frames -> b frames (c bands)")
        frames = F.gelu(self.frame(self.dropout(maps)))  # (B, frames, C)
        weights = self.attention(frames).softmax(1)
        pooled = torch.cat([(weights * frames).sum(1), frames.amax(1)], -1)
        return self.head(self.dropout(pooled))

    @torch.inference_mode()
    def classify(self, audio: Tensor, sample_rate: int) -> list[str | None]:
        """Material of each mono sound (B, samples); None for one that is inaudible."""
        self.eval()
        sound = resample(audio.cpu(), sample_rate, self.config.sample_rate)
        answers = self(sound.to(self.device)).argmax(-1).tolist()
        peaks = audio.abs().amax(-1).tolist()
        return [self.config.materials[a] if top >= INAUDIBLE else None for a, top in zip(answers, peaks, strict=True)]


def _block(width_in: int, width_out: int, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
    )
