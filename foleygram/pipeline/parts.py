"""The networks of a release, typed by name: on one device or offloaded between uses, and their precision."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import torch
from diffusers import AutoencoderOobleck, StableAudioDiTModel, StableAudioProjectionModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, T5EncoderModel

from foleygram.alignment.encoders import AudioEncoder, TextEncoder, VideoEncoder
from foleygram.envelope.predictor import EnvelopePredictor
from foleygram.generation.controlnet import EnvelopeControlNet
from foleygram.generation.model import MODALITIES, SemanticProjectors
from foleygram.pipeline.onednn import use_onednn

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions in which a release's networks compute."""
ALWAYS_FLOAT32 = frozenset({"envelope_predictor"})
"""Parts whose output people read and edit; they are small, so half precision would save nothing."""


def dtype_of(name: str, dtype: torch.dtype) -> torch.dtype:
    """The precision of a part in a release that computes in `dtype`."""
    return torch.float32 if name in ALWAYS_FLOAT32 else dtype


@dataclass
class Encoders:
    """The aligned encoders, frozen and in eval mode, on `device`."""

    video_encoder: VideoEncoder
    text_encoder: TextEncoder
    tokenizer: PreTrainedTokenizerBase
    audio_encoder: AudioEncoder
    device: torch.device = field(default=torch.device("cpu"), init=False)
    _resident: frozenset[str] | None = field(default=None, init=False)
    """Networks on the device under offloading; None: offloading is off."""

    def __post_init__(self) -> None:
        for network in self.networks().values():
            network.requires_grad_(False).eval()
            use_onednn(network)

    def present(self) -> dict[str, Any]:
        """Networks and tokenizers by name, in the order of a release's index; without absent ones."""
        named = {part.name: getattr(self, part.name) for part in fields(self) if part.init}
        return {name: part for name, part in named.items() if part is not None}

    def networks(self) -> dict[str, nn.Module]:
        """The networks by name."""
        return {name: part for name, part in self.present().items() if isinstance(part, nn.Module)}

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        """Move every network to `device`; with `dtype`, all but `ALWAYS_FLOAT32` compute in it from now on.

        Where a network cannot be moved, all go back to where they were before the error is raised.
        """
        networks, cpu = self.networks(), torch.device("cpu")
        before = {name: self.device if self._resident is None or name in self._resident else cpu for name in networks}
        try:
            for name, network in networks.items():
                if dtype is not None:
                    nn.Module.to(network, dtype_of(name, dtype))  # diffusers' own warns of modules to keep in float32
                network.to(torch.device(device))
        except Exception:
            for name, network in networks.items():
                network.to(before[name])
            raise
        self.device, self._resident = torch.device(device), None
        return self

    def enable_model_cpu_offload(self, device: str | torch.device = "cuda") -> Self:
        """Keep networks on the CPU and each on `device` for its own step only: slower, and the largest must fit."""
        self.to("cpu")
        self.device, self._resident = torch.device(device), frozenset()
        return self

    def bring(self, *names: str) -> None:
        """Under offloading, have exactly the networks `names` on the device; otherwise nothing is moved."""
        needed = frozenset(names)
        if self._resident is None or needed == self._resident:
            return
        for name, network in self.networks().items():  # out before in: never both at once
            if name not in needed:
                network.to("cpu")
        for name, network in self.networks().items():
            if name in needed:
                network.to(self.device)
        self._resident = needed

    @torch.inference_mode()
    def embed(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Unit embeddings (B, D) of `frames`, `caption` and `envelope_audio`; zeros for a missing one."""
        embedded: dict[str, Tensor] = {}
        if "frames" in batch:
            self.bring("video_encoder")
            embedded["video"] = self.video_encoder(batch["frames"].to(self.device))
        if "caption" in batch:
            self.bring("text_encoder")
            embedded["text"] = self.text_encoder.embed_texts(self.tokenizer, batch["caption"])
        if "envelope_audio" in batch:
            self.bring("audio_encoder")
            embedded["audio"] = self.audio_encoder.embed_waveform(batch["envelope_audio"].to(self.device))
        like = next(iter(embedded.values()))
        return {modality: embedded.get(modality, torch.zeros_like(like)) for modality in MODALITIES}


@dataclass
class Parts(Encoders):
    """Every part of a release that generates; the prompt parts are None where its backbone has none."""

    projectors: SemanticProjectors
    controlnet: EnvelopeControlNet
    envelope_predictor: EnvelopePredictor
    vae: AutoencoderOobleck
    transformer: StableAudioDiTModel
    projection_model: StableAudioProjectionModel
    prompt_encoder: T5EncoderModel | None = None
    prompt_tokenizer: PreTrainedTokenizerBase | None = None
