"""oneDNN's linear layers: the same values as PyTorch's, its own path wherever theirs does not apply."""

import copy

import pytest
import torch
from torch import nn

from foleygram.pipeline.onednn import OneDNNLinear, use_onednn


@pytest.fixture
def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 7, bias=False))


def swapped(layers: nn.Sequential) -> nn.Sequential:
    own = copy.deepcopy(layers)
    for layer in (own[0], own[2]):
        layer.__class__ = OneDNNLinear
    return own


@pytest.mark.parametrize("shape", [(24,), (3, 24), (2, 5, 24), (2, 0, 24)])
def test_values_equal_pytorchs(layers, shape):
    own, given = swapped(layers), torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(own(given), layers(given), atol=1e-6, rtol=1e-5)
        turned = torch.randn(24, 4).T  # not contiguous
        torch.testing.assert_close(own(turned), layers(turned), atol=1e-6, rtol=1e-5)


def test_gradients_other_precisions_and_autocast_take_pytorchs_own_path(layers, monkeypatch):
    own, given = swapped(layers), torch.randn(3, 24)
    assert torch.equal(own(given), layers(given))
    own(given).sum().backward()
    assert own[0].weight.grad is not None
    with torch.inference_mode():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(own(given), layers(given))
        half = copy.deepcopy(own).bfloat16(), copy.deepcopy(layers).bfloat16()
        assert torch.equal(half[0](given.bfloat16()), half[1](given.bfloat16()))
        with pytest.raises(RuntimeError, match="dtype"):
            own(given.double())


def test_only_plain_linear_layers_are_swapped_and_their_names_stay(layers, monkeypatch):
    network = nn.ModuleList([layers, nn.MultiheadAttention(8, 2), nn.Conv1d(3, 3, 1)])
    names = list(network.state_dict())
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    use_onednn(network)
    assert not any(isinstance(module, OneDNNLinear) for module in network.modules())
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    use_onednn(network)
    assert [isinstance(module, OneDNNLinear) for module in layers] == [True, False, True]
    assert sum(isinstance(module, OneDNNLinear) for module in network.modules()) == 2
    assert list(network.state_dict()) == names
