"""The published weights themselves: they load strictly and do what they are known to do.

Run where files lie as docs/weights.md says, in the folder that FOLEYGRAM_WEIGHTS names; a test whose files are not
there is skipped and says so.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, interpolate

from foleygram.alignment.encoders import load_tokenizer
from foleygram.alignment.pretrained import (
    audio_encoder_from_beats,
    load_gram_checkpoint,
    text_encoder_from_bert,
    video_encoder_from_eva,
)
from foleygram.envelope.rms import rms_envelope
from foleygram.evaluation.networks.i3d import I3D
from foleygram.evaluation.networks.laion_clap import LaionClap
from foleygram.evaluation.networks.microsoft_clap import MicrosoftClap
from foleygram.evaluation.networks.pwc import PWCNet
from foleygram.evaluation.networks.vggish import VGGish
from foleygram.generation.autoencoder import decode_latents, encode_audio
from foleygram.generation.backbone import load_backbone
from foleygram.media.audio import read_audio

pytestmark = pytest.mark.weights
EXAMPLE = next(iter(sorted((Path(__file__).parents[1] / "data" / "examples").glob("*.mp4"))))


def published(pattern: str) -> Path:
    """The first file or folder of that name among the published weights; skips the test where there is none."""
    folder = Path(os.environ["FOLEYGRAM_WEIGHTS"])
    found = sorted(folder.glob(pattern))
    if not found:
        pytest.skip(f"{folder} has no {pattern}: docs/weights.md says where it is from")
    return found[0]


def noise_and_tone(rate: int, seconds: float) -> torch.Tensor:
    """White noise, and a tone of 1 kHz: (2, samples)."""
    count = round(rate * seconds)
    noise = 0.1 * torch.randn(count, generator=torch.Generator().manual_seed(0))
    return torch.stack([noise, 0.2 * torch.sin(2 * torch.pi * 1000 / rate * torch.arange(count))])


@pytest.mark.parametrize("name", ["laion-clap", "microsoft-clap"])
def test_clap_tells_noise_from_a_tone(name):
    if name == "laion-clap":
        network = LaionClap.from_pretrained(published(name))
    else:
        path, tokenizer = published(f"{name}/CLAP_weights_2023.pth"), published("gpt2-tokenizer")
        network = MicrosoftClap.from_weights(path, tokenizer=tokenizer)
    sounds = network(noise_and_tone(network.sample_rate, network.window_sec))
    texts = network.embed_text(["white noise, static", "a single pure tone, a beep"])
    scores = cosine_similarity(sounds[:, None], texts[None], dim=-1)
    assert scores[0, 0] > scores[0, 1] and scores[1, 1] > scores[1, 0], scores


def test_vggish_embeds_windows():
    network = VGGish.from_weights(published("vggish-*.pth"))
    rows = network(noise_and_tone(16_000, 0.975))
    assert rows.shape == (2, 128) and rows.isfinite().all() and (rows[0] - rows[1]).norm() > 0


def test_pwc_net_measures_a_shift_in_pixels():
    texture = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    wide = interpolate(texture, scale_factor=8, mode="bicubic").clamp(0, 1)[0] * 255
    frames = torch.stack([wide[:, :, 16:272], wide[:, :, 11:267]])  # what is shown moves 5 pixels to the right
    flow = PWCNet.from_weights(published("pwc_net_sintel.pt"))(frames)[0][:, 32:-32, 32:-32]
    assert flow[0].median() == pytest.approx(5, abs=0.5) and flow[1].median() == pytest.approx(0, abs=0.5)


def test_i3d_tells_a_moving_picture_from_a_still_one():
    paths = published("i3d_rgb.pt"), published("i3d_flow.pt"), published("pwc_net_sintel.pt")
    network = I3D.from_weights(paths[0], flow_path=paths[1], estimator=PWCNet.from_weights(paths[2]))
    wide = torch.randint(256, (3, 256, 400), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    still = wide[None, :, :, :256].expand(25, -1, -1, -1)
    moving = torch.stack([wide[:, :, 4 * step : 4 * step + 256] for step in range(25)])
    rows = network(torch.stack([still, moving]))
    assert rows.shape == (2, 1024) and rows.isfinite().all() and (rows[0] - rows[1]).norm() > 0.1 * rows[0].norm()


def test_bert_and_its_tokenizer():
    folder = published("bert-base")
    encoder = text_encoder_from_bert(str(folder)).eval()
    tokens = load_tokenizer(str(folder))(["A person hits wood with a stick."], return_tensors="pt")
    with torch.inference_mode():
        hidden = encoder.tokens(tokens["input_ids"], tokens["attention_mask"])
    assert tokens["input_ids"][0, 0] == 101 and hidden.shape[-1] == 768 and hidden.isfinite().all()


def test_eva_clip_and_beats_embed():
    frames = torch.randint(256, (1, 2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    video = video_encoder_from_eva(str(published("eva-clip-g/EVA01_CLIP_g_14_psz14_s11B.pt"))).eval()
    with torch.inference_mode():
        assert video(frames).norm(dim=-1).item() == pytest.approx(1, abs=1e-4)
    del video
    audio = audio_encoder_from_beats(str(published("BEATs*.pt"))).eval()
    rows = audio.embed_waveform(noise_and_tone(16_000, 10.0))
    assert rows.norm(dim=-1).tolist() == pytest.approx([1, 1], abs=1e-4) and (rows[0] - rows[1]).norm() > 0.01


def test_gram_puts_equal_captions_together():
    encoders = load_gram_checkpoint(published("gram*"))
    tokenizer = load_tokenizer(str(published("bert-base")))
    captions = ["a dog barks", "a dog is barking loudly", "waves break on a beach"]
    rows = encoders.text.eval().embed_texts(tokenizer, captions)
    near, far = cosine_similarity(rows[0], rows[1], dim=0), cosine_similarity(rows[0], rows[2], dim=0)
    assert near > far


def test_stable_audios_autoencoder_keeps_a_recording():
    vae = load_backbone(str(published("stable-audio-open"))).vae
    rate = vae.config.sampling_rate
    sound = read_audio(EXAMPLE, sample_rate=rate, channels=2, seconds=4.0)
    sound = sound[:, : sound.shape[1] // vae.hop_length * vae.hop_length]
    with torch.inference_mode():
        again = decode_latents(vae, encode_audio(vae, sound[None]).mean, sound.shape[1])[0]
    curves = [rms_envelope(one.mean(0), 1024, 256).numpy() for one in (sound, again)]
    assert np.corrcoef(*curves)[0, 1] > 0.95
