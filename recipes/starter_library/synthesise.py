"""Common sounds that no free recording was found for, made from noise and pulses.

They imitate how such sounds arise: rain is drops that each ring for a few milliseconds over a hiss;
thunder is a chain of strokes at growing distances, of which the air keeps the low part; a voice is
a train of pulses through resonances; applause is claps. The same seeds give the same sounds, on
one version of numpy and scipy.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

RATE = 48_000


def noise_band(rng: np.random.Generator, samples: int, low: float, high: float) -> np.ndarray:
    """White noise between two frequencies in Hz."""
    sos = butter(2, [low, high], "bandpass", fs=RATE, output="sos")
    return sosfilt(sos, rng.standard_normal(samples))


def drops(
    rng: np.random.Generator,
    seconds: float,
    rate: float,
    pitch: tuple[float, float],
    decay: tuple[float, float],
) -> np.ndarray:
    """`rate` drops a second, each a decaying tone that rises a little, as bubbles do."""
    out = np.zeros(round(seconds * RATE))
    for _ in range(rng.poisson(rate * seconds)):
        length = np.exp(rng.uniform(*np.log(decay)))
        time = np.arange(round(6 * length * RATE)) / RATE
        start = np.exp(rng.uniform(*np.log(pitch)))
        phase = 2 * np.pi * start * (time + 2.0 * time**2)
        drop = np.sin(phase + rng.uniform(0, 6.28)) * np.exp(-time / length)
        begin = int(rng.integers(len(out)))
        drop = drop[: len(out) - begin]
        out[begin : begin + len(drop)] += rng.lognormal(-1.5, 0.9) * drop
    return out


def rain(seed: int, seconds: float = 8.0) -> np.ndarray:
    """Steady rain [2, T]: a hiss that swells slowly, and drops on leaves and puddles."""
    rng, samples = np.random.default_rng(seed), round(seconds * RATE)
    channels = []
    for _ in range(2):
        # Falling towards the treble, as recordings of rain do.
        bands = ((50, 400, 1.0), (200, 2_000, 0.9), (1_000, 14_000, 0.8))
        hiss = sum(gain * noise_band(rng, samples, low, high) for low, high, gain in bands)
        swell = 1 + 0.15 * np.interp(
            np.arange(samples), np.linspace(0, samples, 12), rng.standard_normal(12)
        )
        fine = drops(rng, seconds, 2_000, (800, 12_000), (0.0003, 0.0015))
        large = drops(rng, seconds, 12, (700, 3_000), (0.002, 0.008))
        channels.append(0.5 * hiss * swell + 0.6 * fine + 0.3 * large)
    return np.stack(channels)


def roof_rain(seed: int, seconds: float = 8.0) -> np.ndarray:
    """Heavy rain on a roof [2, T]: the roof's low resonance under the patter."""
    rng, samples = np.random.default_rng(seed), round(seconds * RATE)
    channels = []
    for _ in range(2):
        patter = drops(rng, seconds, 1_500, (400, 6_000), (0.0005, 0.003))
        roof = sosfilt(butter(2, [180, 900], "bandpass", fs=RATE, output="sos"), patter)
        hiss = noise_band(rng, samples, 600, 9_000)
        low = noise_band(rng, samples, 60, 500)
        channels.append(0.7 * patter + 1.5 * roof + 0.25 * hiss + 0.35 * low)
    return np.stack(channels)


def thunder(seed: int, seconds: float = 7.0) -> np.ndarray:
    """A clap and its rumble [2, T]; what comes from farther away is later, duller and longer."""
    rng, samples = np.random.default_rng(seed), round(seconds * RATE)
    strokes = np.sort(rng.gamma(1.3, 0.9, 60))
    strokes = strokes[strokes < seconds - 1.5]
    gains = rng.lognormal(0.0, 0.5, len(strokes)) * np.exp(-strokes / 1.8)
    channels = []
    for _ in range(2):
        out = np.zeros(samples)
        for stroke, gain in zip(strokes, gains):
            cut = max(90.0, 3_500.0 * np.exp(-2.2 * stroke))
            length = round((0.05 + 0.25 * stroke) * 4 * RATE)
            time = np.arange(length) / RATE
            burst = rng.standard_normal(length) * np.exp(-time / (0.05 + 0.25 * stroke))
            burst *= np.minimum(1.0, time / (0.002 + 0.03 * stroke))
            burst = sosfilt(butter(2, cut, "lowpass", fs=RATE, output="sos"), burst)
            burst /= np.sqrt(np.mean(burst**2)) + 1e-9
            begin = round((0.05 + stroke + rng.uniform(0, 0.02)) * RATE)
            burst = burst[: samples - begin]
            out[begin : begin + len(burst)] += gain * burst * np.exp(-time[: len(burst)])
        rumble = noise_band(rng, samples, 25, 110)
        envelope = np.exp(-np.arange(samples) / RATE / 2.2)
        channels.append(np.tanh(0.35 * out + 0.9 * rumble * envelope))
    fade = np.minimum(1.0, (samples - np.arange(samples)) / (1.2 * RATE))
    return np.stack(channels) * fade


def voice(
    rng: np.random.Generator,
    pitch: np.ndarray,
    formants: list[tuple[np.ndarray, float, float]],
    breath: float,
    roughness: float,
) -> np.ndarray:
    """A throat [T]: pulses at `pitch` [T] in Hz through formants (frequency [T], width, gain).

    `breath` is the share of noise, `roughness` how unevenly the pulses come.
    """
    steps = max(1, len(pitch) // 400)
    wobble = np.interp(
        np.arange(len(pitch)), np.linspace(0, len(pitch), steps), rng.standard_normal(steps)
    )
    phase = np.cumsum(pitch * (1 + roughness * wobble)) / RATE
    # Every second pulse is weaker where the voice is rough.
    sub = 1 - 3 * roughness * (np.floor(phase) % 2)
    source = sub * (2 * (phase % 1.0) ** 2 - 0.66) + breath * rng.standard_normal(len(pitch))
    out, block = np.zeros(len(pitch)), 480
    for centre, width, gain in formants:
        state = np.zeros(2)
        for begin in range(0, len(pitch), block):
            radius = np.exp(-np.pi * width / RATE)
            angle = 2 * np.pi * centre[begin] / RATE
            a = [1.0, -2 * radius * np.cos(angle), radius**2]
            piece, state = lfilter(
                [gain * (1 - radius), 0, 0], a, source[begin : begin + block], zi=state
            )
            out[begin : begin + block] += piece
    return out


def curve(samples: int, *points: float) -> np.ndarray:
    """Evenly spaced points joined by straight lines."""
    return np.interp(np.arange(samples), np.linspace(0, samples, len(points)), points)


def bark(rng: np.random.Generator, size: float) -> np.ndarray:
    """One bark [T]; `size` below 1 is a smaller dog."""
    samples = round(rng.uniform(0.17, 0.22) * RATE)
    pitch = curve(samples, 330, 560, 520, 380, 240) / size
    formants = [
        (curve(samples, 500, 950, 850, 500) / size, 180.0, 1.0),
        (curve(samples, 1_200, 1_700, 1_500, 1_200) / size, 260.0, 0.8),
        (curve(samples, 2_700, 3_000, 2_800, 2_500) / size, 400.0, 0.5),
        (curve(samples, 4_200, 4_400, 4_200) / size, 700.0, 0.25),
    ]
    sound = voice(rng, pitch, formants, breath=0.25, roughness=0.12)
    return np.tanh(3 * sound / np.abs(sound).max()) * curve(samples, 0, 1, 0.9, 0.45, 0.12, 0)


def dog(seed: int, barks: int = 2) -> np.ndarray:
    """Barks of one dog [1, T], with the room's answer."""
    rng = np.random.default_rng(seed)
    out = np.zeros(round((0.2 + 0.42 * barks) * RATE))
    for i in range(barks):
        one = bark(rng, 1.15) * rng.uniform(0.8, 1.0)
        begin = round((0.01 + 0.40 * i + rng.uniform(0, 0.03)) * RATE)
        out[begin : begin + len(one)] += one
    time = np.arange(round(0.25 * RATE)) / RATE
    room = rng.standard_normal(len(time)) * np.exp(-time / 0.05)
    room = sosfilt(butter(1, [300, 4_000], "bandpass", fs=RATE, output="sos"), room)
    wet = fftconvolve(out, room / np.sqrt(np.sum(room**2)))[: len(out)]
    return (out + 0.25 * wet)[None]


def cat(seed: int) -> np.ndarray:
    """A meow [1, T]: the mouth opens and closes again."""
    rng = np.random.default_rng(seed)
    samples = round(0.85 * RATE)
    pitch = curve(samples, 480, 620, 690, 650, 560, 430) * (
        1 + 0.01 * np.sin(2 * np.pi * 6 * np.arange(samples) / RATE)
    )
    formants = [
        (curve(samples, 500, 1_000, 1_250, 1_100, 700), 150.0, 1.0),
        (curve(samples, 2_300, 2_000, 1_800, 1_500, 1_100), 220.0, 0.9),
        (curve(samples, 3_400, 3_500, 3_300, 3_000), 350.0, 0.5),
        (curve(samples, 5_200, 5_400, 5_000), 600.0, 0.3),
    ]
    sound = voice(rng, pitch, formants, breath=0.05, roughness=0.01)
    envelope = curve(samples, 0, 0.6, 1, 0.95, 0.8, 0.55, 0.25, 0)
    return (sound / np.abs(sound).max() * envelope)[None]


def siren(seconds: float = 6.0) -> np.ndarray:
    """A siren [1, T] that wails up and down every two seconds, with the horn's harmonics."""
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 950 + 400 * -np.cos(2 * np.pi * time / 2.0)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    sound = sum(np.sin(k * phase) / k**1.3 for k in range(1, 9))
    ends = np.minimum(1.0, np.minimum(time, time[::-1]) / 0.15)
    return (np.tanh(1.5 * sound) * ends)[None]


def telephone(rings: int = 2) -> np.ndarray:
    """An old telephone [1, T]: a clapper strikes two bells in turn, twenty times a second."""
    ring, pause = 1.3, 1.0
    out = np.zeros(round((rings * (ring + pause) - 0.3) * RATE))
    time = np.arange(round(0.7 * RATE)) / RATE
    bells = [
        sum(
            gain * np.sin(2 * np.pi * ratio * pitch * time) * np.exp(-time * 6 * ratio**0.5)
            for ratio, gain in ((1.0, 1.0), (2.76, 0.6), (5.4, 0.3), (8.9, 0.12))
        )
        for pitch in (1_080, 1_310)
    ]
    for k in range(rings):
        for stroke in range(round(ring * 20)):
            begin = round((k * (ring + pause) + stroke / 20) * RATE)
            bell = bells[stroke % 2][: len(out) - begin]
            out[begin : begin + len(bell)] += bell
    return out[None]


def applause(seed: int, seconds: float = 6.0, people: int = 60) -> np.ndarray:
    """An audience [2, T]: everyone claps at a tempo and with hands of their own."""
    rng, samples = np.random.default_rng(seed), round(seconds * RATE)
    out = np.zeros((2, samples))
    time = np.arange(round(0.03 * RATE)) / RATE
    for _ in range(people):
        centre, width = rng.uniform(700, 2_400), rng.uniform(0.4, 0.9)
        sos = butter(
            1, [centre * (1 - width / 2), centre * (1 + width)], "bandpass", fs=RATE, output="sos"
        )
        side, gain, tempo = rng.uniform(0.2, 0.8), rng.lognormal(-0.5, 0.6), rng.uniform(3.0, 4.8)
        when = rng.uniform(0.0, 0.5)
        while when < seconds - 0.05:
            clap = sosfilt(sos, rng.standard_normal(len(time)) * np.exp(-time / 0.004))
            begin = round(when * RATE)
            for channel, share in enumerate((side, 1 - side)):
                out[channel, begin : begin + len(clap)] += gain * share * clap
            when += rng.normal(1.0, 0.06) / tempo
    room = rng.standard_normal((2, round(0.6 * RATE))) * np.exp(
        -np.arange(round(0.6 * RATE)) / RATE / 0.15
    )
    wet = np.stack([fftconvolve(dry, tail)[:samples] for dry, tail in zip(out, room)])
    out = out + 0.5 * wet * out.std() / wet.std()
    swell = np.interp(np.arange(samples) / RATE, [0, 0.6, seconds - 1.5, seconds], [0.2, 1, 1, 0])
    return out * swell


class Sound(NamedTuple):
    """How a sound is made, what it is called, and whether it goes on (a bed)."""

    make: Callable[[], np.ndarray]
    caption: str
    also: tuple[str, ...] = ()
    bed: bool = False


SOUNDS = {
    "applause": Sound(lambda: applause(6), "an audience applauds", ("people clap", "applause")),
    "cat": Sound(lambda: cat(5), "a cat meows", ("a kitten mews",)),
    "dog": Sound(lambda: dog(4), "a dog barks", ("a dog is barking", "a puppy barks")),
    "rain": Sound(lambda: rain(1), "rain falls", ("it rains", "the sound of rain"), True),
    "rain_roof": Sound(
        lambda: roof_rain(2), "heavy rain falls on a roof", ("rain drums on a tin roof",), True
    ),
    "siren": Sound(siren, "a siren wails", ("a police car with its siren", "an ambulance siren")),
    "telephone": Sound(telephone, "a telephone rings", ("a phone rings",)),
    "thunder": Sound(lambda: thunder(3), "thunder rumbles", ("thunder claps", "lightning strikes")),
}
