"""Build the sound bank of `mini` from unpacked Debian packages and synthesised sounds.

    python recipes/mini/build_bank.py SOUNDS_DIR BANK_DIR [--workers 2]
    python recipes/mini/build_bank.py SOUNDS_DIR BANK_DIR --captions-only

SOUNDS_DIR holds one folder a package (see `fetch_sounds`) and those written by `synthesise.py`.
BANK_DIR gets `manifest.jsonl` and `audio.bin` (16-bit mono at 16 kHz). A label is `package/cleaned
stem`; a label is held out when the SHA-256 of `Debian package/cleaned stem` is a multiple of ten.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from captioning import describe  # noqa: E402

from dreamaudio_core.data.bank import Bank, BankWriter, is_held_out, write_manifest  # noqa: E402
from dreamaudio_core.language.captions import clean_stem  # noqa: E402

RATE = 16_000
PEAK = 0.5
SILENCE_DB = 50.0
MIN_SECONDS = 0.1
EVENT_SECONDS = 20.0
PIECE_SECONDS = 60.0
MUSIC_HOURS = 3.0
FOREIGN_NAMES = 300
AUDIO_SUFFIXES = {".ogg", ".wav", ".flac", ".aiff", ".mp3"}

# Terms of the sounds themselves, shortened from each package's copyright file.
LICENCES = {
    "asterisk-core-sounds-en-wav": "CC BY-SA 3.0",
    "colobot-common-sounds": "GPL-3+",
    "endless-sky-data": "CC BY-SA 4.0, CC BY-SA 3.0, CC BY 4.0, public domain",
    "freecol": "GPL-2+, CC BY-SA 3.0, CC BY 4.0, public domain",
    "hedgewars-data": "GPL-2, GFDL-1.3, CC BY-SA 3.0",
    "hydrogen-drumkits": "GPL-2+, CC0, CC BY 3.0, CC BY-SA 3.0",
    "lugaru-data": "CC BY-SA 4.0, CC BY-SA 3.0",
    "megaglest-data": "CC BY-SA 3.0, GPL-2+",
    "minetest-data": "CC BY-SA 3.0, CC BY-SA 4.0, CC0, MIT",
    "naev-data": "CC BY-SA 3.0, CC BY 3.0, GPL-2+, GPL-3, public domain",
    "sonic-pi-samples": "CC0, CC BY-SA 4.0",
    "sound-icons": "GPL-2+",
    "supertux-data": "GPL-2+, GPL-3+, CC BY-SA 3.0, public domain",
    "tuxpaint-stamps-default": "GPL-2",
    "unknown-horizons": "GPL-2+, CC BY-SA 3.0",
    "wesnoth-1.16-data": "GPL-2+, CC BY-SA 4.0",
    "widelands-data": "GPL-2+, CC BY-SA 3.0",
    "espeak-ng": "synthesised with espeak-ng (GPL-3+ program)",
    "fluid-soundfont-gm": "synthesised with FluidR3 GM (MIT)",
    "sox": "synthesised with sox",
}
PREFIXES = {
    "asterisk-core-sounds-en-wav": "asterisk",
    "colobot-common-sounds": "colobot",
    "endless-sky-data": "endless-sky",
    "hedgewars-data": "hedgewars",
    "hydrogen-drumkits": "hydrogen",
    "lugaru-data": "lugaru",
    "megaglest-data": "megaglest",
    "minetest-data": "minetest",
    "naev-data": "naev",
    "sonic-pi-samples": "sonic-pi",
    "supertux-data": "supertux",
    "tuxpaint-stamps-default": "tuxpaint",
    "wesnoth-1.16-data": "wesnoth",
    "widelands-data": "widelands",
    "espeak-ng": "speech",
    "fluid-soundfont-gm": "instrument",
    "sox": "synthesis",
}
_LANGUAGE = re.compile(r"_(?:[a-z]{2}(?:_[a-zA-Z]{2})?)$")
_AMBIENCE = re.compile(
    r"ambi|Ambient|/tilesets/(?!.*(owl|wolf|hawk|chicken|rooster|good_morning|mudchute))|env_sounds|rain|[wW]ind$|waterfall|fire_(fire|large|small)|"
    r"campfire|main_square|windmill|sheepfield|tavern|/inn_|vinyl_hiss|water_sounds|furnace_active|"
    r"machinery|crickets|sauna|/Fire$|/fire$|/lava$"
)
_SPEECH = re.compile(
    r"asterisk|/voices?/|espeak-ng|_desc|alphabets|symbols/math|/speech/|good_morning|dreydl|santahat|"
    r"(?<!chicken)(?<!cow)(?<!bull)(?<!pig)(?<!eagle)(?<!behemoth)(?<!golem)(?<!dragon)(?<!carpet)(?<!/dr)"
    r"_(ack|select|sel)$"
)
_MUSIC = re.compile(
    r"(?<!hobbies)/[Mm]usic/|/anthem/|/music_|Music[A-Z]|/Music$|freecol-opening|/intro/|sound/intro|"
    r"events/new_|final-roll-call"
)
# Sound effects that Colobot numbers, in the order of its list of sounds.
COLOBOT_SOUNDS = """click ground-bump building-explosion spaceship-landing jet-flying step-grass wheeled-robot
tracked-robot special-robot error converter recharging water-splash swimming warning derrick laboratory station repair
research giant-spider burning brand-tzoing electricity robot-arm robot-shot astronaut-breathing step-underwater
swimming-again radar construction energy-alarm winged-robot insect-explosion giant-ant giant-wasp giant-worm
giant-queen building-tremble robot-hiss nuclear-plant info hatch-open hatch-close factory egg-cracking submarine-robot
legged-robot shield organic-shot shield-crackle tower-hiss message metal-bang plant-bang smooth-bang robot-explosion
power-explosion robot-power-explosion step-rock step-metal power-on power-off astronaut-pain waypoint recycler
insect-death leaf-shaking ground-probing astronaut-death astronaut-drowning jet-overheating temperature-alarm
discovery thumping robot-damage thunder mushroom phazer cannon-impact organic-impact toy-robot shield-alarm""".split()


def select_files(sounds: Path) -> list[Path]:
    """The audio files that go into the bank, in a fixed order."""
    chosen, foreign = [], []
    for path in sorted(sounds.rglob("*")):
        if path.suffix.lower() not in AUDIO_SUFFIXES or not path.is_file():
            continue
        name = path.relative_to(sounds).as_posix()
        if "/silence/" in name or "emptySample" in name or "/rand-stream" in name:
            continue
        if "tuxpaint" in name and _LANGUAGE.search(path.stem):
            if "_desc" in path.stem:
                foreign.append((hashlib.sha256(name.encode()).hexdigest(), path))
                continue
            if not path.stem.endswith("en_GB"):
                continue
        chosen.append(path)
    return sorted(chosen + [path for _, path in sorted(foreign)[:FOREIGN_NAMES]])


def kind_of(name: str, seconds: float) -> str:
    """Kind of a file from its path (without suffix) and length."""
    if _SPEECH.search(name):
        return "speech"
    if _MUSIC.search(name) and "/hobbies/" not in name:
        return "music"
    if _AMBIENCE.search(name):
        return "ambience"
    if re.search(r"loop_", name) and seconds > 5:
        return "music"
    return "event" if seconds <= EVENT_SECONDS else "music"


def prepare(path: Path) -> np.ndarray | None:
    """Mono at 16 kHz, without mean and outer silence, peak at `PEAK`; None where nothing audible is
    left.
    """
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.SoundFileError:
        return None
    mono = audio.mean(axis=1)
    if len(audio) and np.abs(mono).max() < 0.1 * np.abs(audio).max():
        mono = audio[:, 0]
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE, quality="HQ")
    if len(mono) < MIN_SECONDS * RATE or not np.isfinite(mono).all():
        return None
    mono = mono - mono.mean()
    peak = np.abs(mono).max()
    if peak < 1e-4:
        return None
    audible = np.flatnonzero(np.abs(mono) > peak * 10 ** (-SILENCE_DB / 20))
    mono = mono[audible[0] : audible[-1] + 1]
    if len(mono) < MIN_SECONDS * RATE:
        return None
    return (mono * (PEAK / peak)).astype(np.float32)


def label_of(path: Path) -> tuple[str, str]:
    """Label and cleaned stem of a file in the sounds folder; a stem without letters takes its
    folder's name.
    """
    package = path.parts[0]
    stem = clean_stem(path.stem) or clean_stem(path.parent.name)
    name = stem
    if package == "colobot-common-sounds" and stem == "sound":
        number = int(path.stem[-3:])
        name = COLOBOT_SOUNDS[number] if number < len(COLOBOT_SOUNDS) else stem
    return f"{PREFIXES.get(package, package)}/{name}", stem


def caption_for(sounds: Path, name: str, label: str, kind: str) -> str:
    """Caption of a file, by the tables or by the text next to it."""
    return describe(label, name, kind, sidecar=sidecar_text(sounds / name))


def sidecar_text(path: Path) -> str | None:
    """The caption that belongs to a file: that of the synthesiser, or the first line of the text
    with its stem.
    """
    table = path.parent / "captions.json"
    if table.is_file():
        return _captions(str(table)).get(path.name)
    stem = re.sub(r"_desc.*$", "", path.stem)
    text = path.with_name(_LANGUAGE.sub("", stem) + ".txt")
    if not text.is_file():
        return None
    lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[0].strip() if lines else None


_TABLES: dict[str, dict[str, str]] = {}


def _captions(path: str) -> dict[str, str]:
    if path not in _TABLES:
        _TABLES[path] = json.loads(Path(path).read_text(encoding="utf-8"))
    return _TABLES[path]


def _middle(audio: np.ndarray, seconds: float) -> np.ndarray:
    length = int(seconds * RATE)
    start = max(0, (len(audio) - length) // 3)
    return audio[start : start + length]


def build(sounds: Path, directory: Path, workers: int) -> None:
    """Decode, label and pack every file."""
    files = select_files(sounds)
    music_left = MUSIC_HOURS * 3600
    with BankWriter(directory) as writer, ProcessPoolExecutor(workers) as pool:
        for done, (path, audio) in enumerate(zip(files, pool.map(prepare, files, chunksize=8)), 1):
            if done % 500 == 0:
                print(f"{done}/{len(files)} files", flush=True)
            if audio is None:
                continue
            name = path.relative_to(sounds).as_posix()
            package = name.split("/")[0]
            seconds = len(audio) / RATE
            kind = kind_of(_without_number(name), seconds)
            if kind == "music":
                audio = _middle(audio, min(PIECE_SECONDS, music_left))
                music_left -= len(audio) / RATE
            else:
                audio = _middle(audio, PIECE_SECONDS)
            if len(audio) < MIN_SECONDS * RATE:
                continue
            label, stem = label_of(path.relative_to(sounds))
            writer.add(
                audio,
                path=name,
                label=label,
                split="test" if is_held_out(package, stem) else "train",
                caption=caption_for(sounds, name, label, kind),
                source=package,
                license=LICENCES[package],
                kind=kind,
            )


def recaption(sounds: Path, directory: Path) -> None:
    """Write labels, kinds and captions of an existing bank again; its audio stays."""
    manifest = directory / "manifest.jsonl"
    entries = []
    for entry in Bank(manifest).entries:
        label, stem = label_of(Path(entry.path))
        kind = kind_of(_without_number(entry.path), entry.seconds)
        entries.append(
            dataclasses.replace(
                entry,
                label=label,
                kind=kind,
                split="test" if is_held_out(entry.source, stem) else "train",
                caption=caption_for(sounds, entry.path, label, kind),
            )
        )
    write_manifest(manifest, entries)


def _without_number(name: str) -> str:
    return re.sub(r"[\d_.-]*\.[A-Za-z0-9]+$", "", name)


def drop_copies(directory: Path) -> None:
    """Of identical recordings keep one in the manifest, a held-out one if there is any, else the
    first.
    """
    bank = Bank(directory / "manifest.jsonl")
    digests = [
        hashlib.sha256(bank.samples(index).tobytes()).hexdigest() for index in range(len(bank))
    ]
    kept: dict[str, int] = {}
    for index in sorted(range(len(bank)), key=lambda i: bank.entries[i].split != "test"):
        kept.setdefault(digests[index], index)
    write_manifest(bank.manifest, [bank.entries[index] for index in sorted(kept.values())])


def summary(directory: Path) -> str:
    """Counts of files, labels and minutes by kind and split."""
    lines = []
    entries = Bank(directory / "manifest.jsonl").entries
    for kind in ("event", "speech", "ambience", "music", None):
        for split in ("train", "test"):
            part = [e for e in entries if e.split == split and kind in (None, e.kind)]
            lines.append(
                f"{kind or 'all':9s} {split:5s} {len(part):6d} files "
                f"{len({e.label for e in part}):5d} labels "
                f"{sum(e.seconds for e in part) / 60:7.1f} minutes"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sounds", type=Path)
    parser.add_argument("bank", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--captions-only", action="store_true", help="keep the audio, write the captions again"
    )
    arguments = parser.parse_args()
    if arguments.captions_only:
        recaption(arguments.sounds, arguments.bank)
    else:
        build(arguments.sounds, arguments.bank, arguments.workers)
    drop_copies(arguments.bank)
    print(summary(arguments.bank))


if __name__ == "__main__":
    main()
