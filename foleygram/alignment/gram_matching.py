"""Data-anchor matching as GRAM's release has it: the text network's cross-attention, contexts and match head."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from foleygram.alignment.encoders import EncoderConfig, TextEncoder
from foleygram.alignment.matching import ContextProjector, DataAnchorMatching
from foleygram.alignment.pretrained import read_gram_state, sizes_of, text_sizes
from foleygram.weights.state_dict import load_state, sub_state


def text_encoder_from_gram(folder: str, num_attention_heads: int = 12) -> TextEncoder:
    """The aligned text encoder of GRAM's released folder with its cross-attention, as matching needs it; for YAML.

    Raises FileNotFoundError for an absent file, ValueError naming the file and keys that do not fit.
    """
    state, path = read_gram_state(Path(folder))
    text = sub_state("multimodal_encoder.bert.", state)
    with sizes_of(path, "no text encoder can be built from it"):
        sizes = text_sizes(text, num_attention_heads) | {"is_decoder": True, "add_cross_attention": True}
        width = _width(text, "encoder.layer.0.crossattention.self.key.weight")
        if width != sizes["hidden_size"]:
            raise ValueError(f"its cross-attention reads {width} values, not {sizes['hidden_size']}")
        encoder = TextEncoder(EncoderConfig(network=sizes, embedding_dim=len(state["contra_head_t.linear.weight"])))
    weights = {f"network.{key}": value for key, value in text.items()}
    load_state(encoder, weights | {"head.weight": state["contra_head_t.linear.weight"]}, str(path))
    return encoder.eval()


def matching_from_gram(folder: str, weight: float = 0.1) -> DataAnchorMatching:
    """Contexts and match head of GRAM's released folder; sizes are read off the weights; for YAML.

    Raises FileNotFoundError for an absent file, ValueError naming the file and keys that do not fit.
    """
    state, path = read_gram_state(Path(folder))
    renamed = {f"head.{key}": value for key, value in sub_state("itm_head.", state).items()}
    with sizes_of(path, "it holds no data-anchor matching"):
        frames = {}
        for ours, theirs in (("video", "vision"), ("audio", "audio")):
            for layer, name in (("0", "linear"), ("1", "norm")):
                layer_state = sub_state(f"hidden_trans_{theirs}_multimodal.{layer}.", state)
                renamed |= {f"{ours}_context.{name}.{key}": value for key, value in layer_state.items()}
            renamed[f"{ours}_context.frame_embedding"] = state[f"{theirs}_frame_embedding"]
            renamed[f"{ours}_context.type_embedding"] = state[f"{theirs}_type_embeddings"]
            frames[ours] = state[f"{theirs}_frame_embedding"].shape[1]
        video, audio = (_width(renamed, f"{name}_context.linear.weight") for name in ("video", "audio"))
        text = len(renamed["head.linear1.weight"])
        matching = DataAnchorMatching(video, audio, text, frames["video"], weight)
        matching.audio_context = ContextProjector(audio, text, frames["audio"])
    load_state(matching, renamed, str(path))
    return matching


def _width(state: Mapping[str, Tensor], key: str) -> int:
    """Input width of the layer `key`."""
    return int(state[key].shape[1])
