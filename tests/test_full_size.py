"""The full-size benchmark measures what it says; its networks are small here, its code is the same."""

import re
import sys

import pytest
import torch
from diffusers import AutoencoderOobleck, StableAudioDiTModel

from benchmarks import full_size
from foleygram.spec import ClipSpec


def small_dit() -> StableAudioDiTModel:
    return StableAudioDiTModel(num_layers=1, attention_head_dim=64, num_attention_heads=1,
                               num_key_value_attention_heads=12)  # fmt: skip


def small_vae() -> AutoencoderOobleck:
    return AutoencoderOobleck(encoder_hidden_size=128, channel_multiples=[1] * 5, decoder_channels=2,
                              decoder_input_channels=64)  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak is read from Linux")
def test_each_line_has_a_peak_of_its_own(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_size, "DEVICE", torch.device("cpu"))
    with full_size.timed("much"):
        torch.ones(2**26).sum()
    with full_size.timed("little"):
        torch.ones(2**10).sum()
    much, little = (float(gib) for gib in re.findall(r"peak +([\d.]+) GiB", capsys.readouterr().out))
    assert much - little == pytest.approx(0.25, abs=0.05)


def test_training_and_sampling_print_steps_per_second(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    forward = full_size.controlled_forward
    monkeypatch.setattr(full_size, "DEVICE", torch.device("cpu"))
    monkeypatch.setattr(full_size, "DTYPE", torch.float32)
    monkeypatch.setattr(full_size, "SPEC", ClipSpec(seconds=0.25))
    monkeypatch.setattr(full_size, "StableAudioDiTModel", small_dit)
    monkeypatch.setattr(full_size, "AutoencoderOobleck", small_vae)
    monkeypatch.setattr(
        full_size, "controlled_forward", lambda net, x, *rest: rows.append(len(x)) or forward(net, x, *rest)
    )
    full_size.generation()
    full_size.sampling()
    printed = capsys.readouterr().out
    assert len(re.findall(r"step.* s .*steps/s", printed)) == 3
    assert "frozen parameters with a gradient: 0" in printed
    assert rows[-4:] == [2, 2, 1, 1], "guidance: both branches in every step; without it, one"
    found = re.search(r"8 calls ([\d.]+) s, 150 guided steps ([\d.]+) s, .*decoding ([\d.]+) s of either", printed)
    assert found, printed
    few, many, once = map(float, found.groups())
    assert many > few > once
