"""Sound of a simulated scene: each impact and scrape at the level and brightness that its force and speed ask for."""

import numpy as np
import pyroomacoustics
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, fftconvolve, sosfilt

from foleygram.synthetic.drumstick.materials import MATERIALS
from foleygram.synthetic.drumstick.scene import StickEvent, draw_thing
from foleygram.synthetic.drumstick.sound import band_noise, strike
from foleygram.synthetic.physics.contacts import MIN_SPEED, STEP, Contact, Impact
from foleygram.synthetic.physics.stage import TOOL
from foleygram.synthetic.recordings import RecordedSounds

LOUD_IMPULSE = 0.4
"""Impulse in newton seconds of a hit at full strength."""
LOUD_SPEED = 0.6
"""Sliding speed in metres per second of a scrape at full strength."""
SOFT_TOOLS = {"skin": 2500.0, "rubber": 1500.0, "plastic": 9000.0}
"""Frequency in Hz above which a tool of this material excites little."""
SCRAPE_LEVEL = 0.25


class ThingSound:
    """The voice that one thing keeps: recorded takes where there are some, else modes and noise drawn for it."""

    def __init__(
        self, material: str, sample_rate: int, rng: np.random.Generator, recorded: RecordedSounds | None = None
    ) -> None:
        self.sample_rate, self.material = sample_rate, material
        self.drawn = draw_thing(material, np.zeros(2), rng)
        self.hits = recorded.voice(material, "hit", rng) if recorded else None
        self.scrapes = recorded.voice(material, "scratch", rng) if recorded else None

    def hit(self, strength: float, tool_material: str, rng: np.random.Generator) -> np.ndarray:
        """One hit (samples,) at a strength in (0, 1]."""
        if self.hits:
            sound = self.hits.play(strength, rng).astype(float)
        else:
            event = StickEvent(0.0, "hit", strength, 0, 0.0, 1.0, int(rng.integers(2**31)))
            sound = 0.5 * strike(self.drawn, event, self.sample_rate)
        return _lowpass(sound, SOFT_TOOLS.get(tool_material, np.inf), self.sample_rate)

    def scrape(self, contact: Contact, rng: np.random.Generator) -> np.ndarray:
        """The sound (samples,) of a contact's sliding: its level follows speed and force, its brightness speed."""
        speed, num_samples = self._loudness(contact), round(len(contact.force) * STEP * self.sample_rate)
        if not speed.any():
            return np.zeros(num_samples)
        friction = self.scrapes.sustain(num_samples, rng) if self.scrapes else self._friction(num_samples, rng)
        level = np.interp(np.arange(num_samples) / self.sample_rate, np.arange(len(speed)) * STEP, speed)
        dark = _lowpass(friction, 2000.0, self.sample_rate)
        bright = level.clip(0, 1)
        return SCRAPE_LEVEL * level * ((1 - bright) * dark + bright * friction)

    def _loudness(self, contact: Contact) -> np.ndarray:
        """Level (steps,) of a scrape; a hop of some milliseconds does not end it."""
        touching = gaussian_filter1d((contact.force > 1e-6).astype(float), 4) > 0.05
        speed = gaussian_filter1d(contact.speed, 6) * touching
        force = gaussian_filter1d(contact.force, 10)
        level = (speed / LOUD_SPEED) * (force / 3.0).clip(0, 4) ** 0.3
        return gaussian_filter1d(np.where(speed > MIN_SPEED, level, 0.0), 3).clip(0, 2.5)

    def _friction(self, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        drawn, rate = self.drawn, self.sample_rate
        octaves = max(MATERIALS[self.material].noise_octaves, 0.8)
        noise = np.sqrt(drawn.noise + 0.2) * band_noise(rng, num_samples, drawn.scratch_center, octaves, rate)
        for frequency, gain in zip(drawn.frequencies, drawn.gains, strict=True):
            if frequency < 0.47 * rate:
                noise += 0.5 * gain * band_noise(rng, num_samples, frequency, 0.12, rate)
        # Grain: what is scraped is rough, so its noise comes in bits.
        grain = gaussian_filter1d(rng.exponential(1.0, num_samples // 64 + 2), 1.0)
        return noise * np.interp(np.arange(num_samples) / 64, np.arange(len(grain)), grain)


def render_sound(
    contacts: list[Contact],
    impacts: list[Impact],
    materials: list[str],
    tool_material: str,
    seconds: float,
    sample_rate: int,
    rng: np.random.Generator,
    *,
    recorded: RecordedSounds | None = None,
) -> np.ndarray:
    """Mono float32 sound (round(seconds * sample_rate),) of a scene with things of `materials`.

    Where two things touch, both sound; one of skin or rubber has no sound of its own.
    """
    voices = [
        ThingSound(material, sample_rate, rng, recorded) if material in MATERIALS else None for material in materials
    ]
    num_samples = round(seconds * sample_rate)
    dry = np.zeros(num_samples + sample_rate)
    for impact in impacts:
        strength = float(np.clip(1 + 0.6 * np.log10(impact.impulse / LOUD_IMPULSE), 0.05, 1.0))
        other = tool_material if impact.other == TOOL else materials[impact.other]
        struck, striker = voices[impact.thing], voices[impact.other] if impact.other != TOOL else None
        for voice, material in ((struck, other), (striker, materials[impact.thing])):
            if voice:
                sound = voice.hit(strength, material, rng)
                start = round(impact.time * sample_rate)
                end = min(len(dry), start + len(sound))
                dry[start:end] += sound[: end - start]
    for contact in contacts:
        if voice := voices[contact.thing]:
            sound = voice.scrape(contact, rng)
            dry[: len(sound)] += sound
    wet = in_room(dry, sample_rate, rng)[:num_samples] * 10 ** (rng.uniform(-9, -4) / 20)
    return limit(wet + background(num_samples, sample_rate, rng)).astype(np.float32)


def in_room(dry: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Sound (samples,) as a microphone near by hears it: in a room by the image method, or outdoors."""
    if rng.random() < 0.3:
        return dry
    size = rng.uniform([2.0, 2.0, 2.2], [8.0, 7.0, 3.5])
    absorption = pyroomacoustics.Material(float(rng.uniform(0.25, 0.75)))
    room = pyroomacoustics.ShoeBox(size, fs=sample_rate, materials=absorption, max_order=8)
    source = size * rng.uniform(0.3, 0.7, 3)
    microphone = (source + rng.uniform(-0.6, 0.6, 3)).clip(0.1, size - 0.1)
    room.add_source(source)
    room.add_microphone(microphone)
    room.compute_rir()
    response = np.asarray(room.rir[0][0])
    direct = int(np.argmax(np.abs(response)))
    response = response[direct:] / np.abs(response[direct])  # the direct sound at once and at its own level
    response[1:] *= rng.uniform(0.15, 0.6)
    return fftconvolve(dry, response)[: len(dry)]


def background(num_samples: int, sample_rate: int, rng: np.random.Generator, *, share: float = 0.4) -> np.ndarray:
    """Background noise (samples,): a faint noise floor, in a `share` of the videos also wind, traffic or hum."""
    floor = 10 ** (rng.uniform(-90, -75) / 20) * rng.standard_normal(num_samples)
    if rng.random() >= share:
        return floor
    frequencies = np.fft.rfftfreq(num_samples, 1 / sample_rate)
    shape = np.maximum(frequencies, 30) ** -rng.uniform(0.4, 1.2)
    noise = np.fft.irfft(shape * np.exp(2j * np.pi * rng.random(len(shape))), num_samples)
    swell = gaussian_filter1d(rng.standard_normal(64), 4)
    swell = 1 + 0.3 * np.interp(np.linspace(0, 63, num_samples), np.arange(64), swell / swell.std())
    noise *= swell.clip(0.1) / noise.std() * 10 ** (rng.uniform(-68, -46) / 20)
    if rng.random() < 0.3:
        time, mains = np.arange(num_samples) / sample_rate, rng.choice([50, 60])
        hum = sum(np.sin(2 * np.pi * mains * n * time + rng.uniform(0, 6)) / n for n in (1, 2, 3, 5))
        noise += 10 ** (rng.uniform(-70, -50) / 20) * hum
    return floor + noise


def limit(audio: np.ndarray) -> np.ndarray:
    """Soft limiter: sound (samples,) with peaks above 0.7 compressed to stay under 0.98."""
    over = np.sign(audio) * (0.7 + 0.28 * np.tanh((np.abs(audio) - 0.7) / 0.28))
    return np.where(np.abs(audio) > 0.7, over, audio)


def _lowpass(sound: np.ndarray, cutoff: float, sample_rate: int) -> np.ndarray:
    if cutoff >= 0.45 * sample_rate:
        return sound
    return np.asarray(sosfilt(butter(1, cutoff, fs=sample_rate, output="sos"), sound))
