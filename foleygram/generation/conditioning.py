"""The path by which releases and YAMLs name the projectors' class."""

from foleygram.generation.model import SemanticProjectors

__all__ = ["SemanticProjectors"]
