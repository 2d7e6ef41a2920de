"""Oobleck autoencoder whose decoder has other strides and widths than its encoder."""

import math
from collections.abc import Sequence

from diffusers import AutoencoderOobleck
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_oobleck import OobleckDecoder


class AsymmetricOobleck(AutoencoderOobleck):
    """AutoencoderOobleck with `decoder_ratios` and `decoder_multiples` beside the encoder's.

    diffusers gives both halves the encoder's strides and multiples; stable-audio-tools' configs name them apart. Both
    are counted from the audio to the latents, as `downsampling_ratios` is. A decoder that widens where the rate is low
    costs little: its layers at the audio rate decide the time. Raises ValueError unless both have one entry a block and
    the ratios' product is the encoder's hop.
    """

    @register_to_config
    def __init__(
        self,
        encoder_hidden_size: int = 128,
        downsampling_ratios: Sequence[int] = (2, 4, 4, 8, 8),
        channel_multiples: Sequence[int] = (1, 2, 4, 8, 16),
        decoder_channels: int = 128,
        decoder_input_channels: int = 64,
        audio_channels: int = 2,
        sampling_rate: int = 44_100,
        decoder_ratios: Sequence[int] = (2, 4, 4, 8, 8),
        decoder_multiples: Sequence[int] = (1, 2, 4, 8, 16),
    ) -> None:
        if len(decoder_ratios) != len(decoder_multiples) or math.prod(decoder_ratios) != math.prod(downsampling_ratios):
            raise ValueError(
                f"decoder_ratios {list(decoder_ratios)} and decoder_multiples {list(decoder_multiples)}: "
                f"one entry a block each, the ratios' product {math.prod(downsampling_ratios)} as the encoder's"
            )
        super().__init__(
            encoder_hidden_size=encoder_hidden_size,
            downsampling_ratios=list(downsampling_ratios),
            channel_multiples=list(channel_multiples),
            decoder_channels=decoder_channels,
            decoder_input_channels=decoder_input_channels,
            audio_channels=audio_channels,
            sampling_rate=sampling_rate,
        )
        self.decoder_channels, self.upsampling_ratios = decoder_channels, list(decoder_ratios)[::-1]
        self.decoder = OobleckDecoder(
            channels=decoder_channels,
            input_channels=decoder_input_channels,
            audio_channels=audio_channels,
            upsampling_ratios=self.upsampling_ratios,
            channel_multiples=list(decoder_multiples),
        )


AUTOENCODERS = (AutoencoderOobleck, AsymmetricOobleck)
"""Classes of a `vae` folder; its config.json names one."""
