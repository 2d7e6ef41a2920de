"""The pipeline on tiny random networks: lengths, seeds, windows, conditions; release folders and what damages them."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderOobleck
from huggingface_hub import constants

from foleygram import Envelope, FoleyGRAMPipeline
from foleygram.evaluation.envelopes import clip_envelope, envelope_correlation, envelope_l1
from foleygram.generation.autoencoder import decode_latents
from foleygram.generation.controlnet import controlled_forward
from foleygram.generation.sampling import SOLVERS, ClipNoise, SamplerSettings
from foleygram.generation.sampling import exponential_sigmas as few
from foleygram.media.audio import read_audio
from foleygram.media.video import probe
from foleygram.pipeline.pipeline import BatchPlaceholder
from foleygram.pipeline.release import load_release, read_index, sampler_of
from foleygram.pipeline.request import (
    ModalityWeights,
    Segment,
    SoundRequest,
    VideoInput,
    read_video,
    total_latents,
    window_seconds,
)
from tests.conftest import TINY_SAMPLER
from tests.hub import running_hub


@pytest.fixture(scope="module")
def pipeline(tiny_release):
    return FoleyGRAMPipeline.from_pretrained(tiny_release)


def seen(pipeline, seconds):
    spec, generator = pipeline.spec, torch.Generator().manual_seed(0)
    windows = len(window_seconds(seconds, spec))
    frames = round(max(seconds, spec.seconds) * spec.motion_frame_rate)
    motion = torch.randint(0, 256, (frames, 3, 32, 32), generator=generator, dtype=torch.uint8)
    shown = torch.randint(0, 256, (windows, 2, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return VideoInput(seconds, shown, motion, torch.zeros(frames))


@pytest.mark.parametrize("seconds", [0.7, 2.0, 2.0001, 7.3])
def test_output_is_as_long_as_the_video_to_the_sample(pipeline, seconds):
    output = pipeline(seen(pipeline, seconds), num_inference_steps=2)
    assert output.audio.shape == (1, round(seconds * 16_000)) and output.sample_rate == 16_000
    assert torch.isfinite(output.audio).all()
    assert output.envelope.seconds == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize(("prompt", "present"), [(None, ("video",)), ("wood", ("video", "text"))])
def test_clips_of_a_data_set_sound_as_videos_of_their_length_do(pipeline, prompt, present):
    video = seen(pipeline, 2.0)
    batch = {"frames": video.frames, "motion": video.motion[None], "motion_ages": video.motion_ages[None]}
    batch |= {"caption": [prompt or "metal"], "envelope_audio": torch.rand(1, 32_000)}
    found = pipeline.generate_clips(batch, envelopes="predicted", present=present, seeds=[3], num_inference_steps=3)
    expected = pipeline(video, prompt=prompt, generator=3, num_inference_steps=3).audio
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-3)


def test_sampling_begins_with_the_seeds_noise_at_the_largest_level(pipeline, monkeypatch):
    given = []
    spy = lambda denoise, latents, sigmas, noise: given.append((latents, sigmas)) or latents  # noqa: E731
    monkeypatch.setitem(SOLVERS, "spy", spy)
    pipeline(seen(pipeline, 2.0), solver="spy", generator=4, num_inference_steps=5)
    [(latents, sigmas)] = given
    assert torch.equal(latents, ClipNoise([4])(torch.empty(1, 4, 63)) * 80.0)
    assert len(sigmas) == 6 and sigmas[[0, 4, 5]].tolist() == pytest.approx([80.0, 0.05, 0.0])


def test_arguments_override_the_sampler_settings_of_a_release(pipeline, tmp_path):
    own = SamplerSettings(2, 1.5, "ping_pong", 0.2, 40.0)
    FoleyGRAMPipeline(pipeline.parts, pipeline.spec, own).save_pretrained(tmp_path / "few")
    few_steps, video = FoleyGRAMPipeline.from_pretrained(tmp_path / "few"), seen(pipeline, 2.0)
    assert few_steps.sampler == own and pipeline.sampler == TINY_SAMPLER
    steps: list[int] = []
    sound = few_steps(video, callback=steps.append).audio
    assert steps == [1, 2]
    spelled = {"num_inference_steps": 2, "guidance_scale": 1.5, "solver": "ping_pong"}
    assert torch.equal(sound, few_steps(video, **spelled).audio)
    theirs = {"num_inference_steps": 3, "guidance_scale": 2.0, "solver": "dpmpp_2m"}
    same_range = FoleyGRAMPipeline(pipeline.parts, pipeline.spec, replace(own, sigma_min=0.05, sigma_max=80.0))
    assert torch.equal(same_range(video, **theirs).audio, pipeline(video).audio)


def test_projected_guidance_is_an_option_of_call_and_release(pipeline):
    """With guidance it changes the sound, by as much as is asked for; without guidance there is nothing to project."""
    video = seen(pipeline, 2.0)
    plain, half, full = (pipeline(video, apg_scale=scale).audio for scale in (None, 0.5, 1.0))
    assert torch.equal(plain, pipeline(video, apg_scale=0.0).audio)
    assert 0 < (half - plain).norm() < (full - plain).norm()
    projecting = FoleyGRAMPipeline(pipeline.parts, pipeline.spec, replace(TINY_SAMPLER, apg_scale=1.0))
    assert torch.equal(projecting(video).audio, full)
    unguided = (pipeline(video, guidance_scale=1, apg_scale=scale).audio for scale in (0.0, 1.0))
    assert torch.equal(*unguided)
    with pytest.raises(ValueError, match=r"APG scale 1.5: give a number from 0 \(plain guidance\) to 1"):
        pipeline(video, apg_scale=1.5)
    with pytest.raises(TypeError, match="apg_scale is 'full'"):
        pipeline(video, apg_scale="full")


def test_a_release_of_an_earlier_version_keeps_its_noise_levels(tiny_release, tmp_path):
    folder = shutil.copytree(tiny_release, tmp_path / "earlier")
    index = json.loads((folder / "model_index.json").read_text())
    del index["sampler"]
    (folder / "model_index.json").write_text(json.dumps(index | {"sigma_min": 0.3, "sigma_max": 500.0}))
    expected = SamplerSettings(25, 5.0, "dpmpp_2m", 0.3, 500.0)
    assert FoleyGRAMPipeline.from_pretrained(folder).sampler == sampler_of(folder) == expected


def test_same_seed_same_sound_other_seed_another(pipeline):
    video = seen(pipeline, 2.0)
    first, again, other = (pipeline(video, num_inference_steps=2, generator=s).audio for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_seed_is_any_integer_or_drawn_from_a_generator(pipeline):
    video, generator = seen(pipeline, 2.0), torch.Generator().manual_seed(0)
    first, other = (pipeline(video, num_inference_steps=2, generator=generator).audio for _ in range(2))
    again = pipeline(video, num_inference_steps=2, generator=torch.Generator().manual_seed(0)).audio
    assert torch.equal(first, again) and not torch.equal(first, other)
    one, same = (pipeline(video, num_inference_steps=2, generator=seed).audio for seed in (3, np.int64(3)))
    assert torch.equal(one, same)
    for wrong in (3.5, [generator]):
        with pytest.raises(TypeError, match="integer"):
            pipeline(video, num_inference_steps=2, generator=wrong)


def test_every_condition_matters(pipeline):
    video = seen(pipeline, 2.0)
    plain = pipeline(video).audio
    loud = Envelope(0.5 * torch.ones(251).numpy(), 125.0)
    changes = {
        "prompt": {"prompt": "A person hits wood."},
        "negative_prompt": {"negative_prompt": "A person hits wood."},
        "reference": {"reference_audio": torch.randn(16_000, generator=torch.Generator().manual_seed(0))},
        "envelope": {"envelope": loud},
        "guidance": {"guidance_scale": 5.0},
        "control": {"controlnet_conditioning_scale": 0.0},
        "solver": {"solver": "dpmpp_3m_sde"},
        "steps": {"num_inference_steps": 2},
        "weights": {"weights": ModalityWeights(video=0.5)},
        "segments": {"segments": [Segment(0.5, 1.5, prompt="A person hits wood.")]},
    }
    for name, change in changes.items():
        assert not torch.equal(pipeline(video, **change).audio, plain), name


def test_offloading_keeps_one_step_on_the_device_and_changes_no_sample(tiny_release, monkeypatch):
    pipeline = FoleyGRAMPipeline.from_pretrained(tiny_release)
    video, options = seen(pipeline, 2.0), {"num_inference_steps": 2, "prompt": "A person hits wood."}
    whole = pipeline(video, **options).audio
    names = {id(part): name for name, part in pipeline.parts.present().items()}
    there, most = set(), []
    move = torch.nn.Module.to

    def recorded(part, device):
        if id(part) in names:
            (there.discard if device == "cpu" else there.add)(names[id(part)])
            most.append(frozenset(there))
        return move(part, device)

    pipeline.enable_model_cpu_offload(torch.device("cpu"))  # not the string "cpu" that parts are sent back to
    monkeypatch.setattr(torch.nn.Module, "to", recorded)
    assert torch.equal(pipeline(video, **options).audio, whole)
    assert {frozenset({"vae"}), frozenset({"envelope_predictor"}), frozenset({"transformer", "controlnet"})} <= set(
        most
    )
    assert max(map(len, most)) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sounds_alike_and_keeps_times_and_solver_precise(monkeypatch, dtype):
    steered, (video, *_) = [], sorted(Path("data/examples").glob("*.mp4"))

    def recorded(network, latents, timestep, *rest):
        steered.append((latents.dtype, timestep.dtype, timestep[0].item()))
        return controlled_forward(network, latents, timestep, *rest)

    monkeypatch.setattr("foleygram.generation.model.controlled_forward", recorded)
    outputs = []
    for precision in (torch.float32, dtype):
        pipeline = FoleyGRAMPipeline.from_pretrained("checkpoints/mini", torch_dtype=precision)
        outputs.append(pipeline(video, "A person hits wood.", reference_audio=torch.ones(9), num_inference_steps=3))
    whole, half = outputs
    assert [kind for kind, *_ in steered] == [torch.float32] * 3 + [dtype] * 3
    assert [times for _, *times in steered[:3]] == [times for _, *times in steered[3:]]
    assert all(kind == torch.float32 for _, kind, _ in steered)
    assert (whole.envelope.values == half.envelope.values).all()
    assert half.audio.dtype == torch.float32 and not torch.equal(whole.audio, half.audio)
    rows = [clip_envelope(output.audio, output.sample_rate) for output in outputs]
    assert envelope_correlation(*reversed(rows)) > 0.999
    assert envelope_l1(*rows) < 0.1 * rows[0].mean()


def test_a_pipeline_is_brought_to_a_dtype_or_loaded_in_it(tiny_release, pipeline):
    video = seen(pipeline, 2.0)
    loaded = FoleyGRAMPipeline.from_pretrained(tiny_release, torch_dtype=torch.bfloat16)
    brought = FoleyGRAMPipeline.from_pretrained(tiny_release).to("cpu", torch.bfloat16)
    for one in (loaded, brought.to("cpu")):  # moving alone changes no precision
        kinds = {name: next(part.parameters()).dtype for name, part in one.parts.networks().items()}
        assert kinds == dict.fromkeys(kinds, torch.bfloat16) | {"envelope_predictor": torch.float32}
    options = {"num_inference_steps": 2, "prompt": "wood", "negative_prompt": "metal"}
    first, again = (one(video, **options).audio for one in (loaded, brought.enable_model_cpu_offload("cpu")))
    assert torch.equal(first, again) and torch.isfinite(first).all()


@pytest.mark.parametrize("offloaded", [False, True])
def test_a_pipeline_that_cannot_be_moved_stays_usable(tiny_release, offloaded):
    pipeline = FoleyGRAMPipeline.from_pretrained(tiny_release)
    if offloaded:
        pipeline.enable_model_cpu_offload("cpu")
    video, options = seen(pipeline, 2.0), {"num_inference_steps": 2}
    before = pipeline(video, **options).audio
    with pytest.raises((RuntimeError, AssertionError, NotImplementedError)):
        pipeline.to("cuda:99" if not torch.cuda.is_available() else "xla")
    with pytest.raises(TypeError, match=r"device is 3.5 \(float\): give a name such as cpu"):
        pipeline.to(3.5)
    assert pipeline.device == torch.device("cpu")
    assert torch.equal(pipeline(video, **options).audio, before)


def test_windows_cover_a_long_video(pipeline):
    starts = window_seconds(7.3, pipeline.spec)
    assert starts[0] == 0 and starts == sorted(starts)
    assert starts[-1] + pipeline.spec.num_latents * 512 / 16_000 == pytest.approx(
        total_latents(7.3, pipeline.spec) * 512 / 16_000
    )


def test_chunked_decoding_equals_whole_decoding(pipeline):
    latents = torch.randn(1, 4, 9 * pipeline.spec.num_latents, generator=torch.Generator().manual_seed(0))
    count = latents.shape[-1] * 512
    with torch.inference_mode():
        whole = pipeline.parts.vae.decode(latents).sample
        torch.testing.assert_close(decode_latents(pipeline.parts.vae, latents, count), whole, atol=1e-5, rtol=1e-4)


def test_a_clip_in_a_batch_sounds_as_it_does_alone(pipeline, rendered):
    spec, generator = pipeline.spec, torch.Generator().manual_seed(0)
    batch = {
        "frames": torch.randint(0, 256, (3, 2, 3, 16, 16), generator=generator, dtype=torch.uint8),
        "motion": torch.randint(0, 256, (3, 60, 3, 32, 32), generator=generator, dtype=torch.uint8),
        "motion_ages": torch.zeros(3, 60),
    }
    envelopes = torch.rand(3, spec.num_envelope_values, generator=generator) * 0.2
    together = pipeline.generate_clips(batch, envelopes=envelopes, seeds=[5, 6, 7], num_inference_steps=3)
    one = {key: value[1:2] for key, value in batch.items()}
    alone = pipeline.generate_clips(one, envelopes=envelopes[1:2], seeds=[6], num_inference_steps=3)
    assert together.shape == (3, 1, 32_000)
    torch.testing.assert_close(together[1], alone[0], atol=1e-4, rtol=1e-3)


def requests(pipeline):
    return [
        SoundRequest(seen(pipeline, 2.0), 5, prompt="A person hits wood."),
        SoundRequest(seen(pipeline, 4.3), 6, segments=(Segment(1.0, 2.0, prompt="wood"),)),
        SoundRequest(seen(pipeline, 0.7), 7, negative_prompt="metal"),
    ]


def extent(pipeline, request):
    return BatchPlaceholder(total_latents(request.video.seconds, pipeline.spec), len(request.windows(pipeline.spec)))


def test_clips_of_any_length_in_a_batch_sound_as_they_do_alone(pipeline):
    together = pipeline.generate(requests(pipeline), num_inference_steps=3)
    for request, output in zip(requests(pipeline), together, strict=True):
        (alone,) = pipeline.generate([request], num_inference_steps=3)
        assert output.audio.shape == (1, round(request.video.seconds * 16_000))
        torch.testing.assert_close(output.audio, alone.audio, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_clip_done_again_in_its_place_has_the_same_bytes(pipeline, kept):
    whole = requests(pipeline)
    rest = [request if slot == kept else extent(pipeline, request) for slot, request in enumerate(whole)]
    (again,) = pipeline.generate(rest, num_inference_steps=3)
    assert torch.equal(again.audio, pipeline.generate(whole, num_inference_steps=3)[kept].audio)


def test_a_batch_of_nothing_is_refused(pipeline):
    with pytest.raises(ValueError, match="at least one"):
        pipeline.generate([BatchPlaceholder(63, 1)])


def test_a_modality_of_weight_zero_is_absent(pipeline):
    video, options = seen(pipeline, 2.0), {"num_inference_steps": 2}
    mute = pipeline(video, "wood", weights=ModalityWeights(text=0), **options).audio
    assert torch.equal(mute, pipeline(video, **options).audio)


def test_a_segment_changes_the_sound_within_itself_most(pipeline):
    video, options = seen(pipeline, 8.0), {"guidance_scale": 5.0, "controlnet_conditioning_scale": 0.0}
    plain = pipeline(video, **options).audio[0]
    other = pipeline(video, segments=[Segment(5.0, 8.0, prompt="wood")], **options).audio[0]
    change = (other - plain).abs()
    assert change[: 3 * 16_000].max() < 1e-5  # no window reaches from the segment to here
    assert change[5 * 16_000 :].mean() > 1e-4


@pytest.mark.parametrize(
    "segments", [[Segment(1, 1)], [Segment(-1, 1)], [Segment(3, 4)], [Segment(0, 1.5), Segment(1, 2)]]
)
def test_segments_that_make_no_sense_are_refused(pipeline, segments):
    with pytest.raises(ValueError, match="segment"):
        pipeline(seen(pipeline, 2.0), segments=segments, num_inference_steps=1)


@pytest.mark.parametrize("seconds", [0.01, 0.5, 2.0, 9.0])
def test_a_reference_may_have_any_length(pipeline, seconds):
    sound = torch.randn(round(seconds * 16_000), generator=torch.Generator().manual_seed(0))
    embedded = pipeline.encoder._embed_reference(sound)
    assert embedded.shape == (1, 8) and embedded.norm() == pytest.approx(1, abs=1e-5)
    if seconds == 0.5:  # repeated: the same as four of it
        torch.testing.assert_close(embedded, pipeline.encoder._embed_reference(sound.repeat(4)))
    for same in (sound.numpy(), sound.double(), torch.stack([0.5 * sound, 1.5 * sound])):
        torch.testing.assert_close(embedded, pipeline.encoder._embed_reference(same))
    for odd in (sound[:0], sound.view(1, 1, -1), torch.full((9,), torch.nan)):
        with pytest.raises(ValueError, match="give finite samples"):
            pipeline.encoder._embed_reference(odd)


def test_reads_a_rendered_video(pipeline, rendered):
    video = read_video(next(iter(sorted(rendered.glob("*.mp4")))), pipeline.spec)
    assert 1.9 < video.seconds < 3.1
    assert video.frames.shape[1:] == (2, 3, 16, 16) and video.motion.shape[1:] == (3, 32, 32)


@pytest.mark.parametrize("given", [str, Path])
def test_the_videos_own_sound_may_steer(pipeline, rendered, given):
    video = sorted(rendered.glob("*.mp4"))[0]
    output = pipeline(given(video), envelope="audio", num_inference_steps=2)
    own = Envelope.from_audio(read_audio(video, sample_rate=16_000), 16_000)
    assert (output.envelope.values == own.values).all() and output.envelope.rate == own.rate == 125.0
    same = pipeline(video, envelope=own, num_inference_steps=2).audio
    assert torch.equal(output.audio, same) and not torch.equal(same, pipeline(video, num_inference_steps=2).audio)


@pytest.mark.parametrize("word", ["drawn", "audio"])
def test_an_unknown_envelope_is_refused(pipeline, word):
    with pytest.raises(ValueError, match="give 'predicted'"):
        pipeline(seen(pipeline, 2.0), envelope=word)


def test_saved_again_it_is_the_same(pipeline, tmp_path):
    seen_videos, licences = {"data": "a cache", "video_ids": ["v1"]}, {"vae": "its own"}
    FoleyGRAMPipeline(pipeline.parts, pipeline.spec, pipeline.sampler, licences, seen_videos).save_pretrained(
        tmp_path / "first"
    )
    FoleyGRAMPipeline.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "again")
    index = read_index(tmp_path / "again")
    assert index == read_index(tmp_path / "first")
    assert index["trained_on"] == seen_videos and index["parts"]["vae"]["licence"] == "its own"
    assert not [path for path in (tmp_path / "again").rglob("*.json") if str(tmp_path) in path.read_text()]
    video = seen(pipeline, 2.0)
    again = FoleyGRAMPipeline.from_pretrained(tmp_path / "again")
    assert torch.equal(again(video, num_inference_steps=2).audio, pipeline(video, num_inference_steps=2).audio)


def test_a_release_on_the_hub_is_the_same(tiny_release, pipeline, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with running_hub(monkeypatch) as hub:
        files = [path for path in tiny_release.rglob("*") if path.is_file()]
        hub.files = {path.relative_to(tiny_release).as_posix(): path.read_bytes() for path in files}
        hub.files["README.md"] = b"of no use here"
        fetched = FoleyGRAMPipeline.from_pretrained("owner/release")
        hub.refusal = "absent"
        with pytest.raises(FileNotFoundError, match="the hub has no owner/other"):
            FoleyGRAMPipeline.from_pretrained("owner/other")
    options = {"num_inference_steps": 2, "prompt": "wood"}
    assert torch.equal(*(one(seen(pipeline, 2.0), **options).audio for one in (fetched, pipeline)))
    assert not [*(tmp_path / "cache").rglob("README.md")]


def test_a_stereo_backbone_at_44_1_khz_gives_stereo_to_the_sample(pipeline, rendered):
    vae = AutoencoderOobleck(
        encoder_hidden_size=8, downsampling_ratios=[4, 4, 8, 16], channel_multiples=[1] * 4, decoder_channels=4,
        decoder_input_channels=4, audio_channels=2, sampling_rate=44_100,
    )  # fmt: skip
    spec = replace(pipeline.spec, sample_rate=44_100, audio_channels=2, latent_hop=2048)
    stereo = FoleyGRAMPipeline(replace(pipeline.parts, vae=vae), spec, pipeline.sampler)
    video = sorted(rendered.glob("*.mp4"))[0]
    output = stereo(video, envelope="audio", num_inference_steps=1)
    assert output.audio.shape == (2, round(probe(video).duration_sec * 44_100)) and output.sample_rate == 44_100
    assert not torch.equal(*output.audio) and output.audio.isfinite().all()


def test_the_python_of_the_production_page_runs(monkeypatch):
    monkeypatch.setattr("foleygram.generation.sampling.exponential_sigmas", lambda _, **levels: few(1, **levels))
    (code,) = re.findall(r"```python\n(.*?)```", Path("docs/production.md").read_text(), re.S)
    names: dict = {}
    exec(code, names)
    plain, own, shifted = (names[name] for name in ("plain", "own", "shifted"))
    assert plain.audio.shape == own.audio.shape == shifted.audio.shape and shifted.sample_rate == 16_000
    assert len({tuple(one.envelope.values[:300]) for one in (plain, own, shifted)}) == 3


def damage_missing(folder):
    shutil.rmtree(folder / "vae")


def damage_bytes(folder):
    path = folder / "controlnet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def damage_index(folder):
    (folder / "model_index.json").write_text("{")


def damage_spec(folder):
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    index["spec"]["seconds"] = -1
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "named"),
    [(damage_missing, "vae"), (damage_bytes, "controlnet"), (damage_index, "model_index"), (damage_spec, "seconds")],
)
def test_a_damaged_release_is_refused_by_name(tiny_release, tmp_path, damage, named):
    folder = shutil.copytree(tiny_release, tmp_path / "damaged")
    damage(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=named):
        load_release(folder)


def test_no_release_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a release folder"):
        FoleyGRAMPipeline.from_pretrained(tmp_path)
