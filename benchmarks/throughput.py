"""Seconds of film per second of a folder run, video file to muxed file, for 1, 4 and 16 clips per batch (target: 10).

Reading and writing go on in processes of their own while the model works. Wall time means something on an idle machine
only, so the processor seconds of all processes are printed beside it (those of reading and writing on Linux only), and
the load. Importing packages and loading the release are not in it.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from benchmarks.heldout import parse_options
from foleygram.generation.sampling import SamplerSettings
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.release import read_index, sampler_of
from foleygram.production.batch_runner import TakeRule, sampling_of
from foleygram.production.export import ExportOptions
from foleygram.production.job import JobOptions
from foleygram.production.run import generate_files

BATCHES = (1, 4, 16)


def workers_processor_seconds() -> float:
    """Processor seconds so far of the server of processes that read and write, and of those that have ended."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    stat = Path(f"/proc/{pid}/stat")
    if pid is None or not stat.exists():
        return 0.0
    user_and_system = stat.read_text().rpartition(")")[2].split()[11:15]  # its own, then its children's
    return sum(map(int, user_and_system)) / os.sysconf("SC_CLK_TCK")


class Clock:
    """Processor seconds of this process by name."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its processor time added under `name`."""

        def run(*arguments: Any, **options: Any) -> Any:
            begun = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - begun

        return run


def main() -> None:
    """Run the same videos with each batch size and print rates and shares."""
    options = parse_options(__doc__, clips=16, steps=0, batch=0, solver="")
    sampler = sampler_of(options.checkpoint).override(
        num_inference_steps=options.steps or None, solver=options.solver or None
    )
    seconds = read_index(options.checkpoint)["spec"]["seconds"]
    with tempfile.TemporaryDirectory() as temporary:
        videos = cut_videos(options.data, Path(temporary) / "videos", options.clips, seconds)
        print(
            f"{len(videos)} videos of {seconds:g} s, {sampler.num_inference_steps} steps of {sampler.solver}, "
            "one thread unless OMP_NUM_THREADS says more"
        )
        for batch_size in [options.batch] if options.batch else BATCHES:
            clock, out = Clock(), Path(temporary) / str(batch_size)
            pipeline = FoleyGRAMPipeline.from_pretrained(options.checkpoint)
            pipeline.encode = clock.timed("encoding", pipeline.encode)  # type: ignore[method-assign]
            pipeline.generate = clock.timed("generating", pipeline.generate)  # type: ignore[method-assign]
            sampling = SamplerSettings.sample
            SamplerSettings.sample = clock.timed("sampling", sampling)  # type: ignore[method-assign]
            begun, own, theirs = time.perf_counter(), time.process_time(), workers_processor_seconds()
            outcome = generate_files(
                dict.fromkeys(videos, JobOptions()), out, options.checkpoint, lambda pipeline=pipeline: pipeline,
                sampling=sampling_of(sampler), rule=TakeRule(), export=ExportOptions(), batch_size=batch_size,
            )  # fmt: skip
            total = time.perf_counter() - begun
            own, theirs = time.process_time() - own, workers_processor_seconds() - theirs
            SamplerSettings.sample = sampling  # type: ignore[method-assign]
            spent, film = clock.spent, seconds * len(videos)
            decoding = spent["generating"] - spent["sampling"]
            outside = 1 - (spent["sampling"] + decoding) / (own + theirs)
            print(
                f"batch {batch_size:2}: {film / total:.2f} x real time, {total:.1f} s, load {os.getloadavg()[0]:.1f}; "
                f"failed {outcome.num_failed}; processor seconds: {own + theirs:.2f}, {film / (own + theirs):.2f} "
                f"seconds of film each, {outside:.0%} outside sampling and decoding: encoding {spent['encoding']:.2f}, "
                f"sampling {spent['sampling']:.2f}, decoding {decoding:.2f}, the rest "
                f"{own - spent['encoding'] - spent['generating']:.2f}, reading and writing {theirs:.2f}",
                flush=True,
            )
            shutil.rmtree(out)


def cut_videos(data: Path, out: Path, count: int, seconds: float) -> list[Path]:
    """`count` videos as long as a clip of the model: the video packets of those in `data`, copied up to that length."""
    import av

    out.mkdir()
    found = sorted(data.glob("*.mp4"))
    for number in range(count):
        path = out / f"{number:03d}.mp4"
        with av.open(str(found[number % len(found)])) as source, av.open(str(path), "w") as target:
            stream = source.streams.video[0]
            copied = target.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.size and packet.pts * packet.time_base < seconds - 0.01:
                    packet.stream = copied
                    target.mux(packet)
    return sorted(out.iterdir())


if __name__ == "__main__":
    main()
