"""Rendered videos with sound, for training and evaluation; the core does not import this package."""
