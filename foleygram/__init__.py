"""foleygram: silent video in, synchronised Foley sound out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foleygram.envelope.envelope import Envelope
    from foleygram.pipeline.pipeline import FoleyGRAMPipeline

__all__ = ["Envelope", "FoleyGRAMPipeline"]


def __getattr__(name: str) -> Any:
    # Lazily, so that `foleygram --help` does not wait for torch.
    if name == "FoleyGRAMPipeline":
        from foleygram.pipeline.pipeline import FoleyGRAMPipeline

        return FoleyGRAMPipeline
    if name == "Envelope":
        from foleygram.envelope.envelope import Envelope

        return Envelope
    raise AttributeError(f"module 'foleygram' has no attribute {name!r}")
