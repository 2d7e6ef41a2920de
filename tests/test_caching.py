"""A cache names every network it was made with, so that a retrained one is never served old features."""

from foleygram.caching import FeatureEncoder


def test_identity_covers_every_network(tiny_release):
    encoder = FeatureEncoder(tiny_release, None, ("latents", "control_latents", "embeddings"))
    parts = {name.split("/")[0] for name in encoder.identity}
    assert parts == {"vae", "envelope_predictor", "video_encoder", "text_encoder", "audio_encoder"}
