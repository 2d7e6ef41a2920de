"""The pipeline's result: a track with its rate and envelope; it saves, muxes, and plays in a notebook."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from torch import Tensor

from foleygram.envelope.envelope import Envelope
from foleygram.media.audio import write_audio
from foleygram.media.mux import Film, SoundCodec, mux

PLAYER_SEC = 120.0
"""Length of the sound that a notebook embeds: a minute of 44.1 kHz stereo is 14 MB of text."""
PLOT_WIDTH, PLOT_HEIGHT = 640, 90


@dataclass(frozen=True, repr=False)
class FoleyOutput:
    """A generated track: audio (channels, samples), its rate in Hz, and the envelope that steered it."""

    audio: Tensor
    sample_rate: int
    envelope: Envelope

    @property
    def seconds(self) -> float:
        """Length of the track."""
        return self.audio.shape[-1] / self.sample_rate

    def save(self, path: str | Path) -> Path:
        """Write the track as a 16-bit WAV file, atomically; returns its path.

        Raises ValueError for a path that does not end in .wav, OSError when it cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".wav":
            raise ValueError(f"{path}: save writes WAV; end the name in .wav, or put the sound under a video with mux")
        write_audio(path, self.audio, self.sample_rate)
        return path

    def mux(self, video: str | Path, out: str | Path, *, codec: SoundCodec | None = None) -> Film:
        """Write `video` to `out` with this track as its sound; see `foleygram.media.mux.mux` for what is kept.

        Returns the path, whose suffix differs where `out`'s container cannot hold the video, and notes.
        """
        return mux(video, self.audio, self.sample_rate, out, codec=codec)

    def __repr__(self) -> str:
        channels = {1: "mono", 2: "stereo"}.get(len(self.audio), f"{len(self.audio)} channels")
        onsets = len(self.envelope.onsets())
        return f"FoleyOutput({self.seconds:.2f} s, {channels}, {self.sample_rate} Hz, {onsets} onsets)"

    def _repr_html_(self) -> str:
        """A player and the envelope, for notebooks; sound beyond `PLAYER_SEC` is left out."""
        samples = self.audio[:, : round(PLAYER_SEC * self.sample_rate)].detach().float().cpu().clamp(-1, 1)
        encoded = io.BytesIO()
        soundfile.write(encoded, samples.T.numpy(), self.sample_rate, subtype="PCM_16", format="WAV")
        sound = base64.b64encode(encoded.getvalue()).decode()
        cut = "" if self.seconds <= PLAYER_SEC else f"; the player holds the first {PLAYER_SEC:g} s"
        return (
            f'<figure style="margin:0"><audio controls src="data:audio/wav;base64,{sound}"></audio>'
            f"{envelope_svg(self.envelope)}<figcaption>{repr(self)[12:-1]}{cut}</figcaption></figure>"
        )


def envelope_svg(envelope: Envelope) -> str:
    """An SVG drawing of an envelope with its onsets as dashed lines; the text color of the page is used."""
    values = envelope.values
    edges = np.linspace(0, len(values), min(PLOT_WIDTH, len(values)) + 1).astype(int)
    peaks = np.maximum.reduceat(values, edges[:-1]) / max(float(values.max()), 1e-9)
    across = np.linspace(0, PLOT_WIDTH, len(peaks))
    points = " ".join(f"{x:.0f},{PLOT_HEIGHT * (1 - y):.1f}" for x, y in zip(across, peaks, strict=True))
    scale = PLOT_WIDTH / max(envelope.seconds, 1e-9)
    lines = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{PLOT_HEIGHT}" stroke="currentColor" stroke-dasharray="2 4"/>'
        for x in envelope.onsets() * scale
    )
    return (
        f'<svg role="img" aria-label="envelope" width="{PLOT_WIDTH}" height="{PLOT_HEIGHT}" style="display:block">'
        f'<polyline points="{points}" fill="none" stroke="#d9730d" stroke-width="1.5"/>{lines}</svg>'
    )
