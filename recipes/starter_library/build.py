"""Build the starter library from Debian packages, and from what `synthesise.py` makes.

Usage: build.py PACKAGES_DIR OUT_DIR

`sounds.csv` names each sound's package, its files in there (joined where there are several) and
where the package states their licence. Packages are downloaded with apt and unpacked, never
installed. A sound whose licence is not found where the table says, or is another, stops the build.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent))
import synthesise  # noqa: E402
from archives import read_member  # noqa: E402

TABLE = Path(__file__).parent / "sounds.csv"
SECONDS = 8.0
RATE = 48_000
# Levels in dB of the loudest 0.4 s: beds lie below events. Peaks stay under -1 dBFS, and quiet
# recordings are raised by 24 dB at most.
EVENT_LEVEL, BED_LEVEL, PEAK, MOST_GAIN = -20.0, -26.0, -1.0, 24.0
FREE = re.compile(r"CC ?-?0|Creative Commons 0|public[- ]domain", re.IGNORECASE)
LICENSE = re.compile(
    r"CC ?-?0|Creative Commons 0|public[- ]domain|CC[ -]BY|Attribution|GPL", re.IGNORECASE
)


def unpack(package: str, folder: Path) -> tuple[Path, str]:
    """The folder of a downloaded and unpacked package, and its version."""
    target = folder / package
    archives = sorted(folder.glob(f"{package}_*.deb"))
    if not archives:
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        archives = sorted(folder.glob(f"{package}_*.deb"))
    if not target.is_dir():
        subprocess.run(["dpkg-deb", "-x", archives[-1], target], check=True)
    version = subprocess.run(
        ["dpkg-deb", "-f", archives[-1], "Version"], check=True, capture_output=True, text=True
    )
    return target, version.stdout.strip()


def read(root: Path, name: str) -> bytes:
    """A file of a package; `ARCHIVE!MEMBER` lies in an archive."""
    archive, _, member = name.partition("!")
    return read_member(root / archive, member) if member else (root / archive).read_bytes()


def check_license(row: dict[str, str], root: Path) -> str:
    """Find the sound's licence where the table says.

    Returns
    -------
    str
        The file of the package that states it.

    Raises
    ------
    SystemExit
        If it is not stated there, or is neither CC0 nor a dedication to the public domain.
    """
    where = row["stated_in"]
    if where == "copyright":
        where = f"usr/share/doc/{row['package']}/copyright"
        found = copyright_license(read_text(root / where), row["stated_as"])
    else:
        found = nearby_license(read(root, where).decode("utf-8", "replace"), row["stated_as"])
    if found is None or not FREE.search(found):
        raise SystemExit(f"{row['name']}: {where} states the licence {found!r}, expected CC0")
    return where


def read_text(path: Path) -> str:
    if not path.exists():
        return gzip.decompress(path.with_suffix(".gz").read_bytes()).decode("utf-8", "replace")
    return path.read_text(encoding="utf-8", errors="replace")


def copyright_license(text: str, file: str) -> str | None:
    """Licence of a file by a Debian copyright file: of its last paragraph that matches."""
    found = None
    for paragraph in re.split(r"\n[ \t]*\n", text):
        files = re.search(r"^Files:(.*?)^\S", paragraph, re.DOTALL | re.MULTILINE)
        name = re.search(r"^License:[ \t]*(\S.*)$", paragraph, re.MULTILINE)
        if files and name and any(fnmatchcase(file, p) for p in files.group(1).split()):
            found = name.group(1)
    return found


def nearby_license(text: str, words: str) -> str | None:
    """Licence that a list names last up to the end of the line with these words."""
    text = text.replace("\r\n", "\n")
    start = text.find(words)
    if start < 0:
        return None
    end = text.find("\n", start + len(words))
    named = LICENSE.findall(text[: end if end > 0 else len(text)])
    return named[-1] if named else None


def decode(content: bytes) -> tuple[np.ndarray, int]:
    """Samples [N, channels] of at most `SECONDS`, and their rate, 48 kHz at most."""
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float64", always_2d=True)
    if rate > RATE:
        if rate % RATE:
            raise SystemExit(f"rate: expected at most {RATE} Hz or a multiple, found {rate}")
        samples, rate = decimate(samples, rate // RATE), RATE
    if samples.shape[1] == 2 and np.array_equal(samples[:, 0], samples[:, 1]):
        samples = samples[:, :1]
    return samples[: round(SECONDS * rate)], rate


def decimate(samples: np.ndarray, factor: int) -> np.ndarray:
    """Every `factor`-th sample after a windowed-sinc low pass."""
    reach = 32 * factor
    x = np.arange(-reach, reach + 1)
    kernel = np.sinc(0.95 * x / factor) * np.kaiser(len(x), 8.0)
    kernel /= kernel.sum()
    filtered = [np.convolve(channel, kernel, mode="same") for channel in samples.T]
    return np.stack(filtered, 1)[::factor]


def join(pieces: list[tuple[np.ndarray, int]], gap: float) -> tuple[np.ndarray, int]:
    """Pieces that start every `gap` seconds; end to end for a gap of zero."""
    rate = pieces[0][1]
    if any(r != rate for _, r in pieces):
        raise SystemExit(f"rates of the joined files: expected {rate} Hz, found others")
    starts, end = [], 0
    for k, (samples, _) in enumerate(pieces):
        starts.append(round(k * gap * rate) if gap else end)
        end = starts[-1] + len(samples)
    total = np.zeros((max(s + len(p) for s, (p, _) in zip(starts, pieces)), pieces[0][0].shape[1]))
    for start, (samples, _) in zip(starts, pieces):
        total[start : start + len(samples)] += samples
    return total[: round(SECONDS * rate)], rate


def level(samples: np.ndarray, rate: int, bed: bool) -> np.ndarray:
    """Bring a sound to the library's level; an end that is cut fades out over 50 ms."""
    width = min(len(samples), round(0.4 * rate))
    power = np.convolve((samples**2).mean(1), np.ones(width) / width, mode="valid").max()
    gain = (BED_LEVEL if bed else EVENT_LEVEL) - 10 * np.log10(max(power, 1e-12))
    gain = min(gain, MOST_GAIN, PEAK - 20 * np.log10(np.abs(samples).max()))
    samples = samples * 10 ** (gain / 20)
    if len(samples) == round(SECONDS * rate):
        fade = round(0.05 * rate)
        samples[-fade:] *= np.cos(np.linspace(0, np.pi / 2, fade))[:, None] ** 2
    return samples


def write(path: Path, samples: np.ndarray, rate: int) -> None:
    """Ogg Vorbis, in blocks: the encoder fails on long arrays."""
    with soundfile.SoundFile(
        path, "w", rate, samples.shape[1], format="OGG", subtype="VORBIS"
    ) as file:
        for start in range(0, len(samples), 65_536):
            file.write(samples[start : start + 65_536])


def make(out: Path, name: str, sound: synthesise.Sound) -> dict:
    """Write a sound of `synthesise.py`; its entry of `sounds.json`."""
    samples = level(sound.make().T, synthesise.RATE, sound.bed)
    write(out / f"{name}.ogg", samples, synthesise.RATE)
    print(f"{name}: {sound.caption} (synthetic)", flush=True)
    return {
        "file": f"{name}.ogg",
        "caption": sound.caption,
        "also": list(sound.also),
        "license": "CC0-1.0",
        "author": "The DreamAudio for ComfyUI contributors",
        "source": "synthetic: recipes/starter_library/synthesise.py",
    }


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    packages, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    packages.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    entries = []
    for row in csv.DictReader(TABLE.open(encoding="utf-8", newline="")):
        root, version = unpack(row["package"], packages)
        stated_in = check_license(row, root)
        files = row["files"].split("|")
        samples, rate = join([decode(read(root, f)) for f in files], float(row["gap"] or 0))
        write(out / f"{row['name']}.ogg", level(samples, rate, row["bed"] == "yes"), rate)
        entries.append(
            {
                "file": f"{row['name']}.ogg",
                "caption": row["caption"],
                "also": [text for text in row["also"].split("|") if text],
                "license": row["license"],
                "author": row["author"],
                "source": row["source"],
                "package": f"{row['package']} {version}",
                "paths": list(dict.fromkeys(files)),
                "license_stated_in": stated_in,
            }
        )
        print(f"{row['name']}: {row['caption']}", flush=True)
    entries += [make(out, name, sound) for name, sound in synthesise.SOUNDS.items()]
    text = json.dumps(entries, indent=1, ensure_ascii=False)
    (out / "sounds.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
