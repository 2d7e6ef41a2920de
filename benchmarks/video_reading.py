"""Reading frames of a clip with decord, as training does, against PyAV, as for files from users: time, ratio, pixels.

Run: python -m benchmarks.video_reading [--videos 4]. Videos of 35 s (Greatest Hits' mean length), rendered and then
encoded again at the real set's small size and at 720p; a clip of 10 s is read from the middle of each.
"""

import argparse
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from foleygram.media.video import motion_times, read_frames, segment_middles
from foleygram.synthetic.drumstick.render import render_dataset

SIZES = {"256 x 144": (256, 144), "1280 x 720": (1280, 720)}
START, SECONDS = 12.0, 10.0
READINGS = {
    "8 middle frames, 224 px": (segment_middles(START, SECONDS, 8), 224),
    "300 motion frames, 112 px": (motion_times(START, SECONDS, 30.0), 112),
}


def encode(source: Path, out: Path, width: int, height: int, seconds: float = 35.0) -> None:
    """`source` over and over for `seconds` as H.264 with a key frame every 2 s."""
    with av.open(str(source)) as read:
        frames = [frame.reformat(width, height, "yuv420p") for frame in read.decode(video=0)]
    with av.open(str(out), "w") as written:
        stream = written.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", 60
        for number in range(round(seconds * 30)):
            frame = frames[number % len(frames)]
            frame.pts, frame.time_base = number, Fraction(1, 30)
            written.mux(stream.encode(frame))
        written.mux(stream.encode(None))


def compare(videos: list[Path], times: np.ndarray, side: int) -> tuple[float, float, float]:
    """Median milliseconds of decord and of PyAV over `videos`, and how far their pixels are apart on average."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    apart = []
    for video in videos:
        shown = {}
        for fast in seconds:
            begun = time.perf_counter()
            shown[fast] = read_frames(video, times, size=side, fast=fast)
            seconds[fast].append(time.perf_counter() - begun)
        if not np.allclose(shown[True].ages, shown[False].ages, atol=1e-3):
            raise SystemExit(f"{video}: decord and PyAV read other frames")
        apart.append(float((shown[True].frames.float() - shown[False].frames.float()).abs().mean()))
    decord, pyav = (1000 * statistics.median(seconds[fast]) for fast in (True, False))
    return decord, pyav, statistics.mean(apart)


def main() -> None:
    """Print milliseconds per clip for both, their ratio, and how far their pixels are apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        render_dataset(root / "rendered", num_videos=args.videos, seed=12, seconds=(4.0, 5.0), test_share=0.0)
        for size, (width, height) in SIZES.items():
            videos = []
            for source in sorted((root / "rendered").glob("*_denoised.mp4")):
                videos.append(root / f"{source.stem}_{width}.mp4")
                encode(source, videos[-1], width, height)
            for reading, (times, side) in READINGS.items():
                decord, pyav, apart = compare(videos, times, side)
                print(
                    f"{size:<10} {reading:<26} decord {decord:7.1f} ms, PyAV {pyav:7.1f} ms, "
                    f"ratio {pyav / decord:.2f}; the same frames, pixels {apart:.2f} of 255 apart"
                )


if __name__ == "__main__":
    main()
