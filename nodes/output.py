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
from ..dreamaudio_core.audio.resample import resample
from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.files import atomic_write
from .audio import sounds
from .types import CATEGORY, Mel

FORMATS = ("flac", "wav", "mp3", "opus")
# Sample rates that the lossy codecs take; other sounds are resampled to the next higher one.
CODEC_RATES = {
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "opus": (8000, 12000, 16000, 24000, 48000),
}
FLAC_MAX_RATE = 655_350


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
        waveform, rate = sounds(audio, "audio", channels=2)
        if format not in FORMATS:
            raise InputError(f"format: expected one of {', '.join(FORMATS)}, found {format!r}")
        if format == "flac" and rate > FLAC_MAX_RATE:
            raise InputError(
                f"audio: flac holds up to {FLAC_MAX_RATE} Hz, found {rate}; choose wav"
            )
        target = codec_rate(format, rate)
        waveform = resample(waveform, rate, target)
        saved = []
        try:
            for index, item in enumerate(waveform):
                # Replaced here, so that the counter goes on from files of the final name.
                prefix = filename_prefix.replace("%batch_num%", str(index))
                saved.append(save(item, target, prefix, format, cls))
        except OSError as error:
            reason = error.strerror or error
            raise InputError(
                f"filename_prefix: {filename_prefix!r} cannot be saved ({reason}); choose "
                "another, or check space and permissions of the output folder"
            ) from error
        return io.NodeOutput(ui=ui.SavedAudios(saved))


def codec_rate(format: str, rate: int) -> int:
    """The lowest sample rate of a format that loses nothing of a sound, else its highest."""
    rates = CODEC_RATES.get(format, (rate,))
    return next((r for r in rates if r >= rate), rates[-1])


def save(
    waveform: torch.Tensor, rate: int, prefix: str, format: str, cls: type[io.ComfyNode]
) -> ui.SavedResult:
    """Write one sound [1 or 2, T] to the output folder, with the workflow inside."""
    if format == "wav":
        return save_wav(waveform, rate, prefix, cls)
    return ui.AudioSaveHelper.save_audio(
        {"waveform": waveform[None], "sample_rate": rate},
        filename_prefix=prefix,
        folder_type=io.FolderType.output,
        cls=cls,
        format=format,
        quality="V0" if format == "mp3" else "128k",
    )[0]


def save_wav(
    waveform: torch.Tensor, rate: int, prefix: str, cls: type[io.ComfyNode]
) -> ui.SavedResult:
    """Write a sound [channels, T] as 16-bit WAV, prompt and workflow as JSON in the comment of its
    INFO list.
    """
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        prefix, folder_paths.get_output_directory()
    )
    notes = {}
    if not args.disable_metadata:
        notes = {"prompt": cls.hidden.prompt, **(cls.hidden.extra_pnginfo or {})}
    # ComfyUI counts on from files whose number is followed by an underscore.
    file = f"{name}_{counter:05}_.wav"
    data = wav_bytes(waveform, rate, json.dumps(notes) if notes else "")
    with atomic_write(os.path.join(folder, file)) as temporary:
        temporary.write_bytes(data)
    return ui.SavedResult(file, subfolder, io.FolderType.output)


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
