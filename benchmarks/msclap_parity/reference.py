"""The other side of msclap_parity: random weights for the package `msclap`, and what it makes of sound and text.

Imports nothing of this project; benchmarks/msclap_parity/__main__.py runs it, in an environment of its own. Reads
`audio` of `in.safetensors` in a folder, and writes there `CLAP_weights_2023.pth`, the folder `gpt2` with a tokenizer of
single bytes, and `out.safetensors`.
"""

import argparse
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2Config, GPT2Model
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

for name in ("torchaudio", "torchaudio.transforms"):  # the package reads files with it, and no file is read here
    sys.modules[name] = ModuleType(name)

import msclap.CLAPWrapper as package  # noqa: E402
from msclap.models import config as htsat_config  # noqa: E402
from msclap.models.clap import CLAP, Projection  # noqa: E402
from msclap.models.htsat import HTSAT_Swin_Transformer  # noqa: E402

SIZES: dict[str, dict[str, Any]] = {
    "full": {"htsat": {}, "text": {"n_layer": 12, "n_head": 12, "n_embd": 768}, "width": 1024},
    "tiny": {
        "htsat": {"embed_dim": 4, "depths": [2, 1, 1, 1], "num_heads": [1, 2, 2, 4]},
        "text": {"n_layer": 1, "n_head": 1, "n_embd": 64, "n_positions": 128}, "width": 12,
    },
}  # fmt: skip
"""`full` is the published one, on a vocabulary of bytes."""


def write_gpt2(folder: Path, text_size: dict[str, Any]) -> None:
    """A random GPT-2 whose tokens are bytes, as both sides load it."""
    folder.mkdir(parents=True)
    characters = [*bytes_to_unicode().values(), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({character: i for i, character in enumerate(characters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    GPT2Model(GPT2Config(vocab_size=len(characters), **text_size)).save_pretrained(folder)


def build(folder: Path, size: dict[str, Any]) -> Any:
    """The package's wrapper around its network, random weights in it; where they are saved, too."""
    sizes = yaml.safe_load(Path(package.__file__).with_name("configs").joinpath("config_2023.yml").read_text())
    write_gpt2(folder / "gpt2", size["text"])
    clap = CLAP(
        audioenc_name=sizes["audioenc_name"], sample_rate=sizes["sampling_rate"], window_size=sizes["window_size"],
        hop_size=sizes["hop_size"], mel_bins=sizes["mel_bins"], fmin=sizes["fmin"], fmax=sizes["fmax"],
        classes_num=sizes["num_classes"], out_emb=sizes["out_emb"], text_model=str(folder / "gpt2"),
        transformer_embed_dim=size["text"]["n_embd"], d_proj=size["width"],
    )  # fmt: skip
    htsat = HTSAT_Swin_Transformer(config=htsat_config, **size["htsat"])
    clap.audio_encoder.base.htsat = htsat
    clap.audio_encoder.projection = Projection(htsat.num_features, size["width"])
    with torch.no_grad():
        for parameter in clap.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
        htsat.bn0.running_mean.normal_(-20, 5)
        htsat.bn0.running_var.uniform_(100, 300)
    torch.save({"model": clap.state_dict()}, folder / "CLAP_weights_2023.pth")
    wrapper: Any = package.CLAPWrapper.__new__(package.CLAPWrapper)
    wrapper.clap, wrapper.use_cuda = clap.eval(), False
    wrapper.args = argparse.Namespace(**sizes)
    wrapper.token_keys = ["input_ids", "attention_mask"]
    wrapper.tokenizer = AutoTokenizer.from_pretrained(folder / "gpt2")
    wrapper.tokenizer.add_special_tokens({"pad_token": "!"})
    return wrapper


def main() -> None:
    """Make the weights, embed, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("texts", help="JSON list of texts")
    parser.add_argument("--size", choices=SIZES, default="full")
    args = parser.parse_args()
    torch.manual_seed(0)
    wrapper = build(args.folder, SIZES[args.size])
    windows = load_file(args.folder / "in.safetensors")["audio"]
    found = {
        "audio": wrapper._get_audio_embeddings(windows[:, None]),
        "text": wrapper.get_text_embeddings(json.loads(args.texts)),
    }
    save_file({key: value.contiguous() for key, value in found.items()}, args.folder / "out.safetensors")


if __name__ == "__main__":
    main()
