"""Clips per minute of a folder run for 1, 4 and 16 clips per batch, and where its seconds go (target: sampling 85%).

Reading and writing go on in processes of their own while the model works: what they take is counted there, what the
run waits for them is its rest.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.heldout import parse_options
from foleygram.generation.sampling import SamplerSettings
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.release import read_index, sampler_of
from foleygram.production import export, workers
from foleygram.production.batch_runner import TakeRule, sampling_of
from foleygram.production.export import ExportOptions
from foleygram.production.job import JobOptions
from foleygram.production.run import generate_files

BATCHES = (1, 4, 16)


class Clock:
    """Seconds by name, from any thread."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._lock = threading.Lock()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its wall time added under `name`."""

        def run(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                with self._lock:
                    self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - begun

        return run


def main() -> None:
    """Run the same videos with each batch size and print rates and shares."""
    options = parse_options(__doc__, clips=16, steps=0)
    sampler = sampler_of(options.checkpoint).override(num_inference_steps=options.steps or None)
    seconds = read_index(options.checkpoint)["spec"]["seconds"]
    with tempfile.TemporaryDirectory() as temporary:
        videos = cut_videos(options.data, Path(temporary) / "videos", options.clips, seconds)
        print(
            f"{len(videos)} videos of {seconds:g} s, {sampler.num_inference_steps} steps, one thread unless "
            "OMP_NUM_THREADS says more"
        )
        for batch_size in BATCHES:
            clock, out = Clock(), Path(temporary) / str(batch_size)
            pipeline = FoleyGRAMPipeline.from_pretrained(options.checkpoint)
            pipeline.encode = clock.timed("encoding", pipeline.encode)  # type: ignore[method-assign]
            pipeline.generate = clock.timed("generating", pipeline.generate)  # type: ignore[method-assign]
            reading, writing, sampling = workers.run_isolated, export.run_isolated, SamplerSettings.sample
            SamplerSettings.sample = clock.timed("sampling", sampling)  # type: ignore[method-assign]
            workers.run_isolated = clock.timed("reading", reading)  # type: ignore[attr-defined]
            export.run_isolated = clock.timed("writing", writing)  # type: ignore[attr-defined]
            begun = time.perf_counter()
            outcome = generate_files(
                dict.fromkeys(videos, JobOptions()), out, options.checkpoint, lambda pipeline=pipeline: pipeline,
                sampling=sampling_of(sampler), rule=TakeRule(), export=ExportOptions(), batch_size=batch_size,
            )  # fmt: skip
            total = time.perf_counter() - begun
            workers.run_isolated, export.run_isolated = reading, writing  # type: ignore[attr-defined]
            SamplerSettings.sample = sampling  # type: ignore[method-assign]
            spent = clock.spent
            decoding = spent["generating"] - spent["sampling"]
            waiting = total - spent["encoding"] - spent["generating"]
            print(
                f"batch {batch_size:2}: {60 * len(videos) / total:5.1f} clips/min, {total:.1f} s; failed "
                f"{outcome.num_failed}; encoding {spent['encoding']:.1f}, sampling {spent['sampling']:.1f} "
                f"({spent['sampling'] / total:.0%}), decoding {decoding:.1f}, waiting "
                f"{waiting:.1f} s; beside: reading {spent['reading']:.1f}, writing {spent['writing']:.1f} s",
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
