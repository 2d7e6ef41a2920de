import pytest
import torch

from foleygram.benchmark.silence import PROMPTS, insertion_hallucination
from foleygram.pipeline.pipeline import FoleyGRAMPipeline, FoleyOutput


@pytest.fixture(scope="module")
def pipeline(tiny_release):
    return FoleyGRAMPipeline.from_pretrained(tiny_release)


def counted(pipeline, num_seeds, **options):
    frame = torch.full((3, pipeline.spec.image_size, pipeline.spec.image_size), 90, dtype=torch.uint8)
    return insertion_hallucination(
        pipeline, frame, torch.randn(16_000), options=options, num_seeds=num_seeds, batch_size=5
    )


def test_every_prompt_with_and_without_a_reference_under_a_zero_envelope_and_every_seed(pipeline, monkeypatch):
    requests = []

    def generate(batch, **options):
        assert options == {"num_inference_steps": 2}
        requests.extend(one.request for one in batch)
        assert all(not one.envelope.values.any() for one in batch)
        # One clip of each kind peaks at -40 dBFS, which is audible, the others at -60.
        levels = [0.01 if one.request.seed == 1 else 0.001 for one in batch]
        sounds = [torch.tensor([[0.0, -level]]) for level in levels]
        return [FoleyOutput(sound, 16_000, one.envelope) for one, sound in zip(batch, sounds, strict=True)]

    monkeypatch.setattr(pipeline, "generate", generate)
    finding = counted(pipeline, 3, num_inference_steps=2)
    assert len(requests) == len(PROMPTS) * 2 * 3
    asked = {(one.prompt, one.reference_audio is not None, one.seed) for one in requests}
    assert asked == {(prompt, heard, seed) for prompt in PROMPTS for heard in (False, True) for seed in range(3)}
    assert finding.metrics["audible_share"] == pytest.approx(1 / 3)
    assert finding.metrics["loudest_dbfs"] == pytest.approx(-40, abs=1e-3)
    assert [row[2] for row in finding.rows] == ["1"] * 12


def test_digital_silence_is_silent(pipeline, monkeypatch):
    monkeypatch.setattr(
        pipeline, "generate", lambda batch, **_: [FoleyOutput(torch.zeros(1, 8), 16_000, one.envelope) for one in batch]
    )
    assert counted(pipeline, 1).metrics["audible_share"] == 0


def test_the_tiny_release_runs_through(pipeline):
    metrics = counted(pipeline, 1, num_inference_steps=1).metrics
    assert metrics["num_clips"] == 12 and 0 <= metrics["audible_share"] <= 1
