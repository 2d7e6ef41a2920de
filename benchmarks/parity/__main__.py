"""stable-audio-tools and this project on the same random weights: every part, whole sampling runs, and the way back.

Run: `make parity`, which makes .parity (0.0.19) and .parity-0.0.20 (with Python 3.10) for it, environments of their
own, because that package's pins and ours exclude each other. Or: python -m benchmarks.parity [--python
.parity/bin/python] [--size full]; `full` has Stable Audio Open 1.0's sizes and takes 15 GB. Then the backbone that was
trained here is taken there. Prints the largest differences and exits with 1 where one is larger than float32's rounding
explains, which is computed: our side runs in float64 as well.
Last, the processor time of a whole run on either side (target: ours no longer).
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, T5Config, T5EncoderModel

from foleygram.generation.backbone import encode_prompts, load_backbone, tokenize_prompts
from foleygram.generation.controlnet import controlled_forward
from foleygram.generation.model import Conditions, duration_conditions
from foleygram.generation.native_folders import CONFIG, load_native, save_native
from foleygram.generation.sampling import (
    GRIDS,
    SOLVERS,
    Denoiser,
    Velocity,
    denoiser_from_v,
    exponential_sigmas,
    guided,
)
from foleygram.pipeline.onednn import use_onednn
from foleygram.weights.state_dict import without_chatter

REFERENCE = Path(__file__).with_name("reference.py")
SHIPPED = Path(__file__).parents[2] / "checkpoints" / "mini"
SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "channels": 32, "c_mults": [1, 2, 4], "strides": [2, 4, 8], "latent_dim": 16, "embed_dim": 256, "depth": 4,
        "num_heads": 4, "cond_dim": 128, "sample_rate": 16_000, "num_latents": 50, "steps": 25, "t5_width": 96,
    },
    "full": {
        "channels": 128, "c_mults": [1, 2, 4, 8, 16], "strides": [2, 4, 4, 8, 8], "latent_dim": 64, "embed_dim": 1536,
        "depth": 24, "num_heads": 24, "cond_dim": 768, "sample_rate": 44_100, "num_latents": 43, "steps": 4,
        "t5_width": 768,
    },
}  # fmt: skip
"""`full` is Stable Audio Open 1.0, on two seconds."""
COMPARED = tuple(name for name in SOLVERS if name not in GRIDS)
"""Solvers that the package has too."""
APG_SCALES = (0.6, 1.0)
"""Adaptive projected guidance, in part and in full; versions of the package before 0.0.20 have none."""
OUTPUTS = (
    "prompt", "durations", "dit", "dit_guided", *(f"dit_apg_{scale}" for scale in APG_SCALES), "encoded", "decoded",
    *(f"sampled_{solver}" for solver in COMPARED),
)  # fmt: skip
UNIT = 2.0**-24
"""Unit roundoff of float32."""


class Difference(NamedTuple):
    """The largest difference of an output, the largest value there, and how large a difference is tolerated."""

    name: str
    difference: float
    largest: float
    tolerated: float

    @property
    def passes(self) -> bool:
        """Whether the outputs are equal but for rounding; a NaN is not."""
        return self.difference <= self.tolerated


def tolerated(ours: Tensor, exact: Tensor) -> float:
    """How far the other side may be from `ours`, the float32 result of what is `exact` in float64.

    |ours - theirs| <= |ours - exact| + |theirs - exact|. The first is computed; the second is granted three times as
    much, because sums of the same terms in another order round differently. Besides, 8 units of roundoff of the largest
    value, for what `exact` itself keeps in float32: levels of noise, guidance, and the handed inputs.
    """
    return 4 * (ours - exact).abs().max().item() + 8 * UNIT * exact.abs().max().item()


def native_config(size: Mapping[str, Any], t5: str) -> dict[str, Any]:
    """stable-audio-tools' `model_config.json` of a model of Stable Audio Open's kind."""
    layers = {"channels": size["channels"], "c_mults": size["c_mults"], "strides": size["strides"], "use_snake": True}
    latents, hop = size["latent_dim"], prod(size["strides"])
    encoder = {"in_channels": 2, **layers, "latent_dim": 2 * latents}
    decoder = {"out_channels": 2, **layers, "latent_dim": latents, "final_tanh": False}
    autoencoder = {
        "encoder": {"type": "oobleck", "config": encoder}, "decoder": {"type": "oobleck", "config": decoder},
        "bottleneck": {"type": "vae"}, "latent_dim": latents, "downsampling_ratio": hop, "io_channels": 2,
    }  # fmt: skip
    dit = {
        "io_channels": latents, "embed_dim": size["embed_dim"], "depth": size["depth"], "num_heads": size["num_heads"],
        "cond_token_dim": size["cond_dim"], "global_cond_dim": 2 * size["cond_dim"], "project_cond_tokens": False,
        "transformer_type": "continuous_transformer",
    }  # fmt: skip
    numbers = ["seconds_start", "seconds_total"]
    conditioners = [{"id": "prompt", "type": "t5", "config": {"t5_model_name": t5, "max_length": 128}}]
    conditioners += [{"id": name, "type": "number", "config": {"min_val": 0, "max_val": 512}} for name in numbers]
    diffusion = {
        "cross_attention_cond_ids": ["prompt", *numbers], "global_cond_ids": numbers, "type": "dit", "config": dit,
    }  # fmt: skip
    model = {
        "pretransform": {"type": "autoencoder", "iterate_batch": True, "config": autoencoder},
        "conditioning": {"configs": conditioners, "cond_dim": size["cond_dim"]},
        "diffusion": diffusion,
        "io_channels": latents,
    }
    return {
        "model_type": "diffusion_cond", "sample_size": size["num_latents"] * hop, "sample_rate": size["sample_rate"],
        "audio_channels": 2, "model": model,
    }  # fmt: skip


def common_settings(size: Mapping[str, Any], t5: Path) -> dict[str, Any]:
    """Conditions and settings of the sampler, one home for both sides."""
    return {
        "prompt": "A person hits metal with a wooden stick.", "seconds_start": 3.0, "seconds_total": 10.0,
        "sigma_min": 0.3, "sigma_max": 500.0, "guidance": 6.0, "seed": 7, "apg_scales": APG_SCALES,
        "solvers": COMPARED,
        "num_latents": size["num_latents"], "steps": size["steps"], "t5": str(t5), "t5_width": size["t5_width"],
    }  # fmt: skip


@torch.inference_mode()
def our_outputs(
    parts: Mapping[str, Any],
    options: Mapping[str, Any],
    given: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """What this project makes, in `dtype`, of the parts of `load_native` and of the `in.*` tensors of `given`."""
    given = {name: value.to(dtype) for name, value in given.items() if name.startswith("in.")}
    transformer, vae, projection_model = (parts[name] for name in ("transformer", "vae", "projection_model"))
    tokens = tokenize_prompts(AutoTokenizer.from_pretrained(options["t5"]), [options["prompt"]], 128)
    prompt = encode_prompts(T5EncoderModel.from_pretrained(options["t5"], dtype=dtype).eval(), projection_model, tokens)
    seconds = (torch.tensor([options[name]]) for name in ("seconds_start", "seconds_total"))
    durations, global_states = duration_conditions(projection_model, *seconds)
    base = Conditions(torch.cat([prompt, durations], dim=1), global_states, torch.zeros(1, 0, 0))

    def conditional(latents: Tensor, timestep: Tensor, given: Conditions) -> Tensor:
        return controlled_forward(transformer, latents, timestep, given.cross_tokens, given.global_states)

    def velocity(count: int, scale: float, apg_scale: float = 0.0) -> Velocity:
        conditions = base.rows([0] * count)
        return guided(conditional, conditions, conditions.null(), scale, rows_at_once=count, apg_scale=apg_scale)

    scale = options["guidance"]
    latents, timestep = given["in.latents"], given["in.timestep"]
    outputs = {
        "prompt": prompt,
        "durations": durations,
        "dit": velocity(2, 1.0)(latents, timestep),
        "dit_guided": velocity(2, scale)(latents, timestep),
        **{f"dit_apg_{apg}": velocity(2, scale, apg)(latents, timestep) for apg in options["apg_scales"]},
        "encoded": vae.encoder(given["in.audio"]),
        "decoded": vae.decode(latents).sample,
    }
    denoise = denoiser_from_v(velocity(1, scale))
    for name in COMPARED:
        outputs[f"sampled_{name}"] = vae.decode(sampled(name, denoise, options, given)).sample
    return outputs


def sampled(solver: str, denoise: Denoiser, options: Mapping[str, Any], given: Mapping[str, Tensor]) -> Tensor:
    """Latents of a whole run from the noise that the other side drew."""
    sigmas = exponential_sigmas(options["steps"], sigma_min=options["sigma_min"], sigma_max=options["sigma_max"])
    handed = iter(given["in.noises"])
    return SOLVERS[solver](denoise, given["in.first_noise"] * sigmas[0], sigmas, noise=lambda _: next(handed))


def exact_outputs(
    parts: Mapping[str, Any], options: Mapping[str, Any], given: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """`our_outputs` with weights and sums in float64; the parts are as before afterwards."""
    for part in parts.values():
        part.double()
    try:
        return our_outputs(parts, options, given, torch.float64)
    finally:
        for part in parts.values():
            part.float()


@torch.inference_mode()
def our_seconds(parts: Mapping[str, Any], options: Mapping[str, Any], given: Mapping[str, Tensor]) -> float:
    """The least processor time of a whole run, sampling and decoding, over the solvers; as a release computes it.

    Called last: it swaps the linear layers of the parts.
    """
    transformer, durations = parts["transformer"], given["out.durations"]
    use_onednn(transformer)
    tokens = torch.cat([given["out.prompt"], durations], dim=1)
    conditions = Conditions(tokens, durations.flatten(1), given["in.first_noise"])

    def velocity(latents: Tensor, timestep: Tensor, conditions: Conditions) -> Tensor:
        return controlled_forward(transformer, latents, timestep, *conditions[:2])

    denoise = denoiser_from_v(guided(velocity, conditions, conditions.null(), options["guidance"], rows_at_once=1))
    spent = []
    for solver in options["solvers"]:
        begun = time.process_time()
        parts["vae"].decode(sampled(solver, denoise, options, given))
        spent.append(time.process_time() - begun)
    return min(spent)


def differences(
    ours: Mapping[str, Tensor], exact: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> list[Difference]:
    """One row for each output; raises KeyError when a side lacks one, but for guidance that the package has not."""
    rows = []
    for name in OUTPUTS:
        if name.startswith("dit_apg") and f"out.{name}" not in theirs:
            continue
        expected = theirs[f"out.{name}"]
        difference = (ours[name].double() - expected.double()).abs().max().item()
        rows.append(Difference(name, difference, expected.abs().max().item(), tolerated(ours[name], exact[name])))
    return rows


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    """Keys that only one side has, or whose tensors differ in a bit."""
    common = before.keys() & after.keys()
    return sorted((before.keys() ^ after.keys()) | {key for key in common if not torch.equal(before[key], after[key])})


def run_reference(reference: Sequence[str], *arguments: str | Path) -> None:
    """Run the other side; raises RuntimeError with the end of its output."""
    done = subprocess.run([*reference, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{reference[0]} failed:\n{done.stderr[-2000:]}")


def compare(
    folder: Path, size: Mapping[str, Any], reference: Sequence[str]
) -> tuple[list[Difference], list[str], tuple[float, float]]:
    """Let `reference` make a checkpoint in `folder`, bring it over and take it back.

    Returns rows, what that changed, and the processor seconds of a whole run there and here.
    """
    folder.mkdir(parents=True)
    t5, settings = folder / "t5", folder / "settings.json"
    shutil.copytree(SHIPPED / "prompt_tokenizer", t5)
    torch.manual_seed(0)
    heads = {"num_layers": 2, "num_heads": 4, "d_kv": 16, "d_ff": 128}
    encoder = T5EncoderModel(T5Config(vocab_size=256, d_model=size["t5_width"], **heads))
    encoder.half().float().save_pretrained(t5)  # the package halves the weights it loads
    options = common_settings(size, t5)
    settings.write_text(json.dumps(options))
    (folder / CONFIG).write_text(json.dumps(native_config(size, str(t5))))
    run_reference(reference, folder, settings, folder / "out.safetensors", "--create")
    theirs = load_file(folder / "out.safetensors")
    parts: dict[str, Any] = load_native(folder)
    ours, exact = (make(parts, options, theirs) for make in (our_outputs, exact_outputs))
    rows = differences(ours, exact, theirs)
    save_native(folder / "back", **parts, t5_model_name=str(t5))
    seconds = their_seconds(theirs), our_seconds(parts, options, theirs)
    del parts
    run_reference(reference, folder / "back", settings, folder / "again.safetensors")
    changed_keys = changed(load_file(folder / "model.safetensors"), load_file(folder / "back" / "model.safetensors"))
    again = load_file(folder / "again.safetensors")
    their_seconds(again)
    return rows, changed_keys + changed(theirs, again), seconds


def their_seconds(theirs: dict[str, Tensor]) -> float:
    """The least processor time of their runs, all of which are taken out of `theirs`."""
    return min(theirs.pop(name).item() for name in [*theirs] if name.startswith("seconds."))


def take_back(folder: Path, shipped: Path, reference: Sequence[str]) -> list[Difference]:
    """Write the backbone that was trained here as `reference` reads it, and compare what both make of it."""
    folder.mkdir(parents=True)
    t5, settings = folder / "t5", folder / "settings.json"
    backbone = load_backbone(str(shipped))
    shutil.copytree(shipped / "prompt_tokenizer", t5)
    backbone.prompt_encoder.half().float().save_pretrained(t5)  # the package halves the weights it loads
    parts = {name: getattr(backbone, name) for name in ("transformer", "vae", "projection_model")}
    width = backbone.prompt_encoder.config.d_model
    options = common_settings(
        {"num_latents": backbone.transformer.config.sample_size, "steps": 25, "t5_width": width}, t5
    )
    settings.write_text(json.dumps(options))
    save_native(folder, **parts, t5_model_name=str(t5))
    run_reference(reference, folder, settings, folder / "out.safetensors")
    theirs = load_file(folder / "out.safetensors")
    ours, exact = (make(parts, options, theirs) for make in (our_outputs, exact_outputs))
    return differences(ours, exact, theirs)


def report(
    rows: Sequence[Difference], lost: Sequence[str] | None, *, title: str = "stable-audio-tools and ours"
) -> int:
    """Print the table; 1 where something is past its tolerance or did not come back, else 0."""
    table = Table("part", "largest difference", "largest value", "tolerated", "", title=title)
    for row in rows:
        verdict = "equal" if row.passes else "DIFFERS"
        table.add_row(row.name, f"{row.difference:.1e}", f"{row.largest:.2f}", f"{row.tolerated:.1e}", verdict)
    console = Console(width=100)
    console.print(table)
    if lost is not None:
        outcome = f"changed: {', '.join(lost[:5])}" if lost else "every tensor and every output the same, to the bit"
        console.print(f"converted there and back: {outcome}")
    return int(bool(lost) or not all(row.passes for row in rows))


def main() -> int:
    """Run both sides in a temporary folder and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=".parity/bin/python", help="interpreter that has stable-audio-tools")
    parser.add_argument("--size", choices=SIZES, default="small")
    args = parser.parse_args()
    if shutil.which(args.python) is None:
        print(f"{args.python}: no such interpreter; `make parity` makes it", file=sys.stderr)
        return 1
    reference = [args.python, str(REFERENCE)]
    with tempfile.TemporaryDirectory() as folder, without_chatter():
        rows, lost, seconds = compare(Path(folder) / "model", SIZES[args.size], reference)
        shipped = take_back(Path(folder) / "shipped", SHIPPED, reference)
    theirs, ours = seconds
    print(f"a whole run of {SIZES[args.size]['steps']} steps, {torch.get_num_threads()} threads, processor time:")
    print(f"stable-audio-tools {theirs:.2f} s, ours {ours:.2f} s, ratio {theirs / ours:.2f} (target: at least 1)")
    return report(rows, lost) | report(shipped, None, title="the backbone trained here, taken to stable-audio-tools")


if __name__ == "__main__":
    sys.exit(main())
