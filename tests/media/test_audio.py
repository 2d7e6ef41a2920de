"""Sound comes back at its rate, its length and its moment; the filterbank is Kaldi's."""

import resource
import signal
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from foleygram.media.audio import (
    BEATS_MEAN,
    BEATS_STD,
    beats_fbank,
    fit_length,
    kaldi_fbank,
    read_audio,
    resample,
    write_audio,
)
from foleygram.media.isolate import MediaError


def clicks(times, seconds, rate):
    audio = np.zeros((1, round(seconds * rate)), np.float32)
    for moment in times:
        audio[0, round(moment * rate) : round(moment * rate) + 8] = 0.8
    return audio


def loudest(audio, rate, begin=0.0, end=None):
    part = audio[0, round(begin * rate) : None if end is None else round(end * rate)]
    return begin + part.abs().argmax().item() / rate


def test_wav_is_written_and_read_back(tmp_path):
    audio = torch.rand(2, 4_001) * 2 - 1
    write_audio(tmp_path / "a é.wav", audio, 22_050)
    info = soundfile.info(tmp_path / "a é.wav")
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (22_050, 2, 4_001, "PCM_16")
    back = read_audio(tmp_path / "a é.wav", sample_rate=22_050, channels=2)
    assert (back - audio).abs().max() < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["a é.wav"]


def test_too_loud_is_clipped_and_not_finite_refused(tmp_path):
    write_audio(tmp_path / "a.wav", torch.tensor([[3.0, -3.0]]), 8_000)
    assert read_audio(tmp_path / "a.wav", sample_rate=8_000).abs().min() > 0.999
    with pytest.raises(ValueError, match=r"b\.wav.*not finite"):
        write_audio(tmp_path / "b.wav", torch.tensor([[0.0, torch.nan]]), 8_000)
    assert not (tmp_path / "b.wav").exists()


def test_full_disk_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(OSError, match=r"a\.wav: cannot be written"):
            write_audio(tmp_path / "a.wav", torch.zeros(1, 16_000), 16_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_part_of_a_wav(tmp_path):
    audio = torch.linspace(-0.9, 0.9, 16_000)[None]
    write_audio(tmp_path / "a.wav", audio, 16_000)
    part = read_audio(tmp_path / "a.wav", sample_rate=16_000, start=0.25, seconds=0.5)
    assert torch.equal(part, read_audio(tmp_path / "a.wav", sample_rate=16_000)[:, 4_000:12_000])
    assert read_audio(tmp_path / "a.wav", sample_rate=16_000, start=5.0).shape == (1, 0)
    for stretch in ({"start": -1.0}, {"seconds": -1.0}):
        with pytest.raises(ValueError, match="negative"):
            read_audio(tmp_path / "a.wav", sample_rate=16_000, **stretch)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_sound_of_a_video_is_at_its_moment(tmp_path, videos, suffix):
    moments, rate = (0.3, 1.1, 1.7), 48_000
    path = videos.write(
        tmp_path / f"v{suffix}", videos.constant(25, 50), audio=clicks(moments, 2.0, rate), audio_rate=rate
    )
    audio = read_audio(path, sample_rate=rate)
    assert abs(audio.shape[1] / rate - 2.0) < 0.05
    for moment in moments:
        assert loudest(audio, rate, moment - 0.2, moment + 0.2) == pytest.approx(moment, abs=0.003)
    part = read_audio(path, sample_rate=16_000, start=1.0, seconds=0.5)
    assert part.shape == (1, 8_000) and loudest(part, 16_000) == pytest.approx(0.1, abs=0.003)


def test_audio_and_video_share_one_clock(tmp_path, videos):
    """The file starts at 1.4 s, its sound half a second after its video: half a second of silence comes first."""
    path = videos.write(
        tmp_path / "v.mkv",
        videos.constant(25, 50, start=Fraction(7, 5)),
        audio=clicks((0.2,), 1.0, 16_000),
        audio_start=Fraction(19, 10),
        audio_codec="pcm_s16le",
    )
    audio = read_audio(path, sample_rate=16_000)
    assert loudest(audio, 16_000) == pytest.approx(0.7, abs=0.002) and audio.shape[1] == 24_000
    early = videos.write(
        tmp_path / "early.mkv",
        videos.constant(25, 25, start=Fraction(1, 2)),
        audio=clicks((0.6,), 1.0, 16_000),
        audio_codec="pcm_s16le",
    )
    audio = read_audio(early, sample_rate=16_000)
    assert loudest(audio, 16_000) == pytest.approx(0.1, abs=0.002) and audio.shape[1] == 8_000


@pytest.mark.parametrize(("gap", "heard"), [(2.0, 2.0), (0.1, 0.1), (0.02, 0.0)])
def test_a_gap_in_the_track_stays_a_gap_and_jitter_is_none(tmp_path, gap, heard):
    path, rate = tmp_path / "gap.mkv", 16_000
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for begin in (0, round((1 + gap) * rate)):
            samples = (clicks((0.5,), 1.0, rate) * 32_767).astype(np.int16)
            block = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = rate, begin, Fraction(1, rate)
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    audio = read_audio(path, sample_rate=rate)
    assert audio.shape[1] == round((2 + heard) * rate)
    assert loudest(audio, rate, 0, 1) == pytest.approx(0.5, abs=0.002)
    assert loudest(audio, rate, 1) == pytest.approx(1.5 + heard, abs=0.002)


def test_channels(tmp_path, videos):
    """In 5.1 the centre, where speech lies, goes to both sides 3 dB down (ITU-R BS.775)."""
    surround = np.stack([np.full(1_600, level, np.float32) for level in (0.6, 0, 0.3, 0, 0, 0)])
    soundfile.write(tmp_path / "six.wav", surround.T, 16_000, subtype="FLOAT")
    path = videos.write(tmp_path / "six.mkv", videos.constant(25, 3), audio=surround, audio_codec="pcm_s16le")
    sides = torch.tensor([[0.6 + 0.3 * 0.5**0.5], [0.3 * 0.5**0.5]]).expand(2, 1_600)
    for file in (tmp_path / "six.wav", path):
        assert torch.allclose(read_audio(file, sample_rate=16_000, channels=2), sides, atol=1e-3)
        assert torch.allclose(read_audio(file, sample_rate=16_000), sides.mean(0), atol=1e-3)
    write_audio(tmp_path / "one.wav", torch.full((1, 100), 0.5), 16_000)
    both = read_audio(tmp_path / "one.wav", sample_rate=16_000, channels=2)
    assert both.shape == (2, 100) and torch.equal(both[0], both[1])


def test_hostile_sounds_are_named_in_the_error(tmp_path, videos):
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan], np.float32), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "slow.wav", np.full(30_000, 0.1), 1)
    (tmp_path / "text.wav").write_text("no sound\n" * 40)
    (tmp_path / "empty.wav").touch()
    videos.write(tmp_path / "mute.mp4", videos.constant(15, 5))
    for name, reason in {
        "nan.wav": "not finite",
        "slow.wav": "30000 s of sound, at 1 Hz",
        "text.wav": "not a readable",
        "empty.wav": "empty",
        "mute.mp4": "no sound",
        "gone.wav": "no such file",
    }.items():
        with pytest.raises(MediaError, match=f"{name}: .*{reason}.*;|{name}: .*; "):
            read_audio(tmp_path / name, sample_rate=16_000)


def test_silence_is_sound_unless_it_is_refused(tmp_path, videos):
    path = videos.write(tmp_path / "v.mp4", videos.constant(15, 5), audio=np.zeros((1, 8_000)))
    assert not read_audio(path, sample_rate=16_000).any()
    with pytest.raises(MediaError, match=r"v\.mp4: its sound track is silent; "):
        read_audio(path, sample_rate=16_000, allow_silence=False)
    write_audio(tmp_path / "one.wav", torch.tensor([[0.0, 0.5, 0.0]]), 16_000)
    assert read_audio(tmp_path / "one.wav", sample_rate=16_000, allow_silence=False).shape == (1, 3)


def test_container_under_a_sounds_name(tmp_path, videos):
    path = videos.write(tmp_path / "v.mp4", videos.constant(15, 15), audio=clicks((0.5,), 1.0, 16_000))
    path.rename(tmp_path / "v.wav")
    assert loudest(read_audio(tmp_path / "v.wav", sample_rate=16_000), 16_000) == pytest.approx(0.5, abs=0.003)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([8_000, 16_000, 22_050, 44_100, 96_000]), st.sampled_from([16_000, 22_050, 48_000]))
def test_resampling_keeps_a_tone(from_rate, to_rate):
    def tone(rate):
        return torch.sin(2 * torch.pi * 440 * torch.arange(rate // 2) / rate)[None]

    got, want = resample(tone(from_rate), from_rate, to_rate), tone(to_rate)
    assert abs(got.shape[1] - want.shape[1]) <= 1 and got.dtype == torch.float32
    inside = slice(to_rate // 20, to_rate // 3)
    assert (got[:, inside] - want[:, inside]).abs().max() < 2e-3


@given(st.integers(0, 50), st.integers(0, 50))
def test_fit_length(have, want):
    audio = fit_length(torch.ones(2, have), want)
    assert audio.shape == (2, want) and audio.sum() == 2 * min(have, want)


@pytest.mark.parametrize(("num_mel_bins", "window"), [(64, "povey"), (128, "povey"), (128, "hanning")])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
def test_fbank_equals_kaldi_as_transformers_computes_it(rate, num_mel_bins, window):
    waveform = np.random.default_rng(rate).standard_normal(rate // 2).astype(np.float32) * 3_000 + 50
    waveform[rate // 5 : rate // 4] = 0
    length = rate * 25 // 1000
    fft_length = 2 ** int(np.ceil(np.log2(length)))
    filters = mel_filter_bank(
        fft_length // 2 + 1, num_mel_bins, 20.0, rate / 2, rate, None, "kaldi", triangularize_in_mel_space=True
    )
    oracle = spectrogram(
        waveform,
        window_function(length, {"povey": "povey", "hanning": "hann"}[window], periodic=False),
        frame_length=length,
        hop_length=rate * 10 // 1000,
        fft_length=fft_length,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    ).T
    ours = kaldi_fbank(torch.from_numpy(waveform), rate, num_mel_bins, window=window)
    assert ours.shape == oracle.shape and ours.dtype == torch.float32
    assert np.abs(ours.numpy() - oracle).max() < 1e-5, "in nearly silent frames too, whose last digits count"


def test_fbank_takes_batches_and_refuses_less_than_a_window():
    batch = torch.randn(3, 4_000)
    assert torch.equal(kaldi_fbank(batch, 16_000, 64)[1], kaldi_fbank(batch[1], 16_000, 64))
    with pytest.raises(ValueError, match="window of 400"):
        kaldi_fbank(torch.randn(399), 16_000, 64)


def test_beats_fbank_pads_after_normalisation():
    sound = torch.randn(2, 16_000) * 0.1
    features = beats_fbank(sound)
    assert features.shape == (2, 1024, 64) and not features[:, 98:].any()
    plain = kaldi_fbank(sound * 2**15, 16_000, 64)
    assert torch.allclose(features[:, :98] * 2 * BEATS_STD + BEATS_MEAN, plain, atol=1e-4)
    assert beats_fbank(torch.zeros(1, 16_000), num_frames=50, num_mel_bins=128).shape == (1, 50, 128)
