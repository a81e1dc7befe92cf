"""Video: its length for the timeline, and a sound under it."""

import json
import os
from io import BytesIO

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io, ui

from ..dreamaudio_core.audio.levels import set_level
from ..dreamaudio_core.audio.mux import container_of, mux
from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.files import atomic_write
from .audio import one_sound
from .output import TAKE, check_prefix
from .types import CATEGORY, MAX_SECONDS, MIN_SECONDS, aliases

SUFFIXES = {"mp4": ".mp4", "matroska": ".mkv"}


def _source(video):
    """File, or its bytes, of a VIDEO as it is to be shown."""
    trimmed = getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))()
    if any(trimmed):
        buffer = BytesIO()
        video.save_to(buffer)
        return buffer
    return video.get_stream_source()


class VideoLength(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioVideoLength",
            display_name="DreamAudio Video Length",
            category=CATEGORY,
            description="Length and frame rate of a video, for a sound that fits it.",
            **aliases("video to audio", "fps", "duration", "foley"),
            inputs=[io.Video.Input("video", tooltip="The video that the sound is for.")],
            outputs=[
                io.Float.Output(
                    display_name="seconds",
                    tooltip="Length in seconds; connect it to seconds of Arrange References or "
                    "Scene.",
                ),
                io.Float.Output(display_name="fps", tooltip="Frames a second."),
            ],
        )

    @classmethod
    def execute(cls, video) -> io.NodeOutput:
        seconds, fps = float(video.get_duration()), float(video.get_frame_rate())
        if not MIN_SECONDS <= seconds <= MAX_SECONDS:
            raise InputError(
                f"video: is {seconds:.2f} s long, and a sound can have {MIN_SECONDS:g} to "
                f"{MAX_SECONDS:g} s; cut the video first"
            )
        told = f"{seconds:.2f} s, {fps:g} frames a second"
        shown = {**ui.PreviewText(told).as_dict(), "fps": [fps], "seconds": [seconds]}
        return io.NodeOutput(seconds, fps, ui=shown)


class SaveVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioSaveVideo",
            display_name="DreamAudio Save Video",
            category=CATEGORY,
            description="Saves a video with a sound in place of its own; the pictures are copied "
            "as they are.",
            **aliases("mux", "combine video and audio", "add sound to video"),
            inputs=[
                io.Video.Input("video", tooltip="The video; its own sound is left out."),
                io.Audio.Input("audio", tooltip="One sound; cut off at the end of the video."),
                io.String.Input(
                    "filename_prefix",
                    default="video/DreamAudio",
                    tooltip="Start of the file name in the output folder; a number is appended.",
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, video, audio, filename_prefix) -> io.NodeOutput:
        waveform, rate = one_sound(audio, "audio")
        if len(waveform) > 2:
            raise InputError(f"audio: expected mono or stereo, found {len(waveform)} channels")
        if TAKE in filename_prefix:
            raise InputError(f"filename_prefix: {TAKE} is for Save Audio; leave it out")
        check_prefix(filename_prefix)
        waveform, _ = set_level(waveform, rate, "as is")
        source = _source(video)
        suffix = SUFFIXES[container_of(source)]
        try:
            folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
                filename_prefix, folder_paths.get_output_directory()
            )
            file = f"{name}_{counter:05}_{suffix}"
            with atomic_write(os.path.join(folder, file)) as temporary:
                mux(source, waveform, rate, temporary, _tags(cls))
        except OSError as error:
            raise InputError(
                f"filename_prefix: {filename_prefix!r} cannot be saved "
                f"({error.strerror or error}); choose another, or check space and permissions of "
                "the output folder"
            ) from error
        return io.NodeOutput(
            ui=ui.PreviewVideo([ui.SavedResult(file, subfolder, io.FolderType.output)])
        )


def _tags(cls: type[io.ComfyNode]) -> dict[str, str]:
    """Prompt and workflow, as ComfyUI's own Save Video stores them."""
    if args.disable_metadata:
        return {}
    notes = {"prompt": cls.hidden.prompt, **(cls.hidden.extra_pnginfo or {})}
    return {key: json.dumps(value) for key, value in notes.items() if value is not None}


NODES = [VideoLength, SaveVideo]
