"""Everything at the paper's sizes with random weights: parameter counts, one step of each stage, sampling, decoding.

Run: python -m benchmarks.full_size [--part NAME ...], on a GPU where there is one. One part after another, each in a
process of its own, so that a machine with 20 GB gets through; prints seconds, steps per second and each line's own peak
of memory. Guidance doubles every sampling step, as in the pipeline. On a CPU in bfloat16, the alignment step with
gradient checkpointing and 2 frames, forward and backward without the optimiser (whose state is only counted). On a GPU
besides: the optimiser's step, and a 10 s clip at 100 steps with and without `torch.compile`. Sampling ends with a whole
clip at 8 network calls, as a distilled release makes, beside the published 150 guided steps.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import torch
from diffusers import AutoencoderOobleck, StableAudioDiTModel, StableAudioProjectionModel
from torch import Tensor, nn
from torch.nn import functional

from foleygram.alignment.encoders import AudioEncoder, TextEncoder, VideoEncoder
from foleygram.alignment.losses import GramLoss
from foleygram.generation.autoencoder import control_latents, decode_latents
from foleygram.generation.backbone import freeze
from foleygram.generation.controlnet import EnvelopeControlNet, controlled_forward
from foleygram.generation.model import Conditions, SemanticProjectors, duration_conditions
from foleygram.generation.objective import add_noise
from foleygram.generation.sampling import ClipNoise, SamplerSettings, denoiser_from_v, dpmpp_2m, exponential_sigmas
from foleygram.spec import ClipSpec

SPEC = ClipSpec()
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPE = torch.bfloat16


@contextmanager
def timed(what: str, *, steps: int = 0) -> Iterator[SimpleNamespace]:
    """Print how long the block took, its steps per second where it has `steps`, and the most memory it held.

    What it gives has the `seconds` afterwards.
    """
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts anew from here
    spent, begun = SimpleNamespace(), time.perf_counter()
    yield spent
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    spent.seconds = time.perf_counter() - begun
    rate = f"{steps / spent.seconds:8.2f} steps/s" if steps else ""
    print(f"  {what:<58} {spent.seconds:8.2f} s   peak {peak_gib():6.2f} GiB {rate}", flush=True)


def peak_gib() -> float:
    """The most memory since it was reset: of the GPU, or of this process where it runs on Linux."""
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    status = Path("/proc/self/status").read_text() if sys.platform == "linux" else ""
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 2**20 if found else float("nan")


def millions(*parts: nn.Module) -> float:
    """Parameters in millions."""
    return sum(parameter.numel() for part in parts for parameter in part.parameters()) / 1e6


def built(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with random weights in the benchmark's precision, on its device."""
    torch.set_default_dtype(DTYPE)
    try:
        return make().to(DEVICE)
    finally:
        torch.set_default_dtype(torch.float32)


def counts() -> None:
    """Parameters of every part, built without memory."""
    with torch.device("meta"):
        transformer = StableAudioDiTModel()
        parts: dict[str, nn.Module] = {
            "DiT (about 1,057 M)": transformer,
            "Oobleck autoencoder (about 156 M)": AutoencoderOobleck(),
            "ControlNet, depth factor 0.2 (about 193 M)": EnvelopeControlNet.from_transformer(transformer, 0.2),
            "projectors": SemanticProjectors(),
            "EVA-CLIP ViT-g/14 with head (about 1,010 M)": VideoEncoder.build(),
            "BERT-base with head": TextEncoder.build(),
            "BEATs with head": AudioEncoder.build(),
        }
    for name, part in parts.items():
        print(f"  {name:<58} {millions(part):8.1f} M")


def alignment() -> None:
    """One contrastive step of the three encoders at batch 2: forward, backward, and the optimiser where it fits."""
    frames_per_clip = SPEC.num_frames if DEVICE.type == "cuda" else 2
    with timed("building the three encoders"):
        video, text, audio = (built(make) for make in (VideoEncoder.build, TextEncoder.build, AudioEncoder.build))
    video.network.gradient_checkpointing_enable()  # type: ignore[operator, union-attr]
    for part in (video, text, audio):
        part.train()
    frames = torch.randint(256, (2, frames_per_clip, 3, SPEC.image_size, SPEC.image_size), dtype=torch.uint8)
    ids = torch.randint(1000, (2, 40), device=DEVICE)
    sound = 0.1 * torch.randn(2, round(SPEC.seconds * 16_000), device=DEVICE)
    with timed(f"forward and backward, batch 2, {frames_per_clip} frames, checkpointing"):
        embeddings = (video(frames.to(DEVICE)), text(ids, torch.ones_like(ids)), audio.embed_waveform(sound))  # type: ignore[operator]
        GramLoss().to(DEVICE)(*embeddings, ["a caption", "another"]).backward()
    state = 8 * millions(video, text, audio) / 1e3
    if DEVICE.type == "cuda":
        parameters = [parameter for part in (video, text, audio) for parameter in part.parameters()]
        with timed("AdamW step"):
            torch.optim.AdamW(parameters, 2e-5).step()
    else:
        print(f"  AdamW's state would take {state:.1f} GB more in float32: forward and backward alone were run")


def conditions(count: int, vae: AutoencoderOobleck) -> tuple[SemanticProjectors, Callable[[], Conditions]]:
    """Projectors, and what projects random embeddings of `count` clips anew: conditions whose graph is one step's."""
    projectors, durations = built(SemanticProjectors), built(lambda: StableAudioProjectionModel(768, 768, 0, 512))
    with torch.no_grad(), timed(f"control latents of {count} clips of {SPEC.seconds:g} s"):
        curves = torch.rand(count, SPEC.num_envelope_values, device=DEVICE)
        control = control_latents(vae, curves, SPEC.num_samples)
    embeddings = functional.normalize(torch.randn(3, count, 512, device=DEVICE), dim=-1)
    start = torch.zeros(count, device=DEVICE)
    with torch.no_grad():
        tokens, global_states = duration_conditions(durations, start, start + SPEC.seconds)  # type: ignore[arg-type]

    def projected() -> Conditions:
        semantic = projectors(*embeddings, torch.ones(count, 3, dtype=torch.bool, device=DEVICE))
        return Conditions(torch.cat([semantic, tokens.to(semantic)], dim=1), global_states.to(semantic), control)

    return projectors, projected  # type: ignore[return-value]


def generation() -> None:
    """One training step of stage 2 at 10 s, and what the ControlNet adds to the DiT's forward pass."""
    batch = 12 if DEVICE.type == "cuda" else 1
    with timed("building DiT, autoencoder and ControlNet"):
        transformer, vae = built(StableAudioDiTModel), built(AutoencoderOobleck)
        controlnet = EnvelopeControlNet.from_transformer(transformer, 0.2)
    freeze(transformer, vae)
    projectors, encode = conditions(batch, vae)
    trained = [*projectors.parameters(), *controlnet.parameters()]
    latents, noise = (torch.randn(batch, 64, SPEC.num_latents, device=DEVICE, dtype=DTYPE) for _ in range(2))
    timestep = torch.full((batch,), 0.5, device=DEVICE)
    noised = add_noise(latents, noise, timestep)

    def velocity(*, controlled: bool = True) -> Tensor:
        tokens, global_states, control = encode()
        given = (noised.latents.to(DTYPE), timestep, tokens, global_states)
        return controlled_forward(transformer, *given, controlnet(*given, control) if controlled else ())

    with torch.no_grad():
        with timed(f"plain DiT, forward, batch {batch}"):
            velocity(controlled=False)
        with timed(f"DiT with ControlNet, forward, batch {batch}"):
            velocity()
    optimizer = torch.optim.AdamW(trained, 1e-4)
    for _ in range(3 if DEVICE.type == "cuda" else 1):
        with timed(f"training step, batch {batch}", steps=1):
            (velocity().float() - noised.target).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    held = sum(parameter.grad is not None for part in (transformer, vae) for parameter in part.parameters())
    print(f"  frozen parameters with a gradient: {held}; trained {sum(map(torch.numel, trained)) / 1e6:.1f} M")


def sampling() -> None:
    """Two guided sampling steps of a 10 s clip (on a GPU 100, with and without compiling), two without guidance, and
    decoding; from these a whole clip at 8 calls and at 150 guided steps.
    """
    transformer, vae = built(StableAudioDiTModel), built(AutoencoderOobleck)
    controlnet = EnvelopeControlNet.from_transformer(transformer, 0.2)
    freeze(transformer, vae, controlnet)
    with torch.inference_mode():
        with timed("projectors, conditions and control latents") as encoding:
            given = conditions(1, vae)[1]()
        both = Conditions.joined([given, given.null()])

        def velocity(latents: Tensor, timestep: Tensor, rows: Conditions) -> Tensor:
            some = (latents.to(DTYPE), timestep, rows.cross_tokens, rows.global_states)
            return controlled_forward(transformer, *some, controlnet(*some, rows.control_latents)).float()

        def plain(latents: Tensor, timestep: Tensor) -> Tensor:
            return velocity(latents, timestep, given)

        def under_guidance(latents: Tensor, timestep: Tensor) -> Tensor:
            positive, negative = velocity(latents.repeat(2, 1, 1), timestep.repeat(2), both).chunk(2)
            return negative + SamplerSettings.guidance_scale * (positive - negative)

        noise = ClipNoise([0])
        latents = noise(torch.empty(1, 64, SPEC.num_latents, device=DEVICE)) * 500
        counts = (2, 100) if DEVICE.type == "cuda" else (2,)
        for compiled in (False, True) if DEVICE.type == "cuda" else (False,):
            of_a_step = {}
            for name, network in {"guided sampling": under_guidance, "unguided sampling": plain}.items():
                denoise = denoiser_from_v(torch.compile(network) if compiled else network)
                for steps in counts:
                    what = f"{steps} {name} steps of {SPEC.seconds:g} s{', compiled' * compiled}"
                    with timed(what, steps=steps) as run:
                        sigmas = exponential_sigmas(steps, sigma_min=0.3, sigma_max=500)
                        clean = dpmpp_2m(denoise, latents, sigmas)
                of_a_step[name] = run.seconds / steps
            with timed(f"decoding {SPEC.seconds:g} s") as decoding:
                decode_latents(vae, clean, SPEC.num_samples)
            once = encoding.seconds + decoding.seconds
            few, many = once + 8 * of_a_step["unguided sampling"], once + 150 * of_a_step["guided sampling"]
            print(
                f"  a clip of {SPEC.seconds:g} s from these: 8 calls {few:.2f} s, 150 guided steps {many:.2f} s, "
                f"{many / few:.1f} x; conditions and decoding {once:.2f} s of either"
            )


PARTS = {"counts": counts, "alignment": alignment, "generation": generation, "sampling": sampling}


def main() -> None:
    """Run the parts that are asked for, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="this one only; may be given again")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        torch.manual_seed(0)
        PARTS[args.part[0]]()
        return
    print(f"{DEVICE}, {DTYPE}, {torch.get_num_threads()} threads")
    for part in args.part or PARTS:
        print(part, flush=True)
        subprocess.run([sys.executable, "-m", "benchmarks.full_size", "--here", "--part", part], check=True)


if __name__ == "__main__":
    main()
