"""Features for stage 2, computed from a clip's media by frozen networks: for a cache, or while training."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foleygram.envelope.rms import augment_envelope, rms_envelope
from foleygram.files import file_hash
from foleygram.generation.autoencoder import control_latents, encode_audio
from foleygram.generation.backbone import freeze
from foleygram.media.audio import fit_length
from foleygram.pipeline.parts import DTYPES, dtype_of
from foleygram.pipeline.release import load_part
from foleygram.spec import ClipSpec, as_spec

EMBEDDERS = ["video_encoder", "text_encoder", "tokenizer", "audio_encoder"]
NEEDS = {
    "audio": ["audio"],
    "envelope_audio": ["envelope_audio"],
    "frames": ["frames"],
    "motion": ["motion"],
    "latents": ["audio"],
    "control_latents": ["envelope_audio", "motion"],
    "embeddings": ["frames", "envelope_audio"],
}
"""Fields of a cache, and the media that each is made from."""
NETWORKS = {"latents": ["vae"], "control_latents": ["vae"], "embeddings": EMBEDDERS}
"""Fields that frozen networks compute, and the parts of a release that do it."""


class FeatureEncoder:
    """Turns a batch of clips into what stage 2 trains on, with the frozen parts of a folder, on the batch's device.

    `fields` are names of `NEEDS`; the autoencoder comes from `backbone` where a folder of trained parts has none. The
    augmented envelopes of a clip depend on `seed` and the clip alone, so caches equal training from media.
    `dtype` is a name of `DTYPES`, in which all networks but the envelope predictor compute.
    """

    def __init__(
        self,
        folder: str | Path,
        spec: str | ClipSpec,
        fields: Sequence[str],
        *,
        backbone: str | Path | None = None,
        num_envelopes: int = 3,
        compile: bool = False,
        dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        names = {part for field in fields for part in NETWORKS.get(field, [])}
        if "control_latents" in fields and (Path(folder) / "envelope_predictor").is_dir():
            names.add("envelope_predictor")
        folders = {name: Path(backbone if backbone and name == "vae" else folder) for name in sorted(names)}
        self.parts = {name: load_part(source, name, dtype_of(name, DTYPES[dtype])) for name, source in folders.items()}
        self.networks = torch.nn.ModuleList(p for p in self.parts.values() if isinstance(p, torch.nn.Module))
        freeze(*self.networks)
        if compile and "vae" in self.parts:
            self.parts["vae"].encoder.compile()
        self.spec, self.fields, self.num_envelopes, self.seed = as_spec(spec), tuple(fields), num_envelopes, seed
        self.identity = {
            str(path.relative_to(source)): file_hash(path)
            for name, source in folders.items()
            for path in sorted((source / name).glob("*"))
            if path.suffix == ".safetensors" or path.name in ("config.json", "tokenizer.json")
        }

    @torch.no_grad()
    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The fields of a collated batch of B clips, its strings, and its start times (B,), in seconds.

        `latents_mean` and `latents_scale` (B, C, T), `control_latents` (B, V, C, T) of V envelopes, `video_embedding`,
        `text_embedding` and `audio_embedding` (B, D); media as `read_clip` gives them, stacked.
        """
        self.networks.to(next(value for value in batch.values() if isinstance(value, Tensor)).device)
        always = {*self.fields, "start", "seconds_start", "seconds_total"}
        encoded = {name: value for name, value in batch.items() if not isinstance(value, Tensor) or name in always}
        if "motion" in self.fields:
            encoded["motion_ages"] = batch["motion_ages"]
        if "latents" in self.fields:
            audio = fit_length(batch["audio"], self.spec.num_padded_samples)
            encoded["latents_mean"], encoded["latents_scale"] = encode_audio(
                self.parts["vae"], audio.to(self.parts["vae"].dtype)
            )
        if "control_latents" in self.fields:
            encoded["control_latents"] = self._control(batch)
        if "embeddings" in self.fields:
            encoded |= self._embeddings(batch)
        return encoded

    def _control(self, batch: dict[str, Any]) -> Tensor:
        """Control latents (B, V, C, T) of the clips' envelopes."""
        vae, num_samples = self.parts["vae"], self.spec.num_samples
        return torch.stack([control_latents(vae, v, num_samples) for v in self.envelopes(batch)], dim=1)

    def envelopes(self, batch: dict[str, Any]) -> list[Tensor]:
        """Envelopes (B, values): the true one, the predicted one if there is a predictor, augmented ones."""
        spec = self.spec
        true = rms_envelope(batch["envelope_audio"], spec.frame_length, spec.hop_length)
        variants = [true]
        if "envelope_predictor" in self.parts:
            variants.append(self.parts["envelope_predictor"].predict(batch["motion"], batch["motion_ages"]))
        for number in range(self.num_envelopes - len(variants)):
            variants.append(self._augmented(true, batch, number))
        return variants

    def _augmented(self, envelope: Tensor, batch: dict[str, Any], number: int) -> Tensor:
        """Each clip's envelope changed by draws of its own, whichever clips it shares a batch with."""
        rows = []
        for row, (video, start) in enumerate(zip(batch["video_id"], batch["start"].tolist(), strict=True)):
            seed = self.seed + 7919 * number + zlib.crc32(f"{video}{start}".encode())
            generator = torch.Generator().manual_seed(seed)
            rows.append(augment_envelope(envelope[row : row + 1].cpu(), generator, rate=self.spec.envelope_rate))
        return torch.cat(rows).to(envelope)

    def _embeddings(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        return {
            "video_embedding": self.parts["video_encoder"](batch["frames"]),
            "text_embedding": self.parts["text_encoder"].embed_texts(self.parts["tokenizer"], batch["caption"]),
            "audio_embedding": self.parts["audio_encoder"].embed_waveform(batch["envelope_audio"]),
        }
