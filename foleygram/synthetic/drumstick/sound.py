"""Sound of a rendered scene: recorded takes or modal synthesis, scrapes driven by speed, a little room."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

from foleygram.synthetic.drumstick.materials import MATERIALS
from foleygram.synthetic.drumstick.motion import scrape_speed
from foleygram.synthetic.drumstick.scene import Scene, StickEvent, Thing
from foleygram.synthetic.recordings import PRE_ROLL_SEC, RecordedSounds, Voice

GLOBAL_GAIN = 0.42
FLOOR_DB = -84.0
RECORDED_GAIN = 1.6
"""Gain of recorded hits, whose takes peak at 1: about the median level of synthesised ones."""


@dataclass(frozen=True)
class Takes:
    """Recorded takes that one object keeps through its video; None where it is synthesised."""

    hits: Voice | None = None
    scrapes: Voice | None = None

    @classmethod
    def draw(cls, thing: Thing, recorded: RecordedSounds) -> "Takes":
        """Takes for `thing`, a function of its seed; the synthesised sound counts as one more voice to draw."""
        rng = np.random.default_rng((thing.seed, 1))
        return cls(*(recorded.voice(thing.material, action, rng, spare=1) for action in ("hit", "scratch")))


def render_sound(scene: Scene, sample_rate: int, recorded: RecordedSounds | None = None) -> np.ndarray:
    """Mono float32 sound of `scene`, (round(seconds * sample_rate),); soft-limited, never normalised."""
    num_samples = round(scene.seconds * sample_rate)
    dry = np.zeros(num_samples + sample_rate, np.float64)
    takes = [Takes.draw(thing, recorded) if recorded else Takes() for thing in scene.things]
    for event in scene.events:
        thing, voices = scene.things[event.thing], takes[event.thing]
        if event.action == "scratch":
            sound, lead = _scrape(thing, event, sample_rate, voices.scrapes), 0.0
        elif voices.hits:
            sound, lead = _recorded_hit(voices.hits, event), PRE_ROLL_SEC
        else:
            sound, lead = strike(thing, event, sample_rate), 0.0
        _add(dry, sound, (event.time - lead) * sample_rate)
    rng = np.random.default_rng(scene.seed)
    length = round(scene.room_decay * 1.2 * sample_rate)
    room = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / (scene.room_decay * sample_rate))
    room *= scene.room_level / np.sqrt((room**2).sum())
    wet = dry + np.roll(fftconvolve(dry, room)[: len(dry)], round(0.004 * sample_rate))
    audio = GLOBAL_GAIN * wet[:num_samples] + 10 ** (FLOOR_DB / 20) * rng.standard_normal(num_samples)
    return np.where(
        np.abs(audio) > 0.7, np.sign(audio) * (0.7 + 0.28 * np.tanh((np.abs(audio) - 0.7) / 0.28)), audio
    ).astype(np.float32)


def _add(track: np.ndarray, sound: np.ndarray, position: float) -> None:
    # A strike falls between two samples; linear interpolation is exact enough at these rates.
    start, fraction = int(position), position - int(position)
    end = min(len(track), start + len(sound))
    track[start:end] += (1 - fraction) * sound[: end - start]
    end = min(len(track), start + 1 + len(sound))
    track[start + 1 : end] += fraction * sound[: end - start - 1]


def _level(speed: float) -> float:
    return 10 ** ((-20 + 20 * speed) / 20)


def band_noise(
    rng: np.random.Generator, num_samples: int, center: float, octaves: float, sample_rate: int
) -> np.ndarray:
    """Noise (num_samples,) of unit RMS around `center` Hz, `octaves` wide."""
    size = 1 << int(np.ceil(np.log2(num_samples)))
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate)[1:]
    shape = np.exp(-0.5 * (np.log2(frequencies / center) / (octaves / 2)) ** 2)
    spectrum = np.zeros(len(frequencies) + 1, complex)
    spectrum[1:] = shape * (rng.standard_normal(len(shape)) + 1j * rng.standard_normal(len(shape)))
    noise = np.fft.irfft(spectrum, size)[:num_samples]
    return noise / (np.sqrt((noise**2).mean()) + 1e-12)


def strike(thing: Thing, event: StickEvent, sample_rate: int) -> np.ndarray:
    """The sound (samples,) of one hit on a thing, as loud and bright as its speed."""
    ranges, rng = MATERIALS[thing.material], np.random.default_rng(event.seed)
    seconds = max([0.15, 5 * thing.noise_decay, 1.3 * ranges.grain_spread, *(1.1 * thing.decays)])
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    modes = _modes(thing, event, time, sample_rate, rng)
    center = thing.noise_center * (0.75 + 0.5 * event.speed)
    burst = band_noise(rng, len(time), center, ranges.noise_octaves, sample_rate) * np.exp(-time / thing.noise_decay)
    sound = np.sqrt(1 - thing.noise) * modes + np.sqrt(thing.noise) * 0.6 * burst
    sound *= 1 - np.exp(-time / ranges.attack)
    if thing.grains:
        sound = sound + _grains(thing, len(time), sample_rate, rng)
    return sound * ranges.level * _level(event.speed)


def _modes(thing: Thing, event: StickEvent, time: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    total = np.zeros_like(time)
    cutoff = 1500 + 9000 * event.speed  # a harder strike is brighter
    gains = thing.gains * np.exp(-thing.frequencies / cutoff) * rng.uniform(0.7, 1.0, len(thing.gains))
    bend = 0.35 * (1 - np.exp(-time / 0.05)) if thing.material == "water" else 0.0
    for frequency, decay, gain in zip(thing.frequencies, thing.decays, gains, strict=True):
        if frequency < 0.47 * rate:
            phase = 2 * np.pi * frequency * np.cumsum(1 + bend * np.ones_like(time)) / rate
            total += gain * np.sin(phase) * 10 ** (-3 * time / decay)
    return total / max(float(np.sqrt((gains**2).sum())), 1e-9) if len(gains) else total


def _grains(thing: Thing, num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    ranges = MATERIALS[thing.material]
    track = np.zeros(num_samples)
    times = rng.exponential(ranges.grain_spread / 2.5, thing.grains)
    # Softer the later: a grain must not read as a strike of its own.
    gains = 0.3 * rng.uniform(0.3, 1.0, thing.grains) * np.exp(-times / (0.6 * ranges.grain_spread))
    length = round(0.012 * sample_rate)
    fade = np.exp(-np.arange(length) / (0.003 * sample_rate))
    for time, gain in zip(times, gains, strict=True):
        start = round(time * sample_rate)
        center = thing.noise_center * rng.uniform(0.8, 1.3)
        grain = gain * fade * band_noise(rng, length, center, 0.6, sample_rate)
        end = min(num_samples, start + length)
        track[start:end] += grain[: max(0, end - start)]
    return track


def _recorded_hit(voice: Voice, event: StickEvent) -> np.ndarray:
    sound = voice.play(max(event.speed, 0.05), np.random.default_rng(event.seed))
    return RECORDED_GAIN * sound.astype(np.float64)


def _scrape(thing: Thing, event: StickEvent, sample_rate: int, voice: Voice | None) -> np.ndarray:
    ranges, rng = MATERIALS[thing.material], np.random.default_rng(event.seed)
    time = np.arange(round((event.duration + 0.03) * sample_rate)) / sample_rate
    speed = scrape_speed(event, event.time + time)
    if voice:
        friction = voice.sustain(len(time), rng)
    else:
        octaves = max(ranges.noise_octaves, 0.8)
        noise = band_noise(rng, len(time), thing.scratch_center, octaves, sample_rate)
        friction = np.sqrt(thing.noise + 0.2) * noise
        for frequency, gain in zip(thing.frequencies, thing.gains, strict=True):
            if frequency < 0.47 * sample_rate:
                friction += 0.5 * gain * band_noise(rng, len(time), frequency, 0.12, sample_rate)
    body = friction * speed / max(event.speed, 1e-6)
    contact = strike(thing, event, sample_rate) / _level(event.speed)
    sound = np.zeros(max(len(body), len(contact)))
    sound[: len(body)] += 0.3 * ranges.level * body
    sound[: len(contact)] += 0.45 * contact
    return sound * _level(event.speed)
