"""Results to look at and to keep: Mel Preview and Save Audio."""

import json
import os
import secrets
import threading
from io import BytesIO
from pathlib import Path

import folder_paths
import numpy as np
import soundfile
import torch
from comfy.cli_args import args
from comfy_api.latest import io, ui

from ..dreamaudio_core.audio.levels import LEVELS, set_level
from ..dreamaudio_core.audio.picture import Panel, draw_spectrograms
from ..dreamaudio_core.audio.resample import resample
from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.file_names import name_problem
from ..dreamaudio_core.files import atomic_write
from .audio import seeds_of, sounds
from .types import CATEGORY, Mel, aliases

FORMATS = ("flac", "wav", "wav 24-bit", "wav float", "mp3", "opus")
WAV_SUBTYPES = {"wav": "PCM_16", "wav 24-bit": "PCM_24", "wav float": "FLOAT"}
# A number that goes on from the files that exist, at least two digits wide.
TAKE = "%take%"
# Sample rates that the lossy codecs take; other sounds are resampled to the next higher one.
CODEC_RATES = {
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "opus": (8000, 12000, 16000, 24000, 48000),
}
FLAC_MAX_RATE = 655_350
MAX_TAKE = 99_999
_WRITING = threading.Lock()
SUFFIXES = (".flac", ".wav", ".mp3", ".opus")


class MelPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioMelPreview",
            display_name="DreamAudio Mel Preview",
            category=CATEGORY,
            description="Draws a mel spectrogram with axes in seconds and Hz and marks where the "
            "references play.",
            **aliases("spectrogram", "mel", "show audio"),
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
        notes = mel["notes"]
        panels = [Panel(item[0], "", notes.seconds, notes.timeline) for item in mel["mel"].cpu()]
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
            **aliases("save wav", "save flac", "save mp3", "export audio", "loudness", "LUFS"),
            inputs=[
                io.Audio.Input("audio", tooltip="The sounds; each of a batch becomes a file."),
                io.String.Input(
                    "filename_prefix",
                    default="audio/DreamAudio",
                    tooltip="Start of the file names in the output folder. A number is appended, "
                    "or replaces %take%: step_%take% gives step_01, step_02, ...",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="flac",
                    tooltip="flac and wav are lossless (16 bits unless the name says otherwise); "
                    "mp3 and opus make small files.",
                ),
                io.Combo.Input(
                    "level",
                    options=list(LEVELS),
                    default=LEVELS[0],
                    tooltip="as is: scaled down only if it would clip; peak: true peak at -1 dB; "
                    "LUFS: that loudness, as far as the true peak allows (needs pyloudnorm).",
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, audio, filename_prefix, format, level) -> io.NodeOutput:
        waveform, rate = sounds(audio, "audio", channels=2)
        if format not in FORMATS:
            raise InputError(f"format: expected one of {', '.join(FORMATS)}, found {format!r}")
        if format == "flac" and rate > FLAC_MAX_RATE:
            raise InputError(
                f"audio: flac holds up to {FLAC_MAX_RATE} Hz, found {rate}; choose wav"
            )
        target = codec_rate(format, rate)
        waveform = resample(waveform, rate, target)
        check_prefix(filename_prefix)
        saved = []
        try:
            for index, item in enumerate(waveform):
                # Replaced here, so that the counter goes on from files of the final name.
                prefix = filename_prefix.replace("%batch_num%", str(index))
                item, _ = set_level(item, target, level)
                saved.append(save(item, target, prefix, format, cls))
        except OSError as error:
            reason = error.strerror or error
            raise InputError(
                f"filename_prefix: {filename_prefix!r} cannot be saved ({reason}); choose "
                "another, or check space and permissions of the output folder"
            ) from error
        return io.NodeOutput(ui={**ui.SavedAudios(saved).as_dict(), "seeds": seeds_of(audio)})


def check_prefix(prefix: str) -> None:
    """Refuse a prefix whose files other systems would not take, or would take to be others.

    Windows hides what is saved as `a:b`, and leaves off spaces and dots at the end of folders.
    """
    *folders, name = prefix.replace("\\", "/").split("/")
    # As it is then: with a number in place of %take%, or appended.
    name = name.replace(TAKE, "01") if TAKE in prefix else f"{name}_00001_"
    for part in [*folders, name]:
        # Paths that lead out of the output folder are for ComfyUI to refuse.
        problem = "" if part in ("", ".", "..") else name_problem(part)
        if problem:
            raise InputError(f"filename_prefix: {prefix!r}: {part!r} {problem}; choose another")


def codec_rate(format: str, rate: int) -> int:
    """The lowest sample rate of a format that loses nothing of a sound, else its highest."""
    rates = CODEC_RATES.get(format, (rate,))
    return next((r for r in rates if r >= rate), rates[-1])


def save(
    waveform: torch.Tensor, rate: int, prefix: str, format: str, cls: type[io.ComfyNode]
) -> ui.SavedResult:
    """Write one sound [1 or 2, T] to the output folder, with the workflow inside."""
    numbered = TAKE in prefix
    # ComfyUI chooses a free name of its own, from which the file is renamed then.
    plain = prefix.replace(TAKE, "take") if numbered else prefix
    if format in WAV_SUBTYPES:
        notes = _notes(cls)
        comment = json.dumps(notes) if notes else ""
        data, suffix = wav_bytes(waveform, rate, WAV_SUBTYPES[format], comment), "wav"
    else:
        data, suffix = _coded_by_comfyui(waveform, rate, format, cls), format
    saved = write_output(data, plain, suffix)
    return _as_take(saved, prefix) if numbered else saved


def _as_take(saved: ui.SavedResult, prefix: str) -> ui.SavedResult:
    """The saved file under the first name of `prefix` that is free."""
    folder = Path(folder_paths.get_output_directory(), saved.subfolder)
    source = folder / saved.filename
    name = os.path.basename(os.path.normpath(prefix))
    for number in range(1, MAX_TAKE + 1):
        target = folder / (name.replace(TAKE, f"{number:02}") + source.suffix)
        # Of any format, so that takes of one name are one series.
        if not any(target.with_suffix(suffix).exists() for suffix in SUFFIXES):
            source.rename(target)
            return ui.SavedResult(target.name, saved.subfolder, saved.type)
    raise InputError(f"filename_prefix: all {MAX_TAKE} names of {prefix!r} are taken")


def _coded_by_comfyui(
    waveform: torch.Tensor, rate: int, format: str, cls: type[io.ComfyNode]
) -> bytes:
    """A file as ComfyUI's own nodes save it, by way of its temporary folder: it would write into
    the output folder what a full disk or a kill can cut.
    """
    folder, name = Path(folder_paths.get_temp_directory()), f"dreamaudio_{secrets.token_hex(8)}"
    try:
        saved = ui.AudioSaveHelper.save_audio(
            {"waveform": waveform[None], "sample_rate": rate},
            filename_prefix=name,
            folder_type=io.FolderType.temp,
            cls=cls,
            format=format,
            quality="V0" if format == "mp3" else "128k",
        )[0]
        return (folder / saved.filename).read_bytes()
    finally:
        for left in folder.glob(f"{name}*"):
            left.unlink(missing_ok=True)


def _notes(cls: type[io.ComfyNode]) -> dict:
    """Prompt and workflow, unless the user wants no metadata in files."""
    if args.disable_metadata:
        return {}
    return {"prompt": cls.hidden.prompt, **(cls.hidden.extra_pnginfo or {})}


def write_output(data: bytes, prefix: str, suffix: str) -> ui.SavedResult:
    """Write a file of the next free number to the output folder, whole or not at all."""
    # Keep of Preview Audio writes beside the queue.
    with _WRITING:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            prefix, folder_paths.get_output_directory()
        )
        # ComfyUI counts on from files whose number is followed by an underscore.
        file = f"{name}_{counter:05}_.{suffix}"
        with atomic_write(os.path.join(folder, file)) as temporary:
            temporary.write_bytes(data)
    return ui.SavedResult(file, subfolder, io.FolderType.output)


def wav_bytes(waveform: torch.Tensor, sample_rate: int, subtype: str, comment: str) -> bytes:
    """A RIFF file of samples [channels, T]; the comment, if any, follows them as a LIST chunk of
    type INFO.
    """
    buffer = BytesIO()
    soundfile.write(buffer, waveform.float().T.numpy(), sample_rate, subtype, format="WAV")
    if not comment:
        return buffer.getvalue()
    text = comment.encode() + b"\0"
    text += b"\0" * (len(text) % 2)
    info = b"INFOICMT" + len(text).to_bytes(4, "little") + text
    data = buffer.getvalue() + b"LIST" + len(info).to_bytes(4, "little") + info
    return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]


NODES = [MelPreview, SaveAudio]
