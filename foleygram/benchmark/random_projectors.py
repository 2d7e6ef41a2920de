"""Random projectors in place of a release's: a baseline that shows what training them contributes."""

from dataclasses import replace

import torch

from foleygram.generation.model import MODALITIES, SemanticProjectors
from foleygram.pipeline.pipeline import FoleyGRAMPipeline


def randomly_projected(pipeline: FoleyGRAMPipeline, *, seed: int) -> FoleyGRAMPipeline:
    """The pipeline with random projectors, drawn from `seed` with the mean and deviation of the learned ones.

    All else is shared. Tokens keep their scale, so what is lost is what was learned and not loudness of tokens.
    """
    learned = pipeline.parts.projectors
    random = SemanticProjectors.from_config(learned.config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for modality in MODALITIES:
            pairs = zip(
                random.projectors[modality].parameters(), learned.projectors[modality].parameters(), strict=True
            )
            for fresh, trained in pairs:
                values = torch.randn(trained.shape, generator=generator)
                fresh.copy_(values * trained.float().cpu().std() + trained.float().cpu().mean())
    parts = replace(pipeline.parts, projectors=random.to(next(learned.parameters()).dtype))
    return FoleyGRAMPipeline(parts, pipeline.spec, pipeline.sampler).to(pipeline.device)
