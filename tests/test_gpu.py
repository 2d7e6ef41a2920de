"""What only a GPU reaches gives what the CPU gives: networks, precisions, offloading, NCCL, the commands."""

import socket

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from foleygram import FoleyGRAMPipeline
from foleygram.alignment.losses import GramLoss
from foleygram.alignment.volume import gram_volume, volume_matrix
from foleygram.cli import app
from foleygram.distributed import all_gather, broadcast, gather
from foleygram.envelope.rms import rms_envelope
from foleygram.generation.autoencoder import decode_latents, encode_audio
from foleygram.media.audio import kaldi_fbank
from foleygram.pipeline.parts import DTYPES
from tests.pipeline.test_pipeline import seen

pytestmark = pytest.mark.gpu
GPU = "cuda"


@pytest.fixture(scope="module")
def pipelines(tiny_release):
    """The same release on the CPU and on the GPU."""
    return FoleyGRAMPipeline.from_pretrained(tiny_release), FoleyGRAMPipeline.from_pretrained(tiny_release).to(GPU)


@pytest.mark.parametrize("seconds", [0.7, 5.3])
def test_a_sound_is_the_cpus_but_for_rounding(pipelines, seconds):
    on_cpu, on_gpu = pipelines
    expected, found = (one(seen(one, seconds), prompt="wood", generator=3) for one in (on_cpu, on_gpu))
    np.testing.assert_allclose(found.envelope.values, expected.envelope.values, atol=1e-4)
    torch.testing.assert_close(found.audio.cpu(), expected.audio, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_gives_a_finite_sound_near_the_whole_ones(tiny_release, pipelines, dtype):
    half = FoleyGRAMPipeline.from_pretrained(tiny_release, DTYPES[dtype]).to(GPU)
    video = seen(half, 2.0)
    found, expected = half(video, generator=3).audio.float().cpu(), pipelines[1](video, generator=3).audio.cpu()
    assert found.isfinite().all()
    assert (found - expected).norm() < 0.3 * expected.norm()


def test_offloading_changes_no_sample_and_leaves_the_gpu_empty(tiny_release, pipelines):
    offloaded = FoleyGRAMPipeline.from_pretrained(tiny_release).enable_model_cpu_offload(GPU)
    video = seen(offloaded, 2.0)
    found = offloaded(video, generator=3).audio.cpu()
    torch.testing.assert_close(found, pipelines[1](video, generator=3).audio.cpu(), atol=1e-5, rtol=1e-4)


def test_volumes_and_losses_are_the_cpus_under_any_autocast():
    generator = torch.Generator().manual_seed(0)
    parts = [torch.nn.functional.normalize(torch.randn(40, 32, generator=generator), dim=-1) for _ in range(3)]
    results = []
    for device in ("cpu", GPU):
        leaves = [part.to(device).requires_grad_() for part in parts]
        with torch.autocast(device, torch.bfloat16):
            loss = GramLoss().to(device)(*leaves, [str(n % 30) for n in range(40)])
            volumes = volume_matrix(*leaves), gram_volume(torch.stack(leaves, 1))
        loss.backward()
        results.append([value.detach().cpu() for value in (loss, *volumes, *(leaf.grad for leaf in leaves))])
    torch.testing.assert_close(results[1], results[0], atol=1e-5, rtol=1e-4)


def test_filterbanks_envelopes_and_autoencoder_are_the_cpus(pipelines):
    """On a GPU the autoencoder takes whole batches, on a CPU rows without their silence."""
    sound = torch.randn(2, 16_384, generator=torch.Generator().manual_seed(1)) * torch.linspace(0, 1, 16_384)
    sound[1, :8_000] = 0
    results = []
    for one, device in zip(pipelines, ("cpu", GPU), strict=True):
        given = sound.to(device)
        with torch.inference_mode():
            latents = encode_audio(one.parts.vae, given[:, None])
            decoded = decode_latents(one.parts.vae, latents.mean, 16_384)
            bank = kaldi_fbank(given, 16_000, 64)
            values = [*latents, decoded, bank, rms_envelope(given, 512, 128)]
        results.append([value.cpu() for value in values])
    torch.testing.assert_close(results[1], results[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_cache_generate_and_evaluate_run_there(tiny_release, rendered, tmp_path, dtype):
    video = next(iter(sorted(rendered.rglob("*.mp4"))))
    commands = [
        ["cache", rendered, tmp_path / "cache", "--split", "train", "--checkpoint", tiny_release, "--workers", 0,
         "--fields", "latents,control_latents,embeddings", "--spec", tiny_release / "model_index.json"],
        ["generate", video, "--checkpoint", tiny_release, "--out", tmp_path / "out"],
        ["evaluate", "--checkpoint", tiny_release, "--data", rendered, "--no-controls", "--conditions", "v",
         "--metrics", "onsets,envelope", "--steps", 2, "--out", tmp_path / "scores.json"],
    ]  # fmt: skip
    for command in commands:
        ran = CliRunner().invoke(app, [*map(str, command), "--device", GPU, "--dtype", dtype])
        assert ran.exit_code == 0, ran.output


def test_processes_exchange_values_over_nccl():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.distributed.init_process_group("nccl", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    value = {"embeddings": torch.arange(3.0), "captions": ["a", "b", "c"]}
    for found in (broadcast(value), *all_gather(value), *gather(value)):
        assert found["captions"] == value["captions"] and torch.equal(found["embeddings"].cpu(), value["embeddings"])


def test_the_doctor_names_the_gpu():
    ran = CliRunner().invoke(app, ["doctor"])
    assert ran.exit_code == 0 and torch.cuda.get_device_name() in " ".join(ran.output.split())
