"""The frozen parts of a Stable Audio backbone: autoencoder, DiT, durations, prompt encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderOobleck, StableAudioDiTModel, StableAudioProjectionModel
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5EncoderModel

from foleygram.alignment.encoders import TextEncoder
from foleygram.files import shipped
from foleygram.generation.native_folders import CONFIG, load_native
from foleygram.generation.oobleck import AUTOENCODERS
from foleygram.weights.hub import explained, load_network
from foleygram.weights.location import cache_only_if_offline, hub_id


def freeze(*parts: nn.Module | None) -> None:
    """Freeze parts for good: no gradients, and eval mode that a later `train()` does not undo."""
    for part in parts:
        if part is not None:
            part.requires_grad_(False).eval()
            part.train = lambda mode=True, part=part: part  # type: ignore[method-assign, misc]


class PromptTokens(NamedTuple):
    """A tokenised batch of prompts: ids and mask, both (B, N)."""

    input_ids: Tensor
    attention_mask: Tensor


def tokenize_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], max_length: int) -> PromptTokens:
    """Prompts as ids (B, max_length), padded and cut to one length so that a prompt's result ignores its batch."""
    encoded = tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=max_length, return_tensors="pt"
    )
    return PromptTokens(encoded["input_ids"], encoded["attention_mask"])


def encode_prompts(
    prompt_encoder: T5EncoderModel, projection_model: StableAudioProjectionModel, prompts: PromptTokens
) -> Tensor:
    """Cross-attention tokens (B, N, conditioning_dim) of tokenised prompts, zero where padded (Stable Audio Open)."""
    hidden = prompt_encoder(prompts.input_ids, attention_mask=prompts.attention_mask).last_hidden_state
    projected = projection_model(text_hidden_states=hidden).text_hidden_states
    return projected * prompts.attention_mask[..., None].to(projected)


class Backbone:
    """The frozen parts of a backbone folder in diffusers' layout; prompt parts are None where a folder has none.

    A plain class, because LightningCLI builds classes by `class_path` but takes tuples and dataclasses for values.
    """

    def __init__(
        self,
        transformer: StableAudioDiTModel,
        vae: AutoencoderOobleck,
        projection_model: StableAudioProjectionModel,
        prompt_encoder: T5EncoderModel | None = None,
        prompt_tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        self.transformer, self.vae, self.projection_model = transformer, vae, projection_model
        self.prompt_encoder, self.prompt_tokenizer = prompt_encoder, prompt_tokenizer
        freeze(transformer, vae, projection_model, prompt_encoder)


def load_backbone(pretrained_model_name_or_path: str, torch_dtype: torch.dtype = torch.float32) -> Backbone:
    """A frozen backbone from a diffusers, native or release folder, or a hub id such as Stable Audio Open's.

    A release keeps the backbone's own text encoder under `prompt_encoder`, diffusers under `text_encoder`, where a
    release has the aligned one. Raises FileNotFoundError for an absent folder, part or hub id, PermissionError for a
    gated one, ConnectionError without a network, ValueError for weights that are damaged or do not fit.
    """
    identifier = hub_id(pretrained_model_name_or_path)
    name = pretrained_model_name_or_path if identifier else str(shipped(pretrained_model_name_or_path))
    root = Path(name)
    if (root / CONFIG).is_file():
        parts = load_native(root)
        return Backbone(**{name: part.to(torch_dtype) for name, part in parts.items()})  # type: ignore[arg-type]
    prompts = ("text_encoder", "tokenizer") if identifier else prompt_folders(root)
    if not identifier:
        _check_folder(root)

    def network(kind: type[Any] | tuple[type[Any], ...], subfolder: str) -> Any:
        return load_network(kind, name, subfolder=subfolder, torch_dtype=torch_dtype)

    return Backbone(
        transformer=network(StableAudioDiTModel, "transformer"),
        vae=network(AUTOENCODERS, "vae"),
        projection_model=network(StableAudioProjectionModel, "projection_model"),
        prompt_encoder=network(T5EncoderModel, prompts[0]) if prompts else None,
        prompt_tokenizer=_prompt_tokenizer(identifier or name, prompts[1], identifier is not None) if prompts else None,
    )


def load_autoencoder(pretrained_model_name_or_path: str) -> AutoencoderOobleck:
    """The autoencoder in a folder, in float32, for LightningCLI to train on; raises as `load_backbone`."""
    return load_network(AUTOENCODERS, pretrained_model_name_or_path, torch_dtype=torch.float32)


def prompt_folders(root: Path) -> tuple[str, str] | None:
    """The subfolders of a backbone folder's own text encoder and tokenizer; None if it has none.

    A release has the aligned text encoder under the name that diffusers gives to the T5.
    """
    if (root / "prompt_encoder").is_dir():
        return "prompt_encoder", "prompt_tokenizer"
    config = root / "text_encoder" / "config.json"
    aligned = config.is_file() and TextEncoder.__name__ in config.read_text(encoding="utf-8")
    return ("text_encoder", "tokenizer") if config.parent.is_dir() and not aligned else None


def _prompt_tokenizer(name: str, subfolder: str, on_hub: bool) -> PreTrainedTokenizerBase:
    with explained(f"{name}/{subfolder}", name):
        reach = cache_only_if_offline() if on_hub else {}
        return AutoTokenizer.from_pretrained(name, subfolder=subfolder, **reach)


def _check_folder(root: Path) -> None:
    for part in ("transformer", "vae", "projection_model"):
        if not (root / part / "config.json").is_file():
            raise FileNotFoundError(f"{root / part}: no config.json; is {root} a backbone in diffusers' layout?")
