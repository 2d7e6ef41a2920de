"""The nodes: predict an envelope, edit it, generate a sound that follows it, score the sound."""

import json
from functools import lru_cache
from typing import Any

import comfy.model_management
import comfy.utils
import torch

from foleygram import Envelope, FoleyGRAMPipeline
from foleygram.envelope.editing.edits import apply_edits
from foleygram.envelope.editing.options import FORMS, parse_edit

from .media import envelope_of_audio, mono, read_input, reference_of
from .scores import score

try:
    from comfy_api.v0_0_2 import ComfyExtension, io
except ImportError:  # a ComfyUI without versioned interfaces
    from comfy_api.latest import ComfyExtension, io

EnvelopeType = io.Custom("FOLEY_ENVELOPE")
CATEGORY = "audio/foleygram"
EDIT_HELP = "One edit per line: " + "; ".join(f"{name} {form}" for name, form in FORMS.items())


@lru_cache(maxsize=1)
def load(checkpoint: str, device: str) -> FoleyGRAMPipeline:
    """The pipeline of a release folder or hub id on ComfyUI's device; the last one stays loaded."""
    return FoleyGRAMPipeline.from_pretrained(checkpoint).to(device)


def pipeline_of(checkpoint: str) -> FoleyGRAMPipeline:
    """`load` on the device that ComfyUI chose."""
    return load(checkpoint.strip(), str(comfy.model_management.get_torch_device()))


def inputs_of_video() -> list[Any]:
    """The inputs by which a node sees: a VIDEO, or an IMAGE batch with its frame rate; and the release."""
    return [
        io.Video.Input("video", optional=True, tooltip="A video; its trim is respected."),
        io.Image.Input("images", optional=True, tooltip="Frames instead of a video; set fps."),
        io.Float.Input("fps", default=24.0, min=1.0, max=240.0, step=0.001, tooltip="Frame rate of images."),
        io.String.Input(
            "checkpoint", default="checkpoints/mini", tooltip="Release folder, or hub:OWNER/NAME on the model hub."
        ),
    ]


class PredictEnvelope(io.ComfyNode):
    """Loudness over time, predicted from the video, or measured on a sound."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FoleygramPredictEnvelope",
            display_name="Predict envelope",
            category=CATEGORY,
            description="When something sounds and how loud: predicted from the video, or measured on guide audio.",
            inputs=[
                *inputs_of_video(),
                io.Audio.Input("guide", optional=True, tooltip="Measure the envelope on this sound instead."),
            ],
            outputs=[EnvelopeType.Output("envelope"), io.String.Output("onsets")],
        )

    @classmethod
    def execute(
        cls,
        fps: float,
        checkpoint: str,
        video: Any = None,
        images: torch.Tensor | None = None,
        guide: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        pipeline = pipeline_of(checkpoint)
        if mono(guide) is None:
            envelope = pipeline.envelope_of(read_input(video, images, fps, pipeline.spec))
        else:
            envelope = envelope_of_audio(guide, pipeline.spec)
        return io.NodeOutput(envelope, onsets_text(envelope))


class EditEnvelope(io.ComfyNode):
    """Edits in the language of `foleygram envelope`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FoleygramEditEnvelope",
            display_name="Edit envelope",
            category=CATEGORY,
            description=EDIT_HELP,
            inputs=[
                EnvelopeType.Input("envelope"),
                io.String.Input("edits", multiline=True, default="", placeholder="shift 80ms", tooltip=EDIT_HELP),
            ],
            outputs=[EnvelopeType.Output("envelope"), io.String.Output("onsets")],
        )

    @classmethod
    def execute(cls, envelope: Envelope, edits: str) -> io.NodeOutput:
        lines = [line.strip().removeprefix("--").split(maxsplit=1) for line in edits.splitlines() if line.strip()]
        edited = apply_edits(envelope, [parse_edit(name, "".join(text)) for name, *text in lines])
        return io.NodeOutput(edited, onsets_text(edited))


class GenerateFoley(io.ComfyNode):
    """Sound for a video, by the pipeline."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FoleygramGenerate",
            display_name="Generate Foley",
            category=CATEGORY,
            description="Sound in sync with the video. Without an envelope, the predicted one is followed.",
            inputs=[
                *inputs_of_video(),
                EnvelopeType.Input("envelope", optional=True),
                io.Audio.Input("reference", optional=True, tooltip="A sound to imitate."),
                io.String.Input("prompt", multiline=True, default=""),
                io.String.Input("negative_prompt", multiline=True, default=""),
                io.Int.Input("seed", default=0, min=0, max=2**62, control_after_generate=True),
                io.Int.Input("steps", default=0, min=0, max=1000, tooltip="Sampling steps; 0: as the release says."),
                io.Float.Input(
                    "guidance", default=0.0, min=0.0, max=30.0, step=0.1, tooltip="1 is none; 0: as the release says."
                ),
                io.Float.Input("control_scale", default=1.0, min=0.0, max=4.0, step=0.05),
            ],
            outputs=[io.Audio.Output("audio"), EnvelopeType.Output("followed_envelope")],
        )

    @classmethod
    def execute(
        cls,
        fps: float,
        checkpoint: str,
        prompt: str,
        negative_prompt: str,
        seed: int,
        steps: int,
        guidance: float,
        control_scale: float,
        video: Any = None,
        images: torch.Tensor | None = None,
        envelope: Envelope | None = None,
        reference: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        pipeline = pipeline_of(checkpoint)
        total = steps or pipeline.sampler.num_inference_steps
        bar = comfy.utils.ProgressBar(total)

        def step_done(step: int) -> None:
            bar.update_absolute(step, total)
            comfy.model_management.throw_exception_if_processing_interrupted()

        output = pipeline(
            read_input(video, images, fps, pipeline.spec),
            prompt=prompt.strip() or None,
            negative_prompt=negative_prompt.strip() or None,
            reference_audio=reference_of(reference),
            envelope="predicted" if envelope is None else envelope,
            num_inference_steps=steps or None,
            guidance_scale=guidance or None,
            controlnet_conditioning_scale=control_scale,
            generator=seed,
            callback=step_done,
        )
        audio = {"waveform": output.audio.cpu()[None], "sample_rate": output.sample_rate}
        return io.NodeOutput(audio, output.envelope)


class ScoreFoley(io.ComfyNode):
    """How closely a sound follows an envelope or a reference."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FoleygramScore",
            display_name="Score",
            category=CATEGORY,
            description="Onset F1, envelope difference and correlation, lag, level in silences; as JSON.",
            inputs=[
                io.Audio.Input("audio"),
                EnvelopeType.Input("envelope", optional=True, tooltip="The envelope that the sound should follow."),
                io.Audio.Input("reference", optional=True, tooltip="The true sound."),
            ],
            outputs=[io.String.Output("scores")],
        )

    @classmethod
    def execute(
        cls,
        audio: dict[str, Any] | None,
        envelope: Envelope | None = None,
        reference: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(json.dumps(score(audio, envelope, reference), indent=1))


def onsets_text(envelope: Envelope) -> str:
    """Onset times in seconds, separated by spaces."""
    return " ".join(f"{time:.3f}" for time in envelope.onsets())


class FoleygramExtension(ComfyExtension):
    """The four nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [PredictEnvelope, EditEnvelope, GenerateFoley, ScoreFoley]


async def comfy_entrypoint() -> ComfyExtension:
    """What ComfyUI calls to load the nodes."""
    return FoleygramExtension()
