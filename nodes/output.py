"""Results to look at and to keep: Mel Preview and Save Audio."""

import json
import os
import wave
from io import BytesIO

import folder_paths
import numpy as np
import torch
from comfy.cli_args import args
from comfy_api.latest import io, ui

from ..dreamaudio_core.audio.picture import Panel, draw_spectrograms
from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.files import atomic_write
from .audio import sounds
from .types import CATEGORY, Mel

FORMATS = ("flac", "wav", "mp3", "opus")


class MelPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioMelPreview",
            display_name="DreamAudio Mel Preview",
            category=CATEGORY,
            description="Draws a mel spectrogram over seconds and Hz, with the places of the "
            "references over it.",
            inputs=[Mel.Input("mel", tooltip="Mel spectrograms of DreamAudio VAE Decode.")],
            outputs=[
                io.Image.Output(
                    display_name="image", tooltip="One picture for each item of the batch."
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, mel) -> io.NodeOutput:
        seconds, timeline = mel["seconds"], mel["timeline"]
        panels = [Panel(item[0], "", seconds, timeline) for item in mel["mel"].cpu()]
        pictures = [np.asarray(draw_spectrograms([panel], mel["audio"])) for panel in panels]
        image = torch.from_numpy(np.stack(pictures)).float() / 255
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))


class SaveAudio(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioSaveAudio",
            display_name="DreamAudio Save Audio",
            category=CATEGORY,
            description="Saves sounds with the workflow inside; a saved file dropped on the "
            "canvas opens its workflow.",
            inputs=[
                io.Audio.Input("audio", tooltip="The sounds; each of a batch becomes a file."),
                io.String.Input(
                    "filename_prefix",
                    default="audio/DreamAudio",
                    tooltip="Beginning of the file names inside the output folder; a number "
                    "follows.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="flac",
                    tooltip="flac and wav keep every sample (16 bits in wav); mp3 and opus are "
                    "small.",
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, audio, filename_prefix, format) -> io.NodeOutput:
        waveform, rate = sounds(audio, "audio")
        if format not in FORMATS:
            raise InputError(f"format: expected one of {', '.join(FORMATS)}, found {format!r}")
        audio = {"waveform": waveform, "sample_rate": rate}
        if format == "wav":
            return io.NodeOutput(ui=ui.SavedAudios(save_wav(audio, filename_prefix, cls)))
        quality = "V0" if format == "mp3" else "128k"
        saved = ui.AudioSaveHelper.get_save_audio_ui(
            audio, filename_prefix=filename_prefix, cls=cls, format=format, quality=quality
        )
        return io.NodeOutput(ui=saved)


def save_wav(audio: dict, filename_prefix: str, cls: type[io.ComfyNode]) -> list[ui.SavedResult]:
    """Write each sound of an AUDIO as 16-bit WAV, prompt and workflow as JSON in the comment of its
    INFO list.
    """
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        filename_prefix, folder_paths.get_output_directory()
    )
    notes = {}
    if not args.disable_metadata:
        notes = {"prompt": cls.hidden.prompt, **(cls.hidden.extra_pnginfo or {})}
    results = []
    for index, waveform in enumerate(audio["waveform"]):
        # ComfyUI counts on from files whose number is followed by an underscore.
        file = f"{name.replace('%batch_num%', str(index))}_{counter + index:05}_.wav"
        data = wav_bytes(waveform, audio["sample_rate"], json.dumps(notes) if notes else "")
        with atomic_write(os.path.join(folder, file)) as temporary:
            temporary.write_bytes(data)
        results.append(ui.SavedResult(file, subfolder, io.FolderType.output))
    return results


def wav_bytes(waveform: torch.Tensor, sample_rate: int, comment: str) -> bytes:
    """A RIFF file of samples [channels, T]; the comment, if any, follows them as a LIST chunk of
    type INFO.
    """
    samples = (waveform.float().clamp(-1, 1) * 32767).round().to(torch.int16)
    buffer = BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(samples.shape[0])
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(samples.T.contiguous().numpy().astype("<i2").tobytes())
    if not comment:
        return buffer.getvalue()
    text = comment.encode() + b"\0"
    text += b"\0" * (len(text) % 2)
    info = b"INFOICMT" + len(text).to_bytes(4, "little") + text
    data = buffer.getvalue() + b"LIST" + len(info).to_bytes(4, "little") + info
    return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]


NODES = [MelPreview, SaveAudio]
