"""Choosing a command, and turning errors of input into one line."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys

from .. import __version__
from ..errors import DreamAudioError
from .config_file import expand_config

# Command, module with `add_parser(commands)`, and what `--help` says of it. A new command is a
# module and a line here.
COMMANDS = {
    "generate": (".cli.generate", "generate audio from a prompt and reference sounds"),
    "batch": (".batch.cli", "generate every scene of a file; can be stopped and taken up again"),
    "comfyui-batch": (
        ".batch.comfyui_cli",
        "run every scene of a file through a workflow on ComfyUI servers",
    ),
    "arrange": (".cli.arrange", "show where each reference would sound, without generating"),
    "roundtrip": (".cli.roundtrip", "pass a sound through a model's mel, VAE and vocoder"),
    "info": (".cli.info", "sizes of a preset, model folder or weight file"),
    "convert": (".cli.convert", "convert a public VAE or BigVGAN checkpoint to safetensors"),
    "assemble": (".cli.assemble", "put trained parts together as a model folder"),
    "data": (".data.cli", "sound banks, the paper's datasets, cached latents"),
    "train": (".training.cli", "train a part of a model"),
    "evaluate": (".evaluation.cli", "score generated audio as the paper does"),
    "library": (".retrieval.cli", "index sounds, and find references for a prompt"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; errors of input become one line and exit status 2."""
    try:
        argv = expand_config(sys.argv[1:] if argv is None else argv)
    except DreamAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    chosen = next((word for word in argv if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="dreamaudio",
        description="Customized text-to-audio generation.",
        epilog="Every command takes `--config FILE`: a TOML file of options, which later ones "
        "override.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, summary) in COMMANDS.items():
        # Only the chosen module is imported, so that the others cost a short command nothing.
        if name == chosen:
            importlib.import_module(module, __package__.rpartition(".")[0]).add_parser(commands)
        else:
            commands.add_parser(name, help=summary)
    args = parser.parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        return args.run(args)
    except DreamAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:
        from ..device import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        text = str(error).splitlines()[0] if str(error) else "out of memory"
        print(f"error: {text}; fewer seconds or a smaller --count need less", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, `| head` for example.
        sys.stderr.close()
        return 1
    except OSError as error:
        # A file that cannot be read or written is the user's to fix; other failures of the system
        # name no file and are defects.
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}; choose another path", file=sys.stderr)
        return 2
