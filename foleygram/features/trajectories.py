"""States of a teacher's sampling trajectories and their ends, cached as features for distillation."""

import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foleygram.datasets.cache import CachedClips
from foleygram.distributed import current_process
from foleygram.features.writer import write_cache
from foleygram.files import file_hash
from foleygram.generation.backbone import Backbone
from foleygram.generation.model import MODALITIES, MODALITY_SUBSETS, FoleyModel
from foleygram.generation.sampling import ClipNoise, SamplerSettings, denoiser_from_v, guided
from foleygram.pipeline.release import load_release

TEACHER_PARTS = ("projectors", "controlnet", "transformer", "projection_model")
EMBEDDINGS = [f"{modality}_embedding" for modality in MODALITIES]
READ = ["control_latents", *EMBEDDINGS, "seconds_start", "seconds_total", "start"]
"""Fields of a feature cache that sampling needs."""
WRITTEN = ["state", "timestep", "end", "present", "control_latents", *EMBEDDINGS, "seconds_start", "seconds_total"]
"""Fields of a trajectory cache."""


class TrajectoryEncoder:
    """Samples a batch of cached clips under guidance and returns states of each trajectory with its end.

    A clip's noise, modalities, envelope variant and kept steps depend on `seed` and the clip alone. Each clip becomes
    `num_states` items: the first state, which is noise, and others drawn from the rest. Raises ValueError unless a
    trajectory has as many.
    """

    def __init__(self, release: Path, sampler: SamplerSettings, *, num_states: int = 8, seed: int = 0) -> None:
        if not 1 <= num_states <= sampler.num_inference_steps:
            raise ValueError(f"{num_states} states of a trajectory of {sampler.num_inference_steps} steps: give fewer")
        parts, self.spec, _ = load_release(release)
        self.networks = torch.nn.ModuleList(getattr(parts, name) for name in TEACHER_PARTS)
        backbone = Backbone(parts.transformer, parts.vae, parts.projection_model)
        self.model = FoleyModel(backbone, parts.projectors, parts.controlnet)
        self.sampler, self.num_states, self.seed = sampler, num_states, seed
        self.identity = {
            str(path.relative_to(release)): file_hash(path)
            for name in TEACHER_PARTS
            for path in sorted((release / name).glob("*"))
            if path.suffix == ".safetensors" or path.name == "config.json"
        }

    @torch.no_grad()
    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Items (B * num_states, ...) of a batch (B, ...): the fields `WRITTEN`, and the strings of each clip."""
        variants = batch["control_latents"]  # (B, V, C, T)
        device, count = variants.device, len(variants)
        self.networks.to(device)
        noise = ClipNoise([self._seed(*clip) for clip in zip(batch["video_id"], batch["start"].tolist(), strict=True)])
        subsets = [int(torch.randint(len(MODALITY_SUBSETS), (), generator=g)) for g in noise.generators]
        chosen = [int(torch.randint(variants.shape[1], (), generator=g)) for g in noise.generators]
        kept = torch.stack([self._kept_steps(g) for g in noise.generators])  # (B, K)
        present = MODALITY_SUBSETS[subsets].float().to(device)
        control = variants[torch.arange(count, device=device), torch.tensor(chosen, device=device)]
        embeddings = [batch[name] for name in EMBEDDINGS]
        conditions = self.model.conditions(embeddings, present, control, batch["seconds_start"], batch["seconds_total"])
        velocity = guided(
            self.model.velocity, conditions, conditions.null(), self.sampler.guidance_scale, rows_at_once=count,
            apg_scale=self.sampler.apg_scale,
        )  # fmt: skip
        denoise = denoiser_from_v(velocity)
        states: list[Tensor] = []
        times: list[Tensor] = []

        def recorded(latents: Tensor, sigma: Tensor) -> Tensor:
            states.append(latents * (sigma**2 + 1).rsqrt())
            times.append(sigma.atan() * (2 / torch.pi))
            return denoise(latents, sigma)

        channels = self.model.backbone.transformer.config.in_channels
        end = self.sampler.sample(recorded, noise, torch.empty(count, channels, control.shape[-1], device=device))
        row = torch.arange(count)[:, None]
        whole = {
            "state": torch.stack(states, dim=1)[row, kept].flatten(0, 1),
            "timestep": torch.stack(times)[kept].flatten(),
        }
        once = {"end": end, "present": present, "control_latents": control[:, None]}
        once |= {name: batch[name] for name in (*EMBEDDINGS, "seconds_start", "seconds_total", "start")}
        repeated = {name: value.repeat_interleave(self.num_states, dim=0) for name, value in once.items()}
        strings = {name: values for name, values in batch.items() if not isinstance(values, Tensor)}
        return (
            whole | repeated | {n: [v for v in values for _ in range(self.num_states)] for n, values in strings.items()}
        )

    def _seed(self, video_id: str, start: float) -> int:
        return self.seed + zlib.crc32(f"{video_id}{start}".encode())

    def _kept_steps(self, generator: torch.Generator) -> Tensor:
        """Steps (num_states,) of one trajectory, ascending, the first among them."""
        others = torch.randperm(self.sampler.num_inference_steps - 1, generator=generator)[: self.num_states - 1] + 1
        return torch.cat([others.new_zeros(1), others.sort().values])


def cache_trajectories(
    features: Path,
    out: Path,
    *,
    checkpoint: Path,
    backbone: Path | None = None,
    num_inference_steps: int = 25,
    guidance_scale: float | None = None,
    num_states: int = 8,
    seed: int = 0,
    batch_size: int = 16,
    shard_size: int = 256,
    device: torch.device | None = None,
) -> Path:
    """Cache trajectories of a release over the feature cache that its networks made; returns the manifest's path.

    The sampler is the release's own but for the arguments and the solver, DPM-Solver++(2M): where a solver adds noise,
    as `ping_pong` does, a state does not determine its trajectory's end. `backbone` is that of the features where they
    were made with one. Processes started by torchrun or srun share the shards. Raises ValueError for features of other
    networks or rates.
    """
    release = load_release(checkpoint)[2].override(
        num_inference_steps=num_inference_steps, guidance_scale=guidance_scale, solver="dpmpp_2m"
    )
    encoder = TrajectoryEncoder(checkpoint, release, num_states=num_states, seed=seed)
    folders = [str(folder) for folder in (checkpoint, backbone) if folder]
    clips = CachedClips(features, fields=READ, spec=encoder.spec, encoders=folders)
    made_from = clips.manifest["identity"]
    identity = made_from | {
        "fields": WRITTEN,
        "encoders": made_from.get("encoders", {}) | encoder.identity,
        "teacher": asdict(release) | {"num_states": num_states, "seed": seed},
    }
    process = current_process()
    return write_cache(
        clips, out, identity=identity, encode=encoder, batch_size=batch_size, shard_size=shard_size,
        rank=process.rank, world_size=process.world_size, device=device,
    )  # fmt: skip
