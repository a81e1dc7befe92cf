"""Damaged sounds and weight files, as many as a given time allows: each must be read or refused in
one line, quickly and within a told memory.

    python benchmarks/fuzz_readers.py audio --seconds 300
    python benchmarks/fuzz_readers.py checkpoint --seconds 300 --keep FOLDER

Small valid files are cut, overwritten, lengthened and spliced at random. What raises anything but
an error of input, takes longer than 10 s or crashes the reader is kept in FOLDER with its
traceback. The reader is a process of its own, limited to 4 GB more than it starts with.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
# Spawned readers inherit it.
sys.path.insert(0, str(ROOT))
SLOW_SECONDS = 10.0
MEMORY = 4 << 30
_NUMBERS = (0, 1, -1, 127, 128, 255, 1 << 15, (1 << 16) - 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


def audio_seeds(folder: Path) -> list[Path]:
    """A second or less of sound in every format that can be written."""
    import soundfile

    tone = 0.5 * np.sin(np.arange(4_000) * 0.3)
    out = []
    for name, rate, channels, options in (
        ("a.wav", 8_000, 1, {}),
        ("b.wav", 44_100, 2, {"subtype": "FLOAT"}),
        ("c.wav", 16_000, 1, {"subtype": "IMA_ADPCM"}),
        ("d.flac", 16_000, 2, {}),
        ("e.ogg", 16_000, 1, {}),
        ("f.mp3", 16_000, 1, {}),
        ("g.aiff", 8_000, 1, {}),
        ("h.opus", 16_000, 1, {"format": "OGG", "subtype": "OPUS"}),
        ("i.caf", 8_000, 1, {}),
        ("j.au", 8_000, 1, {}),
        ("k.w64", 8_000, 1, {}),
    ):
        path = folder / name
        soundfile.write(path, np.repeat(tone[:, None], channels, 1), rate, **options)
        out.append(path)
    try:
        import av
    except ImportError:
        return out
    for name in ("l.m4a", "m.mka", "n.aac"):
        path = folder / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=16_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(
                tone[None].astype(np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        out.append(path)
    return out


def checkpoint_seeds(folder: Path) -> list[Path]:
    """Safetensors and pickles of a few tensors, ours and foreign ones."""
    import torch
    from safetensors.torch import save_file

    from dreamaudio_core.config import VAEConfig
    from dreamaudio_core.networks.vae import AutoencoderKL
    from dreamaudio_core.weights.checkpoint import save_weights

    state = {
        "a.weight": torch.ones(4, 3),
        "a.bias": torch.zeros(4),
        "n": torch.tensor(3),
        "h": torch.ones(2, dtype=torch.float16),
    }
    small = VAEConfig(channels=4, multipliers=(1, 1), num_res_blocks=1, groups=2)
    vae = AutoencoderKL(small).state_dict()
    save_weights(folder / "ours.safetensors", vae, "vae", small)
    save_file(state, folder / "foreign.safetensors", metadata={"format": "pt"})
    torch.save({"state_dict": state, "epoch": 3}, folder / "zip.ckpt")
    torch.save({"generator": state}, folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(state, folder / "plain.bin")
    return sorted(folder.iterdir())


def read_sound(path: Path) -> None:
    """As references and libraries are read."""
    from dreamaudio_core.audio.decode import read_audio, read_original

    read_audio(path)
    read_original(path)


def read_weights(path: Path) -> None:
    """As `info`, the loaders and `convert` read weights; refused only where all of them refuse."""
    from dreamaudio_core.errors import DreamAudioError
    from dreamaudio_core.weights.convert import convert
    from dreamaudio_core.weights.info import describe
    from dreamaudio_core.weights.load import load_part

    ways: list[Callable[[], object]] = [
        lambda: describe(str(path)),
        lambda: convert(path, path.with_name("converted.safetensors")),
    ]
    if path.suffix == ".safetensors":
        ways.append(lambda: load_part("vae", path))
    refused: list[DreamAudioError] = []
    for way in ways:
        try:
            way()
        except DreamAudioError as error:
            if "\n" in str(error):
                raise ValueError(f"several lines: {error}") from error
            refused.append(error)
    if len(refused) == len(ways):
        raise refused[0]


def mutated(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """`data` with one to four random changes, most of them in the head, where the structure is."""
    content = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        if not content:
            break
        end = len(content) if draw.random() < 0.4 else min(len(content), 160)
        at = draw.randrange(end)
        match draw.randrange(8):
            case 0:
                content[at] = draw.randrange(256)
            case 1:
                content[at] ^= 1 << draw.randrange(8)
            case 2:
                width, order = draw.choice((1, 2, 4, 8)), draw.choice("<>")
                code = {1: "b", 2: "h", 4: "i", 8: "q"}[width]
                bits = 8 * width
                number = (draw.choice(_NUMBERS) + (1 << (bits - 1))) % (1 << bits)
                content[at : at + width] = struct.pack(order + code, number - (1 << (bits - 1)))
            case 3:
                del content[at:]
            case 4:
                del content[at : at + draw.randint(1, 64)]
            case 5:
                content[at:at] = draw.randbytes(draw.randint(1, 64))
            case 6:
                other = draw.choice(others)
                start = draw.randrange(len(other))
                content[at : at + 64] = other[start : start + 64]
            case 7:
                content[at:at] = content[max(0, at - 64) : at] * draw.randint(1, 50)
    return bytes(content)


def _work(read: Callable[[Path], None], jobs, results) -> None:
    import resource

    from dreamaudio_core.errors import DreamAudioError

    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY, own + MEMORY))
    while (path := jobs.get()) is not None:
        start = time.monotonic()
        try:
            read(path)
            outcome, detail = "read", ""
        except DreamAudioError as error:
            outcome, detail = "refused", str(error)
            if "\n" in detail:
                outcome = "several lines"
        except BaseException as error:
            outcome, detail = type(error).__name__, traceback.format_exc()
        if time.monotonic() - start > SLOW_SECONDS:
            outcome = "slow"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        results.put((outcome, detail, time.monotonic() - start, peak))


def fuzz(kind: str, seconds: float, seed: int, keep: Path) -> dict:
    """Counts of outcomes; files that are neither read nor refused are kept."""
    read, make = {
        "audio": (read_sound, audio_seeds),
        "checkpoint": (read_weights, checkpoint_seeds),
    }[kind]
    draw = random.Random(seed)
    context = multiprocessing.get_context("spawn")
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    longest, peak, tried, worker = 0.0, 0, 0, None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "seeds").mkdir()
        seeds = make(folder / "seeds")
        contents = [path.read_bytes() for path in seeds]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if worker is None or not worker.is_alive():
                jobs, results = context.Queue(), context.Queue()
                worker = context.Process(target=_work, args=(read, jobs, results), daemon=True)
                worker.start()
            chosen = draw.randrange(len(seeds))
            path = folder / f"case{seeds[chosen].suffix}"
            path.write_bytes(mutated(contents[chosen], contents, draw))
            jobs.put(path)
            outcome, detail, took = "crash", "", 0.0
            # The first one waits for the imports too.
            give_up = time.monotonic() + 120.0
            while worker.is_alive() and time.monotonic() < give_up:
                try:
                    outcome, detail, took, peak = results.get(timeout=1.0)
                    break
                except Exception:
                    continue
            else:
                outcome = "hang" if worker.is_alive() else "crash"
                worker.kill()
                worker = None
            tried += 1
            longest = max(longest, took)
            counts[outcome] += 1
            # The place of an error, not its text, tells one find from another.
            where = "".join(line for line in detail.splitlines() if "line " in line)
            if outcome not in ("read", "refused") and (outcome + where) not in seen:
                seen.add(outcome + where)
                keep.mkdir(parents=True, exist_ok=True)
                stem = keep / f"{kind}{len(seen)}-{outcome.replace(' ', '_')}"
                stem.with_suffix(path.suffix).write_bytes(path.read_bytes())
                Path(f"{stem}.txt").write_text(detail)
        if worker is not None:
            jobs.put(None)
            worker.join(10)
    return {
        "kind": kind,
        "seed": seed,
        "seconds": seconds,
        "files": tried,
        "outcomes": dict(counts),
        "different finds": len(seen),
        "longest seconds": round(longest, 2),
        "peak megabytes": peak // 1024,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=("audio", "checkpoint"))
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-finds"))
    args = parser.parse_args()
    found = fuzz(args.kind, args.seconds, args.seed, args.keep)
    print(json.dumps(found, indent=2))
    return 1 if found["different finds"] else 0


if __name__ == "__main__":
    sys.exit(main())
