"""The other side of `make parity`: a model made, loaded and run by stable-audio-tools, in an environment of its own.

Imports nothing of this project; benchmarks/parity/__main__.py runs it. Writes the inputs it drew (`in.*`) and what that
package made of them (`out.*`), and how long whole runs took (`seconds.*`, processor time).
"""

import argparse
import inspect
import json
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

IMPORTED_UNUSED = (
    "torchaudio", "torchaudio.transforms", "torchvision", "torchvision.transforms", "skimage", "jsonmerge", "cleanfid",
    "cleanfid.inception_torchscript", "clip", "dctorch", "pywt",
    "pytorch_lightning", "pytorch_lightning.callbacks",
)  # fmt: skip
"""What the package and k-diffusion import at the top of their files, and these models never call."""


class Placeholder(ModuleType):
    """A module of which everything can be imported and derived from, and nothing called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def unusable(*_: Any, **__: Any) -> None:
            raise RuntimeError(f"{self.__name__}.{name} is a placeholder here")

        return type(name, (), {"__new__": unusable})


@contextmanager
def placeholders() -> Iterator[None]:
    """Placeholders for `IMPORTED_UNUSED`, gone again at the end, lest transformers take them for real."""
    for name in IMPORTED_UNUSED:
        sys.modules[name] = Placeholder(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
    try:
        yield
    finally:
        for name in IMPORTED_UNUSED:
            del sys.modules[name]


with placeholders(), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import stable_audio_tools.models.autoencoders  # noqa: F401  else imported when the first model is made
    from stable_audio_tools.inference import sampling
    from stable_audio_tools.inference.generation import generate_diffusion_cond
    from stable_audio_tools.models.conditioners import T5Conditioner
    from stable_audio_tools.models.factory import create_model_from_config
    from stable_audio_tools.models.utils import load_ckpt_state_dict


def create(folder: Path) -> None:
    """Write random weights for the config in `folder`, none of them at the zeros and ones that training starts from."""
    torch.manual_seed(0)
    model = create_model_from_config(json.loads((folder / "model_config.json").read_text()))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")


def load(folder: Path) -> Any:
    """The model of a native folder, as that package's users load one; every key must fit."""
    model = create_model_from_config(json.loads((folder / "model_config.json").read_text()))
    model.load_state_dict(load_ckpt_state_dict(str(folder / "model.safetensors")), strict=True)
    # The package halves its T5's precision, whose rounding would hide a difference.
    model.conditioner.conditioners["prompt"].model.float()
    return model.eval().requires_grad_(False)


@torch.no_grad()
def run(model: Any, options: dict[str, Any]) -> dict[str, Tensor]:
    """Inputs and outputs of every part of `model`, and of its whole sampling with each solver."""
    generator = torch.Generator().manual_seed(1)
    shape, steps, seed = (model.io_channels, options["num_latents"]), options["steps"], options["seed"]
    hop = model.pretransform.downsampling_ratio
    audio = 0.3 * torch.randn(2, model.pretransform.io_channels, options["num_latents"] * hop, generator=generator)
    latents, noises = torch.randn(2, *shape, generator=generator), torch.randn(steps, 1, *shape, generator=generator)
    timestep = torch.tensor([0.13, 0.87])
    conditioning = [{name: options[name] for name in ("prompt", "seconds_start", "seconds_total")}]
    tensors = model.conditioner(conditioning, "cpu")
    conditions = model.get_conditioning_inputs(tensors)
    both = {name: torch.cat([conditions[name]] * 2) for name in ("cross_attn_cond", "global_cond")}
    autoencoder = model.pretransform.model
    # 0.0.20 has adaptive projected guidance, and on unless it is switched off.
    projects = "apg_scale" in inspect.signature(model.model.model.forward).parameters
    plain = {"apg_scale": 0.0} if projects else {}
    torch.manual_seed(seed)  # as the package draws its first noise
    found = {
        "in.audio": audio,
        "in.latents": latents,
        "in.timestep": timestep,
        "in.noises": noises,
        "in.first_noise": torch.randn(1, *shape),
        "out.prompt": tensors["prompt"][0],
        "out.durations": torch.cat([tensors["seconds_start"][0], tensors["seconds_total"][0]], dim=1),
        "out.dit": model.model(latents, timestep, **both),
        "out.dit_guided": model.model(latents, timestep, **both, cfg_scale=options["guidance"], **plain),
        "out.encoded": autoencoder.encoder(audio),
        "out.decoded": autoencoder.decode(latents),
    }
    for scale in options["apg_scales"] if projects else ():
        found[f"out.dit_apg_{scale}"] = model.model(
            latents, timestep, **both, cfg_scale=options["guidance"], apg_scale=scale
        )
    for solver in options["solvers"]:
        handed = iter(noises)
        sampling.K.sampling.BrownianTreeNoiseSampler = lambda *_, h=handed: lambda *_: next(h)
        begun = time.process_time()
        found[f"out.sampled_{solver}"] = generate_diffusion_cond(
            model, steps=steps, cfg_scale=options["guidance"], conditioning=conditioning, seed=seed, device="cpu",
            sample_size=options["num_latents"] * hop, sampler_type=solver.replace("_", "-"),
            sigma_min=options["sigma_min"], sigma_max=options["sigma_max"], **plain,
        )  # fmt: skip
        found[f"seconds.{solver}"] = torch.tensor(time.process_time() - begun)
    return found


def main() -> None:
    """Make weights where asked to, load them and write what they give."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with model_config.json, and with model.safetensors")
    parser.add_argument("settings", type=Path, help="JSON of the settings of both sides")
    parser.add_argument("out", type=Path, help="safetensors file to write")
    parser.add_argument("--create", action="store_true", help="write random weights there first")
    args = parser.parse_args()
    options = json.loads(args.settings.read_text())
    T5Conditioner.T5_MODELS.append(options["t5"])  # the package takes names of the hub alone
    T5Conditioner.T5_MODEL_DIMS[options["t5"]] = options["t5_width"]
    if args.create:
        create(args.folder)
    found = run(load(args.folder), options)
    save_file({key: value.contiguous() for key, value in found.items()}, args.out)


if __name__ == "__main__":
    main()
