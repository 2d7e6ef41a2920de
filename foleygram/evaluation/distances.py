"""Distances between sets of embeddings as torchmetrics: FAD with any embedder, FAVD, KAD."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from foleygram.evaluation.frechet import frechet_distance, frechet_infinity, smallest_fit
from foleygram.evaluation.kernel import kernel_distance

FEW = 100
"""Fewer embeddings give a kernel distance a note. In 64 dimensions 10 samples of one Gaussian scatter by 0.55 around 0,
100 by 0.06; shifted by a fifth of their deviation in each dimension they are at 1.1."""
COMFORTABLE = 8
"""With so many embeddings per dimension two samples of an isotropic Gaussian are 0.07 of its variance apart; with one
per dimension 0.52."""


class Distance(NamedTuple):
    """A distance, the number of embeddings it is over, and notes on its reliability."""

    value: float | None
    """None where there are too few embeddings; `notes` gives the reason."""
    infinity: float | None
    """FAD-infinity, for Frechet distances over enough embeddings."""
    num_generated: int
    num_reference: int
    dim: int
    notes: tuple[str, ...]


class _EmbeddingSets(Metric):
    """Gathers embeddings of generated and of reference clips; their order depends on the clips' names only."""

    full_state_update = False
    generated: list[Tensor]
    reference: list[Tensor]
    generated_keys: list[Tensor]
    reference_keys: list[Tensor]
    dim: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("generated", "reference", "generated_keys", "reference_keys"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self.add_state("dim", torch.zeros((), dtype=torch.float64), dist_reduce_fx="max")
        self.set_dtype(torch.float64)  # also of what a process without clips contributes

    def update(self, embeddings: Tensor, *, real: bool, clip: str) -> None:
        """Add a clip's embeddings (N, d), of the reference where `real`; `clip` names it, in any order and process.

        Raises ValueError naming the clip for embeddings that are empty, not finite, or of another size.
        """
        if embeddings.dim() != 2 or len(embeddings) == 0 or not bool(torch.isfinite(embeddings).all()):
            raise ValueError(f"{clip}: embeddings of shape {tuple(embeddings.shape)} must be (N, d), not empty, finite")
        if self.dim > 0 and self.dim != embeddings.shape[1]:
            raise ValueError(
                f"{clip}: embeddings of {embeddings.shape[1]} values after {int(self.dim)}: use one embedder"
            )
        self.dim = self.dim.new_tensor(embeddings.shape[1])
        name = "reference" if real else "generated"
        # One dimension only: torchmetrics gathers processes that have embeddings with one that has none.
        getattr(self, name).append(embeddings.to(self.device, torch.float64).flatten())
        key = int.from_bytes(hashlib.sha256(clip.encode()).digest()[:6])  # six bytes, which a float64 holds exactly
        getattr(self, f"{name}_keys").append(self.dim.new_full((len(embeddings),), key))

    def all_of(self, name: str) -> np.ndarray:
        """All embeddings (N, d) of `generated` or `reference`, clip by clip."""
        values = getattr(self, name)
        if len(values) == 0:
            return np.zeros((0, int(self.dim)))
        embeddings = dim_zero_cat(values).cpu().numpy().reshape(-1, int(self.dim))
        return embeddings[np.argsort(dim_zero_cat(getattr(self, f"{name}_keys")).cpu().numpy(), kind="stable")]


class FrechetAudioDistance(_EmbeddingSets):
    """FAD with any embedder, plain and as FAD-infinity.

    Undefined for fewer than `min_embeddings`, by default one more than dimensions: the covariance would be
    singular and the value mostly bias.
    """

    def __init__(
        self, *, infinity: bool = True, seed: int = 0, min_embeddings: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.infinity, self.seed, self.min_embeddings = infinity, seed, min_embeddings

    def compute(self) -> Distance:
        """The distance of everything added so far."""
        generated, reference = self.all_of("generated"), self.all_of("reference")
        dim, fewest = int(self.dim), min(len(generated), len(reference))
        needed = max(2, dim + 1 if self.min_embeddings is None else self.min_embeddings)
        counts = len(generated), len(reference), dim
        if fewest < needed:
            note = f"{fewest} embeddings in {dim} dimensions: undefined, mostly bias; at least {needed} needed"
            return Distance(None, None, *counts, (note,))
        notes = []
        if fewest < COMFORTABLE * dim:
            notes.append(f"{fewest} embeddings in {dim} dimensions: biased upwards, compare it with the floor")
        infinity = None
        if self.infinity and len(generated) >= 2 * smallest_fit(dim):
            infinity = frechet_infinity(generated, reference, seed=self.seed)
        elif self.infinity:
            notes.append(f"{len(generated)} generated embeddings: no FAD-infinity, which needs {2 * smallest_fit(dim)}")
        return Distance(frechet_distance(generated, reference), infinity, *counts, tuple(notes))


class FrechetAudioVisualDistance(FrechetAudioDistance):
    """FAVD (PEAVS): the Frechet distance of video and sound embeddings, concatenated; `profile` names the networks."""

    def __init__(self, profile: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.profile = profile

    def update(self, video: Tensor, sound: Tensor, *, real: bool, clip: str) -> None:  # type: ignore[override]
        """Add a clip's embeddings (N, d) of video and (M, e) of sound, paired by index, cut to the shorter list.

        Raises ValueError naming the clip for embeddings that are empty, not finite, or of another size.
        """
        count = min(len(video), len(sound))
        super().update(torch.cat([video[:count], sound[:count]], dim=1), real=real, clip=clip)


class KernelAudioDistance(_EmbeddingSets):
    """KAD with any embedder; unbiased, so a few hundred clips suffice."""

    def compute(self) -> Distance:
        """The distance of everything added so far."""
        generated, reference = self.all_of("generated"), self.all_of("reference")
        counts = len(generated), len(reference), int(self.dim)
        if min(counts[:2]) < 2:
            return Distance(None, None, *counts, (f"{min(counts[:2])} embeddings: a distance needs two in both sets",))
        few = min(counts[:2])
        notes = (f"{few} embeddings: it scatters widely, compare it with the floor",) if few < FEW else ()
        try:
            return Distance(kernel_distance(generated, reference), None, *counts, notes)
        except ValueError as error:
            return Distance(None, None, *counts, (str(error),))
