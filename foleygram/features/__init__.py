"""Features for stage 2: computed from media by frozen networks, cached by a writer."""

from foleygram.features.encoder import FeatureEncoder

__all__ = ["FeatureEncoder"]
