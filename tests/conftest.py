"""A whole release with tiny random networks, and rendered videos, for tests that run the real entry points."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before librosa is imported: two workers that compile its kernels into one cache damage it, and every later process
# that loads them crashes. Each worker therefore compiles into a folder of its own.
os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="numba-")

import hypothesis
import pytest
import torch
from diffusers import AutoencoderOobleck, StableAudioDiTModel, StableAudioProjectionModel

from foleygram.alignment.encoders import AudioEncoder, TextEncoder, VideoEncoder, train_wordpiece
from foleygram.envelope.predictor import EnvelopePredictor
from foleygram.generation.controlnet import EnvelopeControlNet
from foleygram.generation.model import SemanticProjectors
from foleygram.generation.sampling import SamplerSettings
from foleygram.pipeline.parts import Parts
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.spec import ClipSpec
from foleygram.synthetic.drumstick.render import render_dataset

# A busy machine is no failure: what a property takes is seen by --durations.
hypothesis.settings.register_profile("foleygram", deadline=None)
hypothesis.settings.load_profile("foleygram")

TINY_SPEC = ClipSpec(
    seconds=2.0, sample_rate=16_000, audio_channels=1, latent_hop=512, num_frames=2, image_size=16, motion_size=32
)

TINY_SAMPLER = SamplerSettings(num_inference_steps=3, guidance_scale=2.0)


def tiny_parts() -> dict:
    """Every part of a release with random weights, the ControlNet's zero convolutions made to matter."""
    torch.manual_seed(0)
    transformer = StableAudioDiTModel(
        in_channels=4, out_channels=4, num_layers=2, attention_head_dim=64, num_attention_heads=1,
        num_key_value_attention_heads=1, cross_attention_dim=8, time_proj_dim=16, global_states_input_dim=16,
        cross_attention_input_dim=8,
    )  # fmt: skip
    controlnet = EnvelopeControlNet.from_transformer(transformer, 0.5)
    for convolution in (controlnet.control_in, *controlnet.control_out):
        torch.nn.init.normal_(convolution.weight, std=0.3)
    return {
        "video_encoder": VideoEncoder.build(8, 16, 8, 16, 16, 1, 2),
        "text_encoder": TextEncoder.build(8, 80, 16, 16, 1, 2),
        "tokenizer": train_wordpiece(["A person hits wood with a wooden stick."], vocab_size=80),
        "audio_encoder": AudioEncoder.build(8, 64, 208, 16, 16, 16, 1, 2, 4, 2),
        "projectors": SemanticProjectors(embedding_dim=8, cross_attention_input_dim=8),
        "controlnet": controlnet,
        "envelope_predictor": EnvelopePredictor.build(
            motion_size=32, map_widths=[4, 4, 8], num_blocks=1, num_keypoints=2, value_width=2, hidden_size=8,
            lstm_size=4, head_width=8, window_sec=2.0,
        ),
        "vae": AutoencoderOobleck(
            encoder_hidden_size=8, downsampling_ratios=[8, 8, 8], channel_multiples=[1, 1, 1], decoder_channels=4,
            decoder_input_channels=4, audio_channels=1, sampling_rate=16_000,
        ),
        "transformer": transformer,
        "projection_model": StableAudioProjectionModel(8, 8, 0, 64),
    }  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what needs a GPU or published weights where there are none."""
    reasons = {}
    if not torch.cuda.is_available():
        reasons["gpu"] = "no CUDA device"
    if not os.environ.get("FOLEYGRAM_WEIGHTS"):
        reasons["weights"] = "FOLEYGRAM_WEIGHTS does not name a folder of published weights (docs/weights.md)"
    for item in items:
        for name, reason in reasons.items():
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


LENT: dict[Path, dict[str, tuple[int, int]]] = {}


def written(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below `folder`."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.fixture(autouse=True)
def _as_found() -> Iterator[None]:
    """Gives every test the environment of the first (a trainer of several processes leaves its rank, port and group),
    and fails the one that writes into a folder shared by all: what later tests find would depend on their order."""
    environment = dict(os.environ)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    for folder, before in LENT.items():
        after = LENT[folder] = written(folder)
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        assert not changed, f"this test wrote into the shared {folder}: {changed}; work on a copy"


@pytest.fixture(scope="session")
def tiny_release(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "tiny"
    FoleyGRAMPipeline(Parts(**tiny_parts()), TINY_SPEC, TINY_SAMPLER).save_pretrained(folder)
    LENT[folder] = written(folder)
    return folder


@pytest.fixture(scope="session")
def rendered(tmp_path_factory) -> Path:
    """Four short rendered videos, two of them in test.txt."""
    folder = tmp_path_factory.mktemp("rendered") / "videos"
    render_dataset(folder, num_videos=4, seed=3, seconds=(2.0, 3.0), test_share=0.5, num_workers=1, progress=False)
    LENT[folder] = written(folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, the system's own; where it or its driver is missing, the test is skipped and says so.

    One per test file: after the editor's pages, a reload in the same browser lost what the page had kept.
    """
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is missing: install foleygram[dev]")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine: install the package `chromium`")
    with driver.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()
