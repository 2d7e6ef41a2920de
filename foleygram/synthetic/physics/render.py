"""Renders videos of the physical world with sound, in Greatest Hits' own layout on disk."""

import os
import sys
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from foleygram.files import atomic_path
from foleygram.media.encoding import at_rate, encode
from foleygram.synthetic.damage import damaged, draw_encoding
from foleygram.synthetic.folder import check_request, render_videos, video_id, write_events, write_sound
from foleygram.synthetic.recordings import RecordedSounds, Split, load_recorded

SIZES = ((108, 192), (120, 160), (90, 160), (144, 192), (128, 128), (160, 90))
SIZE_SHARES = (0.42, 0.17, 0.17, 0.1, 0.07, 0.07)
RATES = (Fraction(15), Fraction(20), Fraction(24), Fraction(25), Fraction(30))
RATE_SHARES = (0.34, 0.1, 0.13, 0.13, 0.3)
ATTEMPTS = 20
"""Scenes drawn for one video before it is given up."""


def render_dataset(
    out: Path,
    *,
    num_videos: int,
    seed: int,
    seconds: tuple[float, float] = (4.0, 4.0),
    test_share: float = 0.25,
    sample_rate: int = 44_100,
    sounds: Path | None = None,
    num_workers: int = 2,
    progress: bool = True,
) -> list[str]:
    """Write `num_videos` videos, sounds and event times below `out`, and both splits' lists; returns the ids.

    Videos already there are kept, so a killed run resumes. With `sounds`, a folder with an index, things sound as
    recorded; those of test videos come from other sources. A scene that fails is drawn anew from the next seed.
    Raises ValueError for a count, share or duration that cannot be rendered, RuntimeError where OpenGL is missing.
    """
    check_request(num_videos, seconds, test_share, sample_rate)
    check_opengl()
    return render_videos(
        partial(_render_video, out, seed, seconds, sample_rate, sounds), out,
        num_videos=num_videos, test_share=test_share, num_workers=num_workers, progress=progress,
    )  # fmt: skip


def check_opengl() -> None:
    """Choose a backend that renders without a screen; raises RuntimeError with what to install where there is none."""
    os.environ.setdefault("MUJOCO_GL", "osmesa")
    try:
        import mujoco

        with mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8):
            pass
    except ModuleNotFoundError as error:
        raise RuntimeError(f"the world 'physics' needs {error.name}: pip install 'foleygram[render]'") from error
    except Exception as error:
        raise RuntimeError(
            f"no OpenGL by MUJOCO_GL={os.environ['MUJOCO_GL']} ({str(error) or type(error).__name__}): "
            "install libosmesa6 (Debian, Ubuntu), set MUJOCO_GL=egl on a machine with a GPU, or use --world drumstick"
        ) from error


def _render_video(
    out: Path, seed: int, seconds: tuple[float, float], sample_rate: int, sounds: Path | None, index: int, split: Split
) -> str:
    name = video_id(seed, index, year=1985)
    video, sound, times, text = (
        out / f"{name}_{end}" for end in ("denoised.mp4", "denoised.wav", "times.txt", "caption.txt")
    )
    if all(path.exists() for path in (video, sound, times, text)):
        return name
    import mujoco

    recorded = load_recorded(sounds, sample_rate, split) if sounds else None
    for attempt in range(ATTEMPTS):
        try:
            _write_video(video, sound, times, text, (seed, index, attempt), seconds, sample_rate, recorded)
            return name
        except (ValueError, FloatingPointError, mujoco.FatalError) as error:
            print(f"{name}: scene {attempt} failed ({type(error).__name__}: {error}); drawn anew", file=sys.stderr)
    raise RuntimeError(f"{name}: {ATTEMPTS} scenes failed, the last as named above; use another --seed")


def _write_video(
    video: Path,
    sound: Path,
    times: Path,
    text: Path,
    seed: tuple[int, int, int],
    seconds: tuple[float, float],
    sample_rate: int,
    recorded: RecordedSounds | None,
) -> None:
    from foleygram.synthetic.physics.camera import Sensor
    from foleygram.synthetic.physics.scenes import draw_scene
    from foleygram.synthetic.physics.sound import render_sound

    rng = np.random.default_rng(seed)
    scene = draw_scene(round(float(rng.uniform(*seconds)), 3), rng)
    size = SIZES[rng.choice(len(SIZES), p=SIZE_SHARES)]
    rate = float(RATES[rng.choice(len(RATES), p=RATE_SHARES)])
    moments = np.arange(int(scene.seconds * rate)) / rate
    frames = np.stack(list(scene.film(moments, Sensor(rng, scene.seconds, size))))
    audio = render_sound(
        scene.contacts,
        scene.impacts,
        scene.materials,
        scene.tool_material,
        scene.seconds,
        sample_rate,
        rng,
        recorded=recorded,
    )
    write_sound(sound, audio, sample_rate)
    write_events(times, scene.events)
    with atomic_path(text) as path:
        path.write_text(scene.caption + "\n", encoding="utf-8")
    with atomic_path(video) as path:
        encoding, damage = draw_encoding(rng)
        shown = damaged(*at_rate(frames, moments, encoding.rate), damage, seed=encoding.seed)
        encode(path, *shown, replace(encoding, rate=None), audio, sample_rate)
