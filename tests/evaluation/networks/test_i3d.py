"""I3D against its layers taken one by one, TensorFlow's padding worked out from each input's size."""

import math

import pytest
import torch
from torch.nn.functional import batch_norm, conv3d, max_pool3d, pad, relu

from foleygram.evaluation.networks.i3d import I3D, I3DNetwork, _network

BLOCKS = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
STEM, WIDTHS = [3, 4, 6], [3, 2, 3, 2, 2, 2]


def unit(generator, name, before, after, size):
    spread = (2 / (before * size**3)) ** 0.5
    return {
        f"{name}.conv3d.weight": spread * torch.randn(after, before, size, size, size, generator=generator),
        f"{name}.batch3d.weight": 1 + 0.2 * torch.randn(after, generator=generator),
        f"{name}.batch3d.bias": 0.3 * torch.randn(after, generator=generator),
        f"{name}.batch3d.running_mean": 0.1 * torch.randn(after, generator=generator),
        f"{name}.batch3d.running_var": 0.5 + torch.rand(after, generator=generator),
    }


def published_state(channels):
    """Random weights under the public names, with the classifier, without counters, as the oldest files have it."""
    generator, (a, b, c) = torch.Generator().manual_seed(channels), STEM
    state = unit(generator, "conv3d_1a_7x7", channels, a, 7)
    state |= unit(generator, "conv3d_2b_1x1", a, b, 1) | unit(generator, "conv3d_2c_3x3", b, c, 3)
    before = c
    for block in BLOCKS:
        for branch, source, index, size in (
            ("branch_0", before, 0, 1), ("branch_1.0", before, 1, 1), ("branch_1.1", WIDTHS[1], 2, 3),
            ("branch_2.0", before, 3, 1), ("branch_2.1", WIDTHS[3], 4, 3), ("branch_3.1", before, 5, 1),
        ):  # fmt: skip
            state |= unit(generator, f"mixed_{block}.{branch}", source, WIDTHS[index], size)
        before = WIDTHS[0] + WIDTHS[2] + WIDTHS[4] + WIDTHS[5]
    return state | {"conv3d_0c_1x1.conv3d.weight": torch.zeros(400, before, 1, 1, 1)}


def same(video, size, stride, fill):
    """TensorFlow's SAME: as many outputs as strides fit, the odd margin behind."""
    margins = []
    for length, s, t in list(zip(video.shape[2:], size, stride, strict=True))[::-1]:
        extra = max((math.ceil(length / t) - 1) * t + s - length, 0)
        margins += [extra // 2, extra - extra // 2]
    return pad(video, margins, value=fill)


def by_hand(state, video):
    def convolved(x, name, stride=1):
        weight = state[f"{name}.conv3d.weight"]
        x = conv3d(same(x, weight.shape[2:], (stride,) * 3, 0.0), weight, stride=stride)
        mean, var, scale, shift = (
            state[f"{name}.batch3d.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return relu(batch_norm(x, mean, var, scale, shift))

    def pooled(x, size, stride):
        return max_pool3d(same(x, size, stride, -math.inf), size, stride)

    x = pooled(convolved(video, "conv3d_1a_7x7", 2), (1, 3, 3), (1, 2, 2))
    x = pooled(convolved(convolved(x, "conv3d_2b_1x1"), "conv3d_2c_3x3"), (1, 3, 3), (1, 2, 2))
    for block in BLOCKS:
        x = pooled(x, (3, 3, 3), (2, 2, 2)) if block == "4b" else x
        x = pooled(x, (2, 2, 2), (2, 2, 2)) if block == "5b" else x
        name = f"mixed_{block}.branch"
        branches = [
            convolved(x, f"{name}_0"),
            convolved(convolved(x, f"{name}_1.0"), f"{name}_1.1"),
            convolved(convolved(x, f"{name}_2.0"), f"{name}_2.1"),
            convolved(pooled(x, (3, 3, 3), (1, 1, 1)), f"{name}_3.1"),
        ]
        x = torch.cat(branches, 1)
    assert x.shape[3:] == (7, 7)
    return torch.stack([x[:, :, i : i + 2].mean((2, 3, 4)) for i in range(x.shape[2] - 1)]).mean(0)


class Drift:
    """A flow that is known: everything moves right by 5 pixels and up by 30 in each frame."""

    def __init__(self):
        self.identity = {"name": "drift", "sha256": "0"}

    def __call__(self, frames):
        flow = torch.zeros(len(frames) - 1, 2, *frames.shape[2:])
        flow[:, 0], flow[:, 1] = 5, -30
        return flow


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name, channels in (("i3d_rgb.pt", 3), ("i3d_flow.pt", 2)):
        torch.save(published_state(channels), folder / name)
    return folder / "i3d_rgb.pt", folder / "i3d_flow.pt"


@pytest.fixture(scope="module")
def stack():
    return torch.randint(256, (1, 25, 3, 256, 300), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def middle(frames):
    return (frames[..., 16:240, 38:262] / 127.5 - 1).transpose(1, 2)


def test_rows_equal_the_layers_taken_one_by_one(paths, stack):
    state = published_state(3)
    expected = by_hand(state, middle(stack[:, :24].float()))
    assert expected.std() > 0.05
    torch.testing.assert_close(I3D.from_weights(paths[0])(stack), expected, rtol=1e-4, atol=1e-5)


def test_motion_is_clipped_rounded_and_added(paths, stack):
    both = I3D.from_weights(paths[0], flow_path=paths[1], estimator=Drift())
    pixels = torch.tensor([160.0, 0.0])[None, :, None, None, None].expand(1, 2, 24, 224, 224)  # 128 + 5 * 255 / 40
    motion = by_hand(published_state(2), pixels / 127.5 - 1)
    pictures = I3D.from_weights(paths[0])
    torch.testing.assert_close(both(stack) - pictures(stack), motion, rtol=1e-4, atol=1e-5)
    assert both.identity["name"] == "i3d-rgb+drift"
    assert both.identity["estimator"] == Drift().identity
    assert pictures.identity["name"] == "i3d-rgb"


def test_the_rgb_embedding_ignores_only_the_last_frame(paths, stack):
    network, other = I3D.from_weights(paths[0]), stack.clone()
    other[:, 24] = 0
    assert torch.equal(network(stack), network(other))
    other[:, 12] = 0
    assert not torch.equal(network(stack), network(other))


def test_the_published_sizes_are_the_default():
    with torch.device("meta"):
        networks = I3DNetwork(3), I3DNetwork(2)
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in networks]
    assert counts[0] - counts[1] == 64 * 7**3
    assert counts[0] + 1024 * 400 + 400 == 12_697_264
    assert networks[0].width == 1024


def test_counters_may_be_there_too(paths, tmp_path):
    state = published_state(3)
    state |= {
        key.replace("running_var", "num_batches_tracked"): torch.tensor(7) for key in state if "running_var" in key
    }
    torch.save(state, tmp_path / "newer.pt")
    assert _network(tmp_path / "newer.pt", 3).state_dict().keys() == _network(paths[0], 3).state_dict().keys()


def test_what_is_absent_or_does_not_fit_is_named(paths, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pt.*v-iashin/video_features"):
        I3D.from_weights(tmp_path / "absent.pt")
    with pytest.raises(ValueError, match=r"i3d_flow\.pt: an I3D on 2 channels.*i3d_rgb\.pt"):
        I3D.from_weights(paths[1])
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt: not an I3D"):
        I3D.from_weights(tmp_path / "other.pt")
    state = published_state(3)
    del state["mixed_4d.branch_2.1.batch3d.bias"]
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(ValueError, match=r"less\.pt.*mixed_4d\.branch_2\.1\.batch3d\.bias"):
        I3D.from_weights(tmp_path / "less.pt")
    with pytest.raises(ValueError, match="estimator"):
        I3D.from_weights(paths[0], flow_path=paths[1])
    with pytest.raises(ValueError, match="estimator"):
        I3D.from_weights(paths[0], estimator=Drift())
