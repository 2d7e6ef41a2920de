"""A folder run over damaged and odd media files: none stops it, hangs it or leaves half a file (target: 0 of 300).

`python -m benchmarks.damaged --files 300 --checkpoint checkpoints/mini` makes them from small good videos of five
containers, runs `foleygram generate` over them and checks every row and every result.
"""

import argparse
import collections
import random
import shutil
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from foleygram.media.audio import read_audio
from foleygram.media.isolate import MediaError
from foleygram.media.video import probe
from foleygram.production.manifest import DONE, FAILED, MANIFEST, Manifest

SOURCES = {".mp4": "libx264", ".mkv": "libx264", ".avi": "mpeg4", ".webm": "libvpx", ".ts": "libx264"}
RATE = 12


def write_good(path: Path, codec: str, *, stamps: list[int] | None = None, picture: bool = True) -> Path:
    """A video of 1.5 s with a moving square and a tone; `stamps` are the frames' times in 1/12 s."""
    with av.open(str(path), "w") as container:
        if picture:
            video = container.add_stream(codec, rate=RATE)
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48_000, layout="mono")
        for number, stamp in enumerate(stamps if stamps is not None else range(18)) if picture else ():
            pixels = np.full((64, 96, 3), 40, np.uint8)
            pixels[20:40, 4 * number : 4 * number + 16] = 220
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, RATE)
            container.mux(video.encode(frame))
        if picture:
            container.mux(video.encode(None))
        tone = 0.1 * np.sin(np.arange(72_000) * 0.05, dtype=np.float32)[None]
        block = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = 48_000, 0, Fraction(1, 48_000)
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    return path


def flip_bits(data: bytearray, draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 10, 100, 1000))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def truncate(data: bytearray, draw: random.Random) -> bytes:
    return bytes(data[: draw.randrange(len(data))])


def break_header(data: bytearray, draw: random.Random) -> bytes:
    length = draw.choice((4, 16, 64, 512))
    return draw.randbytes(length) + bytes(data[length:])


def empty(data: bytearray, draw: random.Random) -> bytes:
    return b""


def zero_stretch(data: bytearray, draw: random.Random) -> bytes:
    begin = draw.randrange(len(data))
    length = draw.randrange(1, len(data) // 3)
    return bytes(data[:begin]) + bytes(length) + bytes(data[begin + length :])


def declare_huge(data: bytearray, draw: random.Random) -> bytes:
    """Sizes, counts and durations in an MP4's boxes, or any four bytes elsewhere, become enormous."""
    boxes = [at for name in (b"tkhd", b"mvhd", b"mdhd", b"stsd", b"stsz", b"stts", b"avc1", b"mdat", b"moov")
             for at in [data.find(name)] if at >= 0]  # fmt: skip
    at = draw.choice(boxes) + draw.choice((-4, 16, 24, 28, 32, 84)) if boxes else draw.randrange(len(data))
    data[max(0, at) : max(0, at) + 4] = draw.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\xff\xff\xff"))
    return bytes(data)


def append_garbage(data: bytearray, draw: random.Random) -> bytes:
    return bytes(data) + draw.randbytes(draw.randrange(1, 50_000))


def shuffle_blocks(data: bytearray, draw: random.Random) -> bytes:
    blocks = [bytes(data[i : i + 512]) for i in range(0, len(data), 512)]
    first, second = draw.sample(range(len(blocks)), 2) if len(blocks) > 1 else (0, 0)
    blocks[first], blocks[second] = blocks[second], blocks[first]
    return b"".join(blocks)


DAMAGE = (flip_bits, truncate, break_header, empty, zero_stretch, declare_huge, append_garbage, shuffle_blocks)
ODD = (
    "wrong extension",
    "text",
    "sound alone",
    "negative stamps",
    "jumping stamps",
    "falling stamps",
    "far jump",
    "picture file",
)


def write_odd(kind: str, folder: Path, name: str, good: dict[str, Path], draw: random.Random) -> None:
    """One file that is whole, but not what its name or its streams promise."""
    suffix = draw.choice(list(SOURCES))
    if kind == "wrong extension":
        shutil.copy(good[suffix], folder / f"{name}{draw.choice([s for s in SOURCES if s != suffix])}")
    elif kind == "text":
        (folder / f"{name}{suffix}").write_text("This is no video.\n" * draw.randrange(1, 2000))
    elif kind == "sound alone":
        write_good(folder / f"{name}.mkv", "", picture=False)
    elif kind == "picture file":
        image = folder / f"{name}.png"
        with av.open(str(image), "w", format="image2", options={"update": "1"}) as container:
            stream = container.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
            container.mux(stream.encode(None))
        image.replace(folder / f"{name}.mp4")
    else:
        stamps = {
            "negative stamps": list(range(-9, 9)),
            "jumping stamps": sorted(draw.sample(range(240), 18)),
            "falling stamps": [*range(9), *range(4, 13)],
            "far jump": [*range(9), *range(10**6, 10**6 + 9)],
        }[kind]
        remux_with_stamps(good[".mkv"], folder / f"{name}.mkv", stamps)


def remux_with_stamps(source: Path, target: Path, stamps: list[int]) -> None:
    """The picture of `source` with other times of its frames, in 1/12 s, as packets and not encoded again."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = read.streams.video[0]
        copied = written.add_stream_from_template(stream)
        packets = [packet for packet in read.demux(stream) if packet.size]
        for packet, stamp in zip(packets, stamps, strict=True):
            packet.pts = packet.dts = round(Fraction(stamp, RATE) / packet.time_base)
            packet.stream = copied
            written.mux(packet)


def write_damaged(folder: Path, count: int, seed: int) -> dict[str, str]:
    """`count` files below `folder`, three damaged for each odd one; which damage each has, by name."""
    draw, kinds = random.Random(seed), {}
    good_folder = folder / "good"
    good_folder.mkdir(parents=True)
    good = {suffix: write_good(good_folder / f"good{suffix}", codec) for suffix, codec in SOURCES.items()}
    for number in range(count):
        name = f"{number:03d}"
        if number % 4 == 3:
            kind = ODD[number // 4 % len(ODD)]
            try:
                write_odd(kind, folder, name, good, draw)
            except (av.FFmpegError, ValueError):  # such a file cannot be written here
                kind = "text"
                (folder / f"{name}.mkv").unlink(missing_ok=True)
                (folder / f"{name}.mp4").write_text("This is no video.")
            kinds[name] = kind
        else:
            damage = DAMAGE[(number - number // 4) % len(DAMAGE)]
            suffix = draw.choice(list(SOURCES))
            (folder / f"{name}{suffix}").write_bytes(damage(bytearray(good[suffix].read_bytes()), draw))
            kinds[name] = damage.__name__
    shutil.rmtree(good_folder)
    return kinds


def check_results(out: Path, videos: Path, kinds: dict[str, str]) -> list[str]:
    """What is wrong with a finished run: missing rows, incomplete results, files that no row names."""
    rows, wrong = Manifest(out).rows, []
    for name in kinds:
        row = rows.get(name)
        if row is None or row.state not in (DONE, FAILED):
            wrong.append(f"{name}: no outcome in the manifest")
        elif row.state == FAILED and (not row.reason or list(out.glob(f"{name}.*"))):
            wrong.append(f"{name}: failed without a reason, or with results")
        elif row.state == DONE:
            try:
                sound = read_audio(out / f"{name}.wav", sample_rate=16_000)
                shown = probe(next(out / w for w in row.written if not w.endswith((".wav", ".json"))))
            except MediaError as error:
                wrong.append(f"{name}: {error}")
                continue
            if abs(sound.shape[1] / 16_000 - row.seconds) > 0.01 or shown.num_audio_channels == 0:
                wrong.append(f"{name}: {row.seconds} s of picture, {sound.shape[1] / 16_000} s of sound")
    named = {MANIFEST, *(name for row in rows.values() for name in row.written)}
    return wrong + [f"{p.name}: nobody names it" for p in out.rglob("*") if p.relative_to(out).as_posix() not in named]


def main() -> None:
    """Make the files, run over them, print what became of each kind; exit code 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/mini"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        videos, out = Path(place) / "videos", Path(place) / "out"
        kinds = write_damaged(videos, options.files, options.seed)
        begun = time.monotonic()
        command = [sys.executable, "-m", "foleygram", "generate", videos, "--out", out, "--checkpoint"]
        command += [options.checkpoint, "--steps", "1", "--batch-size", "8", "--device", "cpu"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        spent = time.monotonic() - begun
        wrong = check_results(out, videos, kinds)
        wrong += ["the command crashed"] if done.returncode not in (0, 1) or "Traceback" in done.stderr else []
        rows = Manifest(out).rows
        for kind, total in sorted(collections.Counter(kinds.values()).items()):
            finished = sum(rows[name].state == DONE for name in kinds if kinds[name] == kind)
            print(f"{kind:16} {total:4} files, {finished:4} done, {total - finished:4} failed")
    print(f"{options.files} files in {spent:.0f} s; wrong: {len(wrong)} (target: 0)", *wrong, sep="\n")
    if wrong:
        sys.exit(done.stderr[-2000:])


if __name__ == "__main__":
    main()
