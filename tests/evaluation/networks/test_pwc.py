"""PWC-Net against outputs of the public code on random weights (tests/data/pwc_flow.safetensors).

The weights are drawn here, in the order of their names; the public code's correlation, a CUDA kernel, was replaced by
plain PyTorch there.
"""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foleygram.evaluation.favd import PROFILES
from foleygram.evaluation.networks.pwc import PWCNet, PWCNetwork, correlation, warped


def drawn(shapes):
    generator, state = torch.Generator().manual_seed(0), {}
    for name in sorted(shapes):
        shape = shapes[name]
        fan = shape[1:].numel() if len(shape) > 1 else 100
        gain = 0.3 if name.endswith("moduleSix.0.weight") and "Extractor" not in name else 1.4
        state[name] = gain / fan**0.5 * torch.randn(shape, generator=generator)
    return state


def frames():
    return torch.randint(256, (3, 3, 70, 100), generator=torch.Generator().manual_seed(1)).float()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "pwc_net_sintel.pt"
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in PWCNetwork().state_dict().items()}
    torch.save(drawn(shapes), path)
    return path


def test_flow_equals_the_public_codes(path):
    expected = load_file(Path(__file__).parents[2] / "data" / "pwc_flow.safetensors")["flow"]
    found = PWCNet.from_weights(path, align_corners=True)(frames())
    assert found.shape == (2, 2, 70, 100)
    assert expected.std() > 0.5
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_the_published_network_has_so_many_parameters():
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in PWCNetwork().parameters()) == 9_374_274


def test_biases_alone_are_a_flow_in_pixels_of_the_frames():
    network = PWCNetwork()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    network.moduleTwo.moduleSix[0].bias.data[:] = torch.tensor([0.1, -0.2])
    network.moduleRefiner.moduleMain[-1].bias.data[:] = torch.tensor([0.05, 0.0])
    flow = PWCNet(network, {})(frames())
    expected = torch.tensor([20 * 0.15 * 100 / 128, 20 * -0.2 * 70 / 128])[None, :, None, None].expand_as(flow)
    torch.testing.assert_close(flow, expected)


def test_correlation_is_the_mean_product_with_each_neighbour():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 6, 7, generator=generator), torch.randn(2, 3, 6, 7, generator=generator)
    found = correlation(first, second)
    assert found.shape == (2, 81, 6, 7)
    for dy, dx, y, x in ((0, 0, 2, 3), (-4, 2, 5, 1), (3, -1, 1, 4), (4, 4, 0, 0), (-1, 0, 0, 0)):
        inside = 0 <= y + dy < 6 and 0 <= x + dx < 7
        expected = (first[:, :, y, x] * second[:, :, y + dy, x + dx]).mean(1) if inside else torch.zeros(2)
        torch.testing.assert_close(found[:, 9 * (dy + 4) + dx + 4, y, x], expected)


def test_warping_looks_where_the_flow_points_and_leaves_nothing_beyond_the_edge():
    pictures = torch.arange(1.0, 31.0).view(1, 1, 5, 6)
    flow = torch.zeros(1, 2, 5, 6)
    flow[:, 0], flow[:, 1] = 2.0, -1.0
    found = warped(pictures, flow, align_corners=True)
    torch.testing.assert_close(found[..., 1:, :4], pictures[..., :4, 2:])
    assert not found[..., 0, :].any() and not found[..., 4:].any()
    half = warped(pictures, torch.full_like(flow, 0.5), align_corners=True)
    torch.testing.assert_close(half[..., :4, :5], (pictures[..., :4, :5] + pictures[..., 1:, 1:]) / 2)


@pytest.mark.parametrize("align_corners", [True, False])
def test_warping_with_corners_aligned_or_not_by_hand(align_corners):
    generator = torch.Generator().manual_seed(0)
    image, flow = torch.rand(1, 1, 7, 9, generator=generator), torch.rand(1, 2, 7, 9, generator=generator) - 0.5
    found = warped(image, flow, align_corners=align_corners)
    for y, x in ((3, 4), (2, 2), (4, 6), (3, 3)):
        column, row = float(flow[0, 0, y, x]) + x, float(flow[0, 1, y, x]) + y
        if not align_corners:
            column, row = column * 9 / 8 - 0.5, row * 7 / 6 - 0.5
        left, top = math.floor(column), math.floor(row)
        weights = {(0, 0): (1 - column + left) * (1 - row + top), (1, 0): (column - left) * (1 - row + top),
                   (0, 1): (1 - column + left) * (row - top), (1, 1): (column - left) * (row - top)}  # fmt: skip
        expected = sum(weight * image[0, 0, top + dy, left + dx] for (dx, dy), weight in weights.items())
        torch.testing.assert_close(found[0, 0, y, x], expected)


def test_the_published_toolkits_sampling_is_the_default_and_both_are_named(path):
    aligned, default = (PWCNet.from_weights(path, **given) for given in ({"align_corners": True}, {}))
    assert (aligned.identity["corners"], default.identity["corners"]) == ("aligned", "not aligned")
    difference = (aligned(frames()) - default(frames())).abs().mean()
    assert 0.001 < difference < 2
    assert PROFILES["favd-rgb-pwc-vggish"].flow == "corners not aligned"
    assert PROFILES["favd-rgb-pwc-aligned-vggish"].flow == "corners aligned"


def test_what_is_absent_or_does_not_fit_is_named(path, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pt.*v-iashin/video_features"):
        PWCNet.from_weights(tmp_path / "absent.pt")
    state = torch.load(path, weights_only=True)
    del state["moduleFou.moduleUpflow.bias"]
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(ValueError, match=r"less\.pt.*moduleFou\.moduleUpflow\.bias"):
        PWCNet.from_weights(tmp_path / "less.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt: holds list"):
        PWCNet.from_weights(tmp_path / "list.pt")
