"""LAION-CLAP, through transformers, as fadtk windows it: FAD-LC and CLAP-scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import ClapFeatureExtractor, ClapModel, RobertaTokenizer

from foleygram.evaluation.embedders import Tail
from foleygram.evaluation.networks.mel import MelDecibels, slaney_filters
from foleygram.files import file_hash
from foleygram.weights.download import origin_of
from foleygram.weights.state_dict import without_chatter

MAX_TOKENS = 77
FULL_SCALE = 32_767


class LaionClap(nn.Module):
    """LAION-CLAP without fusion: sound and text as unit embeddings, 512 wide in the published checkpoints.

    Windows of 10 s at 48 kHz, one each second, rounded to 16 bits as in its training; a short last one is filled with
    silence, never repeated or cropped at random.
    """

    hop_sec = 1.0
    tail: Tail = "pad"

    def __init__(
        self, model: ClapModel, extractor: ClapFeatureExtractor, tokenizer: Any, identity: Mapping[str, Any]
    ) -> None:
        """Raises ValueError for a model with fusion, whose windows are cropped at random."""
        super().__init__()
        sizes: Any = model.config.audio_config
        if sizes.enable_fusion or extractor.truncation == "fusion":
            raise ValueError("a CLAP with fusion crops at random; take one without, such as clap-htsat-unfused")
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.sample_rate: int = extractor.sampling_rate
        self.window_sec = float(extractor.max_length_s)
        self.identity = {**identity, "amplitudes": "16 bit"}
        filters = slaney_filters(
            extractor.sampling_rate,
            extractor.fft_window_size,
            extractor.feature_size,
            extractor.frequency_min,
            extractor.frequency_max,
        )
        self.mel = MelDecibels(filters, torch.hann_window(extractor.fft_window_size), extractor.hop_length)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "LaionClap":
        """A folder as `foleygram weights fetch laion-clap` leaves it.

        Raises FileNotFoundError with how to get it, ValueError for one that is damaged or holds another network.
        """
        folder = Path(folder)
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise FileNotFoundError(f"{weights}: missing; get it with `foleygram weights fetch laion-clap`")
        try:
            with without_chatter():
                loaded: Any = ClapModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
                extractor = ClapFeatureExtractor.from_pretrained(folder)
                tokenizer = RobertaTokenizer.from_pretrained(folder)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
            raise ValueError(f"{folder}: not a complete LAION-CLAP ({error}); fetch it again") from error
        model, report = loaded
        fused = model.config.audio_config.enable_fusion
        if fused or extractor.truncation == "fusion":
            raise ValueError(
                f"{folder / ('config.json' if fused else 'preprocessor_config.json')}: of a CLAP with fusion, which "
                "crops long sounds at random; `foleygram weights fetch laion-clap` gets the one without"
            )
        if report["missing_keys"]:
            raise ValueError(f"{weights}: lacks {sorted(report['missing_keys'])[:5]}; fetch LAION-CLAP again")
        origin = origin_of(folder)
        identity = {
            "name": "laion-clap",
            "checkpoint": origin.get("hub_id", f"{folder.name}, of unknown origin"),
            "revision": origin.get("revision"),
            "sha256": file_hash(weights),
        }
        return cls(model, extractor, tokenizer, identity)

    @torch.inference_mode()
    def forward(self, windows: Tensor) -> Tensor:
        """Unit embeddings (N, 512) of windows (N, samples)."""
        levels = (windows.to(self.model.device).clamp(-1, 1) * FULL_SCALE).trunc() / FULL_SCALE
        features = self.model.audio_model(input_features=self.mel(levels)[:, None]).pooler_output
        return normalize(self.model.audio_projection(features), dim=-1).float().cpu()

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (N, 512) of texts, at most 77 tokens each."""
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        ids, mask = (tokens[name].to(self.model.device) for name in ("input_ids", "attention_mask"))
        features = self.model.text_model(input_ids=ids, attention_mask=mask).pooler_output
        return normalize(self.model.text_projection(features), dim=-1).float().cpu()
