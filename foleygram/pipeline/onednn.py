"""Linear layers by oneDNN at inference on a CPU: for float32, MKL leaves AVX-512 unused on AMD processors."""

import torch
from torch import Tensor, nn


class OneDNNLinear(nn.Linear):
    """`nn.Linear` by oneDNN for float32 on a CPU without gradients, equal up to rounding; by PyTorch's own otherwise.

    From 1.7 to 2.3 times as fast as MKL on an AMD processor with AVX-512 (docs/log.md).
    """

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        plain = input.device.type == self.weight.device.type == "cpu" and input.dtype == self.weight.dtype
        if not plain or input.dtype != torch.float32 or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")


def use_onednn(network: nn.Module) -> None:
    """Turn the linear layers of a network into `OneDNNLinear`, in place, where the processor has AVX-512."""
    fast = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
    if not fast or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = OneDNNLinear
