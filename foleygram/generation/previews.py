"""Previews of stage 2 (Lightning): sounds generated for validation clips."""

from typing import Any

from foleygram.envelope.editing.hits import RATE, WINDOW_SEC
from foleygram.envelope.rms import rms_envelope
from foleygram.generation.module import GenerationModule
from foleygram.generation.sampling import ClipNoise, denoiser_from_v, dpmpp_2m, exponential_sigmas, guided
from foleygram.training.previews import Preview, Previews


class SoundPreviews(Previews):
    """Sounds generated from all three modalities and the true envelope, beside the originals; see `Previews`.

    The autoencoder is moved to the device for decoding and then back to the CPU.
    """

    def __init__(
        self,
        num_clips: int = 4,
        num_inference_steps: int = 25,
        guidance_scale: float = 5.0,
        sigma_min: float = 0.3,
        sigma_max: float = 500.0,
    ) -> None:
        super().__init__(num_clips)
        self.num_inference_steps, self.guidance_scale = num_inference_steps, guidance_scale
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def make(self, stage: GenerationModule, batch: dict[str, Any]) -> list[Preview]:
        """Sample and decode a batch of `GenerationModule`: mono sounds (samples,) and curves (values,) per clip.

        Noise depends only on a clip's index, so that validations can be compared.
        """
        true, model = batch["latents_mean"], stage.model
        conditions = stage.conditions(batch)
        velocity = guided(
            model.velocity, conditions, model.null(conditions), self.guidance_scale, rows_at_once=len(true)
        )
        sigmas = exponential_sigmas(self.num_inference_steps, sigma_min=self.sigma_min, sigma_max=self.sigma_max)
        noise = ClipNoise(range(len(true)))(true.float())
        sampled = dpmpp_2m(denoiser_from_v(velocity), noise * sigmas[0], sigmas)
        vae = model.backbone.vae.to(true.device)
        num_samples = true.shape[-1] * vae.hop_length
        generated, original = (model.decode(latents, num_samples).mean(1) for latents in (sampled, true))
        vae.to("cpu")
        rate = vae.config.sampling_rate
        sizes = round(WINDOW_SEC * rate), round(rate / RATE)
        return [
            Preview(
                sounds={"generated": ours, "original": theirs},
                curves={"generated": rms_envelope(ours, *sizes), "original": rms_envelope(theirs, *sizes)},
                sample_rate=rate,
                curve_rate=rate / sizes[1],
            )
            for ours, theirs in zip(generated, original, strict=True)
        ]
