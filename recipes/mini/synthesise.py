"""Synthesise speech, instruments and signals with exact captions, a folder for each program beside
the packages.

    python recipes/mini/synthesise.py SOUNDS_DIR [--soundfont FluidR3_GM.sf2]

Needs `espeak-ng`, `fluidsynth`, the FluidR3 GM soundfont and `sox`. Each folder gets WAV files and
`captions.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

SLOT_SECONDS = 5.0
TICKS = 480  # a beat at 120 per minute lasts half a second

PROGRAMS = """grand piano, bright piano, electric grand piano, honky-tonk piano, electric piano, chorused electric
piano, harpsichord, clavinet, celesta, glockenspiel, music box, vibraphone, marimba, xylophone, tubular bells,
dulcimer, drawbar organ, percussive organ, rock organ, church organ, reed organ, accordion, harmonica, bandoneon,
nylon guitar, steel guitar, jazz guitar, clean electric guitar, muted guitar, overdriven guitar, distorted guitar,
guitar harmonics, acoustic bass, fingered bass, picked bass, fretless bass, slap bass, popping bass, synth bass,
rubber synth bass, violin, viola, cello, contrabass, tremolo strings, pizzicato strings, harp, timpani, string
ensemble, slow strings, synth strings, warm synth strings, choir, humming choir, synth voice, orchestra hit, trumpet,
trombone, tuba, muted trumpet, french horn, brass section, synth brass, soft synth brass, soprano saxophone, alto
saxophone, tenor saxophone, baritone saxophone, oboe, english horn, bassoon, clarinet, piccolo, flute, recorder, pan
flute, blown bottle, shakuhachi flute, whistle, ocarina, square wave synth, saw wave synth, calliope, chiffer synth,
charang synth, solo vox synth, fifth saw synth, bass and lead synth, new age pad, warm pad, polysynth pad, space voice
pad, bowed glass pad, metallic pad, halo pad, sweep pad, ice rain synth, soundtrack pad, crystal synth, atmosphere
synth, brightness synth, goblin synth, echo drops synth, star theme synth, sitar, banjo, shamisen, koto, kalimba,
bagpipe, fiddle, shanai, tinkle bell, agogo, steel drum, woodblock, taiko drum, melodic tom, synth drum, reverse
cymbal, guitar fret noise, breath noise, seashore, bird tweet, telephone ring, helicopter, applause, gunshot"""
EFFECTS = {
    "guitar fret noise": "fingers slide on guitar strings",
    "breath noise": "someone breathes",
    "seashore": "waves wash ashore",
    "bird tweet": "a bird tweets",
    "telephone ring": "a telephone rings",
    "helicopter": "a helicopter flies",
    "applause": "an audience applauds",
    "gunshot": "a gun is fired",
    "reverse cymbal": "a cymbal swells backwards",
    "orchestra hit": "an orchestra hits a chord",
    "choir": "a choir sings",
    "humming choir": "a choir hums",
    "synth voice": "a synthetic voice sings",
    "blown bottle": "someone blows over a bottle",
    "whistle": "someone whistles a melody",
}
PLURAL = {
    "tubular bells",
    "tremolo strings",
    "pizzicato strings",
    "slow strings",
    "synth strings",
    "warm synth strings",
    "guitar harmonics",
    "timpani",
}
# Phrases as (semitones above the root, beats): a rising melody, a falling melody, a chord, one held
# note, a quick riff.
PHRASES = {
    "plays a rising melody": [(0, 0.5), (2, 0.5), (4, 0.5), (5, 0.5), (7, 1.0)],
    "plays a falling melody": [(12, 0.5), (11, 0.5), (9, 0.5), (7, 0.5), (4, 1.0)],
    "plays a chord": [((0, 4, 7), 3.0)],
    "plays one long note": [(0, 3.5)],
    "plays a quick riff": [(0, 0.25), (0, 0.25), (3, 0.25), (5, 0.25), (3, 0.25), (0, 0.5)],
}
DRUMS = {
    35: "bass drum",
    37: "side stick",
    38: "snare drum",
    39: "hand clap",
    41: "floor tom",
    42: "closed hi-hat",
    46: "open hi-hat",
    48: "tom drum",
    49: "crash cymbal",
    51: "ride cymbal",
    53: "ride bell",
    54: "tambourine",
    55: "splash cymbal",
    56: "cowbell",
    58: "vibraslap",
    60: "high bongo",
    61: "low bongo",
    62: "muted conga",
    64: "low conga",
    65: "high timbale",
    67: "high agogo",
    69: "cabasa",
    70: "maracas",
    71: "short whistle",
    72: "long whistle",
    73: "guiro",
    75: "claves",
    76: "wood block",
    78: "cuica",
    80: "triangle",
    81: "open triangle",
    82: "shaker",
    83: "sleigh bell",
    84: "bell tree",
    85: "castanets",
    86: "surdo drum",
}
DRUM_PHRASES = {
    "hit": ("is hit once", [0.0]),
    "beat": ("plays a steady beat", [0, 0.5, 1, 1.5, 2, 2.5]),
    "roll": ("plays a fast roll", [i / 8 for i in range(16)]),
}

WOMEN = ["en-us+f2", "en-gb+f4", "en-us+Annie", "en-gb-scotland+f3"]
MEN = ["en-us", "en-gb+m3", "en-us+m7", "en-gb-x-rp+m1", "en-029+m4"]
SENTENCES = """hello; good morning; good night; thank you very much; see you tomorrow; how are you today; what a
lovely day; please close the door; the train is late again; dinner is ready; be careful; watch your step; look at the
stars; happy birthday to you; welcome home; where is my key; come over here; I do not know; that is a great idea; wait
for me; one two three; ready steady go; the water is cold; turn the lights off; it is raining outside; let us begin;
do you hear that; the game is over; what time is it; I am so happy; never give up; take the next left; mind the gap;
open the window; call the doctor; the ship has arrived; keep quiet please; tell me a story; the cake smells wonderful;
follow the river; all systems are ready; warning; help me; run; stop right there; yes of course; no thank you; maybe
later; excuse me; congratulations"""


def _variable_length(value: int) -> bytes:
    out = [value & 0x7F]
    while value := value >> 7:
        out.insert(0, value & 0x7F | 0x80)
    return bytes(out)


def midi_bytes(events: list[tuple[float, bytes]]) -> bytes:
    """A format-0 MIDI file from (seconds, channel message) pairs, at two beats a second."""
    track, last = b"", 0
    for seconds, message in sorted(events, key=lambda event: event[0]):
        tick = round(seconds * 2 * TICKS)
        track += _variable_length(tick - last) + message
        last = tick
    track += b"\x00\xff\x2f\x00"
    return (
        b"MThd"
        + struct.pack(">IHHH", 6, 0, 1, TICKS)
        + b"MTrk"
        + struct.pack(">I", len(track))
        + track
    )


def _notes(
    start: float, channel: int, phrase: list, root: int, velocity: int
) -> list[tuple[float, bytes]]:
    events, time = [], start
    for pitches, beats in phrase:
        for pitch in pitches if isinstance(pitches, tuple) else (pitches,):
            events.append((time, bytes([0x90 | channel, root + pitch, velocity])))
            events.append((time + beats * 0.48, bytes([0x80 | channel, root + pitch, 0])))
        time += beats / 2
    return events


def _render(events: list[tuple[float, bytes]], soundfont: str, slots: int) -> list[np.ndarray]:
    """Render and cut into slots of `SLOT_SECONDS`."""
    with tempfile.TemporaryDirectory() as folder:
        midi, wave = Path(folder, "phrases.mid"), Path(folder, "phrases.wav")
        midi.write_bytes(midi_bytes(events))
        subprocess.run(
            [
                "fluidsynth",
                "-ni",
                "-q",
                "-g",
                "0.6",
                "-r",
                "32000",
                "-F",
                str(wave),
                soundfont,
                str(midi),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        audio, rate = soundfile.read(wave, dtype="float32")
    length = int(SLOT_SECONDS * rate)
    return [audio[i * length : (i + 1) * length] for i in range(slots)]


def instruments(folder: Path, soundfont: str) -> None:
    """All 128 General MIDI programs in three phrases each, and the drums of the percussion channel."""
    names = [name.strip() for name in PROGRAMS.replace("\n", " ").split(",")]
    assert len(names) == 128
    jobs: list[tuple[str, str, list[tuple[float, bytes]]]] = []
    for program, name in enumerate(names):
        stem = name.replace(" ", "-")
        generator = np.random.default_rng(program)
        root = int(36 if "bass" in name or name in ("tuba", "timpani", "contrabass") else 60) + int(
            generator.integers(-3, 4)
        )
        subject = (
            name
            if name in PLURAL
            else ("an " if name[0] in "aeio" else "a ") + name.replace("echo drops", "echo")
        )
        phrases = list(PHRASES.items())
        for number in sorted(generator.permutation(len(phrases))[:3]):
            verb, phrase = phrases[number]
            if name in EFFECTS:
                phrase = [(0, 3.0)] if number % 2 else [(5, 1.5)]
            caption = (
                EFFECTS.get(name)
                or f"{subject} {verb if name not in PLURAL else verb.replace('plays', 'play')}"
            )
            selected = [(0.0, bytes([0xC0, program]))] + _notes(
                0.01, 0, phrase, root, int(generator.integers(70, 120))
            )
            jobs.append((f"{stem}-{number}.wav", caption, selected))
    for key, name in DRUMS.items():
        for suffix, (verb, times) in DRUM_PHRASES.items():
            caption = f"{'an' if name[0] in 'aeio' else 'a'} {name} {verb}"
            if name in ("maracas", "castanets", "claves"):
                caption = (
                    caption.removeprefix("a ").replace("is hit", "are hit").replace("plays", "play")
                )
            events = [
                (0.01 + t, bytes([0x99, key, 100 - 7 * (i % 3)])) for i, t in enumerate(times)
            ]
            jobs.append((f"{name.replace(' ', '-')}-{suffix}.wav", caption, events))
    events = []
    for slot, (_, _, selected) in enumerate(jobs):
        begin = slot * SLOT_SECONDS
        events += [(begin + time, message) for time, message in selected]
        for channel in (0, 9):
            events.append((begin + SLOT_SECONDS - 0.02, bytes([0xB0 | channel, 120, 0])))
    captions = {}
    for (name, caption, _), audio in zip(jobs, _render(events, soundfont, len(jobs))):
        fade = np.minimum(1, np.arange(len(audio), 0, -1) / 3200)[:, None]
        soundfile.write(folder / name, audio * fade, 32000)
        captions[name] = caption
    _write_captions(folder, captions)


def speech(folder: Path) -> None:
    """Every sentence by several voices at several pitches and speeds."""
    captions = {}
    generator = np.random.default_rng(0)
    for number, sentence in enumerate(s.strip() for s in SENTENCES.replace("\n", " ").split(";")):
        for turn in range(6):
            who, voices = ("woman", WOMEN) if turn % 2 else ("man", MEN)
            voice = voices[(number + turn // 2) % len(voices)]
            name = f"{sentence.lower().replace(' ', '-')}-{who}-{turn}.wav"
            subprocess.run(
                [
                    "espeak-ng",
                    "-v",
                    voice,
                    "-p",
                    str(generator.integers(30, 75)),
                    "-s",
                    str(generator.integers(120, 190)),
                    "-w",
                    str(folder / name),
                    sentence,
                ],
                check=True,
            )
            captions[name] = f"a {who} says {sentence}"
    for turn, (voice, who) in enumerate(
        [
            ("en-us+whisper", "man"),
            ("en-gb+whisperf", "woman"),
            ("en-us+croak", "creature"),
            ("en-us+UniRobot", "robot"),
        ]
        * 4
    ):
        sentence = SENTENCES.replace("\n", " ").split(";")[turn * 3].strip()
        verb = {"creature": "croaks", "robot": "says"}.get(who, "whispers")
        name = f"{sentence.lower().replace(' ', '-')}-{who}-{verb}-{turn}.wav"
        subprocess.run(["espeak-ng", "-v", voice, "-w", str(folder / name), sentence], check=True)
        captions[name] = f"a {who} {verb} {sentence}"
    _write_captions(folder, captions)


SIGNALS = {
    "low-tone": ("a low tone hums", "synth 2 sine 110"),
    "tone": ("a steady tone sounds", "synth 1.5 sine 440"),
    "high-tone": ("a high tone sounds", "synth 1 sine 1760"),
    "rising-sweep": ("a tone sweeps upwards", "synth 2 sine 200:3000"),
    "falling-sweep": ("a tone sweeps downwards", "synth 2 sine 3000:200"),
    "quick-chirp": ("a synthetic chirp sounds", "synth 0.3 sine 800:4000"),
    "slow-siren": ("a siren wails slowly", "synth 4 sine 500:1200 synth 4 sine fmod 0.5"),
    "white-noise": ("white noise hisses", "synth 3 whitenoise"),
    "pink-noise": ("pink noise rushes", "synth 3 pinknoise"),
    "brown-noise": ("deep noise rumbles", "synth 4 brownnoise"),
    "noise-burst": ("a short burst of noise sounds", "synth 0.4 whitenoise fade t 0 0.4 0.3"),
    "wind-gusts": ("artificial wind gusts", "synth 5 pinknoise band 500 300 tremolo 0.4 80"),
    "surf": ("artificial surf rolls", "synth 5 brownnoise tremolo 0.3 90"),
    "buzzer": ("a buzzer buzzes", "synth 1 square 120"),
    "hornet-buzz": ("a saw wave buzzes", "synth 1.5 sawtooth 220"),
    "engine-idle": ("a synthetic engine idles", "synth 4 sawtooth 35 lowpass 400 tremolo 14 60"),
    "engine-rev": (
        "a synthetic engine revs up",
        "synth 3 sawtooth 30:140 lowpass 700 tremolo 20 40",
    ),
    "dial-tone": ("a dial tone hums", "synth 2.5 sine 350 sine 440 remix -"),
    "busy-tone": ("a busy tone beeps", "synth 0.5 sine 480 sine 620 remix - pad 0 0.5 repeat 2"),
    "double-beep": ("a device beeps twice", "synth 0.15 sine 2000 pad 0 0.1 repeat 1"),
    "triple-beep": ("a device beeps three times", "synth 0.12 sine 1500 pad 0 0.12 repeat 2"),
    "alarm-clock": ("an alarm clock beeps", "synth 0.1 square 1000 pad 0 0.1 repeat 8"),
    "wobble-bass": ("a wobbling bass sounds", "synth 3 sawtooth 70 lowpass 500 tremolo 5 90"),
    "plucked-string": ("a string is plucked", "synth 2 pluck 220"),
    "plucked-high-string": ("a high string is plucked", "synth 1.5 pluck 660"),
    "ping": ("a sonar ping sounds", "synth 1.2 sine 1200 fade t 0 1.2 1.1"),
    "laser-zap": ("a toy laser zaps", "synth 0.4 square 3000:150"),
    "geiger-clicks": ("a counter clicks rapidly", "synth 0.005 whitenoise pad 0 0.07 repeat 30"),
    "metronome": ("a metronome ticks", "synth 0.02 sine 1500 pad 0 0.48 repeat 6"),
    "warble": ("a tone warbles", "synth 2 sine 900 tremolo 8 95"),
}


def signals(folder: Path) -> None:
    """Tones, sweeps and noises by sox, each also in a slower, deeper variant."""
    captions = {}
    for stem, (caption, effects) in SIGNALS.items():
        for suffix, speed in (("1", "1.0"), ("2", "0.8"), ("3", "1.25")):
            name = f"{stem}-{suffix}.wav"
            subprocess.run(
                [
                    "sox",
                    "-R",
                    "-n",
                    "-r",
                    "32000",
                    "-b",
                    "16",
                    str(folder / name),
                    *effects.split(),
                    "speed",
                    speed,
                    "gain",
                    "-n",
                    "-3",
                ],
                check=True,
            )
            captions[name] = caption
    _write_captions(folder, captions)


def _write_captions(folder: Path, captions: dict[str, str]) -> None:
    (folder / "captions.json").write_text(json.dumps(captions, indent=0), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--soundfont", default="/usr/share/sounds/sf2/FluidR3_GM.sf2")
    arguments = parser.parse_args()
    makers = {
        "espeak-ng": speech,
        "sox": signals,
        "fluid-soundfont-gm": lambda f: instruments(f, arguments.soundfont),
    }
    for name, make in makers.items():
        folder, partial = arguments.sounds / name, arguments.sounds / f".{name}.partial"
        if folder.is_dir():
            continue
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        os.replace(partial, folder)
        print(f"{name}: {len(list(folder.glob('*.wav')))} files", flush=True)


if __name__ == "__main__":
    main()
