"""Tiny data and tiny sizes for the shipped YAMLs, so that tests run `train.py fit` itself."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset
from typer.testing import CliRunner

from foleygram.alignment.encoders import EncoderConfig, TextEncoder
from foleygram.cli import app
from foleygram.datasets.captions import caption
from foleygram.datasets.clip import Event
from foleygram.features.writer import write_cache

CONFIGS = Path(__file__).parents[2] / "configs"
MATERIALS = ("wood", "metal", "water", "cloth")
NUM_CLIPS = 13
"""Not a multiple of any batch, so that passes end unevenly."""
SIZES = {
    "frames": (2, 3, 16, 16), "motion": (15, 3, 16, 16), "motion_ages": (15,), "envelope_audio": (8000,),
    "latents_mean": (4, 12), "latents_scale": (4, 12), "control_latents": (3, 4, 12),
    "video_embedding": (8,), "text_embedding": (8,), "audio_embedding": (8,),
}  # fmt: skip
ENCODER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
BEATS = {
    "num_fbank_frames": 48, "embed_dim": 8, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 32, "encoder_layers": 1,
    "encoder_attention_heads": 2, "conv_pos": 8, "conv_pos_groups": 2,
}  # fmt: skip
PREDICTOR = {
    "motion_size": 16, "map_widths": [4, 4, 4], "num_blocks": 1, "num_keypoints": 2, "hidden_size": 8, "lstm_size": 4,
    "head_width": 8, "window_sec": 0.5,
}  # fmt: skip


class RandomClips(Dataset):
    """Clips of noise with every field that a stage reads."""

    def __len__(self) -> int:
        return NUM_CLIPS

    def __getitem__(self, index: int) -> dict[str, Any]:
        draws = torch.Generator().manual_seed(index)
        clip: dict[str, Any] = {name: torch.randn(size, generator=draws) for name, size in SIZES.items()}
        for name in ("frames", "motion"):
            clip[name] = torch.randint(256, SIZES[name], generator=draws, dtype=torch.uint8)
        clip |= {"latents_scale": torch.full((4, 12), 0.05), "motion_ages": torch.zeros(15)}
        clip |= {"seconds_start": 0.0, "seconds_total": 2.0, "materials": MATERIALS[index % 4]}
        return clip | {"caption": caption([Event(0.1, MATERIALS[index % 4], "hit")])}


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_cache(RandomClips(), folder, identity={}, shard_size=6, progress=False)
    return folder


@pytest.fixture(scope="session")
def damaged_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clips, one of the third batch of the first pass (batches of 4, seed 0) no numbers any more."""
    folder = tmp_path_factory.mktemp("damaged")
    write_cache(RandomClips(), folder, identity={}, shard_size=NUM_CLIPS, progress=False)
    (shard,) = folder.glob("*.safetensors")
    with safe_open(shard, "pt") as file:
        mark = file.metadata()
    tensors = load_file(shard)
    order = torch.randperm(NUM_CLIPS, generator=torch.Generator().manual_seed(0)).tolist()
    tensors["latents_mean"][order[9]] = torch.nan
    save_file(tensors, shard, metadata=mark)
    return folder


@pytest.fixture(scope="session")
def tiny_stages(clips: Path, tiny_release: Path) -> dict[str, dict[str, Any]]:
    """What turns each shipped YAML of the miniature into a training that takes seconds."""
    alignment = {
        "video_encoder.init_args": ENCODER | {"embedding_dim": 8, "image_size": 16, "patch_size": 8},
        "text_encoder.init_args": ENCODER | {"embedding_dim": 8, "vocab_size": 80},
        "audio_encoder.init_args": BEATS | {"embedding_dim": 8},
        "tokenizer.init_args": {"cache": str(clips), "vocab_size": 80},
        "objective.class_path": "foleygram.alignment.losses.GramLoss",
        "total_steps": 100,
    }
    generation = {
        "backbone.init_args": {"pretrained_model_name_or_path": str(tiny_release)},
        "projectors.init_args": {"embedding_dim": 8, "cross_attention_input_dim": 8},
        "total_steps": 100, "warmup_steps": 2,
    }  # fmt: skip
    envelope = {"predictor.init_args": PREDICTOR, "total_steps": 100, "warmup_steps": 2}
    return {"alignment_start": alignment, "generation": generation, "envelope": envelope}


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Alignment without the draws that belong to a process: no augmentation, no dropout."""
    folder = tmp_path_factory.mktemp("text")
    torch.manual_seed(0)
    network = {
        "vocab_size": 80, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    TextEncoder(EncoderConfig(network=network, embedding_dim=8)).save_pretrained(folder)
    return {
        "model.init_args.augment": False,
        "model.init_args.frames_per_step": None,
        "model.init_args.text_encoder": {
            "class_path": "foleygram.alignment.encoders.TextEncoder.from_pretrained",
            "init_args": {"pretrained_model_name_or_path": str(folder)},
        },
    }


@dataclass
class Run:
    """What a training left."""

    exit_code: int
    output: str
    folder: Path

    @property
    def checkpoint(self) -> dict[str, Any]:
        return torch.load(self.folder / "last.ckpt", weights_only=True)


def nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """{"a.b": 1, "a.c": {}} as {"a": {"b": 1, "c": {}}}."""
    tree: dict[str, Any] = {}
    for path, value in dotted.items():
        *parents, last = path.split(".")
        place = tree
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = deepcopy(value)  # what is set below it later is no change of the caller's
    return tree


@pytest.fixture
def arguments(clips: Path, tiny_stages: dict[str, dict[str, Any]]) -> Callable[..., list[str]]:
    """What to type after `train.py` for a stage of the miniature at tiny sizes, everything kept below `folder`.

    A checkpoint every second step ("checkpoint_every"); "callbacks" among the changes come besides.
    """

    def typed(stage: str, folder: Path, steps: int, changes: dict[str, Any] | None = None, *more: object) -> list[str]:
        changes = dict(changes or {})
        every = changes.pop("checkpoint_every", 2)
        checkpoints = {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {"dirpath": str(folder), "save_last": True, "save_top_k": 0, "every_n_train_steps": every},
        }
        model = {f"model.init_args.{name}": value for name, value in tiny_stages[stage].items()}
        of_noise = {"folder": str(clips), "spec": None, "encoders": None}
        data = {
            f"data.init_args.{part}.init_args.{name}": value
            for part in ("train", "val")
            for name, value in of_noise.items()
        }
        tiny = model | data | {
            "model.init_args.out": str(folder / "release"), "data.init_args.batch_size": 4,
            "trainer.accelerator": "cpu", "trainer.devices": 1, "trainer.precision": "32-true",
            "trainer.max_steps": steps, "trainer.val_check_interval": 3, "trainer.log_every_n_steps": 1,
            "trainer.default_root_dir": str(folder), "trainer.enable_progress_bar": False,
            "trainer.logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(folder), "name": "log"},
            },
            "trainer.callbacks": [checkpoints, *changes.pop("callbacks", [])],
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        written = folder / "tiny.yaml"
        written.write_text(yaml.safe_dump(nested(tiny | changes)))
        return ["fit", "--config", str(CONFIGS / "mini" / f"{stage}.yaml"), "--config", str(written), *map(str, more)]

    return typed


@pytest.fixture
def fit(arguments: Callable[..., list[str]]) -> Callable[..., Run]:
    """`train.py fit` in this process, on one thread; see `arguments`."""

    def run(stage: str, folder: Path, steps: int, changes: dict[str, Any] | None = None, *more: object) -> Run:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            result = CliRunner().invoke(app, ["train", *arguments(stage, folder, steps, changes, *more)])
        finally:
            torch.set_num_threads(threads)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Run(result.exit_code, result.output, folder)

    return run
