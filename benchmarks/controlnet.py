"""A step with the envelope ControlNet (4 of 24 blocks) against the plain DiT (target: at most 1.25; limit: 1.17)."""

import statistics
import time
from collections.abc import Callable

import torch
from diffusers import StableAudioDiTModel

from foleygram.generation.controlnet import EnvelopeControlNet, controlled_forward

WIDTH, HEADS, LATENTS, BATCH = 512, 8, 216, 2


def main(repeats: int = 9) -> None:
    """Time alternating steps of a DiT as deep as Stable Audio Open's and a third as wide; print medians and ratio."""
    torch.manual_seed(0)
    dit = StableAudioDiTModel(
        sample_size=LATENTS, in_channels=64, out_channels=64, num_layers=24, attention_head_dim=64,
        num_attention_heads=HEADS, num_key_value_attention_heads=HEADS // 2, cross_attention_dim=64 * HEADS // 2,
        cross_attention_input_dim=64 * HEADS // 2, global_states_input_dim=WIDTH,
    ).eval()  # fmt: skip
    controlnet = EnvelopeControlNet.from_transformer(dit, depth_factor=0.2).eval()
    latents, control = torch.randn(2, BATCH, 64, LATENTS)
    timestep, tokens = torch.full((BATCH,), 0.5), torch.randn(BATCH, 5, 64 * HEADS // 2)
    states = torch.randn(BATCH, WIDTH)

    def plain() -> None:
        controlled_forward(dit, latents, timestep, tokens, states)

    def controlled() -> None:
        residuals = controlnet(latents, timestep, tokens, states, control)
        controlled_forward(dit, latents, timestep, tokens, states, residuals)

    steps: dict[str, Callable[[], None]] = {"plain DiT": plain, "with ControlNet": controlled}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    with torch.inference_mode():
        for _ in range(repeats):
            for name, step in steps.items():
                begun = time.perf_counter()
                step()
                seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<16} {1000 * median:7.1f} ms")
    print(f"ratio {medians['with ControlNet'] / medians['plain DiT']:.3f} (target: at most 1.25; limit: 1.17)")


if __name__ == "__main__":
    main()
