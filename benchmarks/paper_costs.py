"""What each step of docs/paper.md computes and holds at the paper's sizes, counted on tensors without memory.

Run: python -m benchmarks.paper_costs. Operations of a clip of 10 s are counted by PyTorch (a multiplication and an
addition are two); "saved" is the size of the tensors that a training step keeps for its backward pass, in bfloat16, of
one clip. What mixed precision keeps in float32 (norms, residual sums) is twice that. Nothing here is measured on a GPU.
"""

from collections.abc import Callable
from contextlib import nullcontext
from unittest import mock

import torch
from diffusers import AutoencoderOobleck
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.stages import generation_stage
from foleygram.alignment.encoders import AudioEncoder, TextEncoder, VideoEncoder
from foleygram.spec import ClipSpec

SPEC = ClipSpec()


class SavedBytes(saved_tensors_hooks):
    """Sums the sizes of all tensors that are kept for the backward pass, each storage once, parameters left out."""

    def __init__(self, *networks: nn.Module) -> None:
        self.seen: dict[int, Tensor] = {}
        self.known = {p.untyped_storage()._cdata for network in networks for p in network.parameters()}
        super().__init__(self.keep, lambda tensor: tensor)

    def keep(self, tensor: Tensor) -> Tensor:
        """Count `tensor`."""
        storage = tensor.untyped_storage()._cdata
        if storage not in self.known:
            self.seen[storage] = tensor
        return tensor

    @property
    def gigabytes(self) -> float:
        """What has been kept so far."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self.seen.values()) / 1e9


def counted(work: Callable[[], Tensor], *networks: nn.Module, backward: bool) -> tuple[float, float]:
    """TFLOP of `work`, with its backward pass where asked for, and GB that it saves for that."""
    saved = SavedBytes(*networks)
    with FlopCounterMode(display=False) as counter, saved:
        result = work()
        kept = saved.gigabytes
        if backward:
            result.sum().backward()
    return counter.get_total_flops() / 1e12, kept


def meta(*size: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """A tensor without memory."""
    return torch.empty(*size, dtype=dtype, device="meta")


def show(what: str, costs: tuple[float, float], note: str = "") -> None:
    """Print one line."""
    print(f"{what:<62} {costs[0]:8.3f} TFLOP   saved {costs[1]:6.2f} GB  {note}", flush=True)


def alignment() -> None:
    """Stage 1: forward and backward of one clip of 8 frames, by encoder."""
    with torch.device("meta"):
        video, text, audio = VideoEncoder.build().bfloat16(), TextEncoder.build(), AudioEncoder.build()
    frames = meta(1, SPEC.num_frames, 3, SPEC.image_size, SPEC.image_size)
    fbank = meta(1, 1024, 64)
    for checkpointing in (False, True):
        if checkpointing:
            video.network.gradient_checkpointing_enable()  # type: ignore[operator, union-attr]
        video.train()
        name = "alignment: ViT-g, 8 frames" + (", gradient checkpointing" if checkpointing else "")
        show(name, counted(lambda: video(frames), video, backward=True))
    ids = torch.zeros(1, 40, dtype=torch.long, device="meta")
    text, audio = text.bfloat16(), audio.bfloat16()
    show("alignment: BERT-base, 40 tokens", counted(lambda: text(ids, torch.ones_like(ids)), text, backward=True))
    show("alignment: BEATs, 10 s", counted(lambda: audio.network(fbank), audio, backward=True))


def features() -> None:
    """What stage 2's cache costs for each clip: four passes of the autoencoder, and the three encoders."""
    with torch.device("meta"):
        vae = AutoencoderOobleck()
    sound = meta(1, SPEC.audio_channels, SPEC.num_padded_samples, dtype=torch.float32)
    latents = meta(1, 64, SPEC.num_latents, dtype=torch.float32)
    with torch.no_grad():
        show("features: autoencoder, one encoding", counted(lambda: vae.encode(sound).latent_dist.mean, backward=False))
        show("generate: autoencoder, decoding", counted(lambda: vae.decode(latents).sample, backward=False))


def generation() -> None:
    """Stage 2: forward and backward of one clip, and one guided step of the sampler."""
    with torch.device("meta"):
        stage, clips = generation_stage(full_size=True)
        stage = stage.bfloat16()
        held = {name: torch.empty(1, *size, dtype=torch.bfloat16) for name, size in clips.fields.items()}
        held |= {"seconds_start": torch.empty(1), "seconds_total": torch.empty(1)}
        timestep = torch.empty(1)

        def velocity() -> Tensor:
            return stage.model.velocity(held["latents_mean"], timestep, stage.conditions(held))

        show("generation: training step", counted(velocity, stage, backward=True))
        with torch.no_grad():
            forward = counted(velocity, backward=False)
        show("generate: a sampling step with guidance", (2 * forward[0], 0.0))


def main() -> None:
    """Count all steps."""
    with mock.patch("torch.autocast", lambda *args, **options: nullcontext()):  # unknown where there is no memory
        for part in (alignment, features, generation):
            part()


if __name__ == "__main__":
    main()
