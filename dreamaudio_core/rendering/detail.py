"""Reference detail: the references' own waveforms, changed as the network changed them.

What no latent carries (phase, fine structure, everything above 8 kHz, stereo) is at hand in the
references. So the network's result is read as a change of their spectrum over time: with D_gen the
decoded log-mel of the sample and D_ref that of the encoded mix of the placed references (the same
codec on both sides, so its errors cancel), reference k is filtered by

    g_k = exp(s_k limit(smooth(D_gen - D_ref)))

where s_k is its share of the mix's power in each cell of time and frequency. Where a sound lies
under a louder one the change tells nothing about it, and it stays as it is. What no reference
accounts for, where D_gen stands far above D_ref, comes from the network's own waveform.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio.mel import LogMel, mel_filterbank
from ..audio.resample import resample
from ..config import AudioConfig
from ..errors import InputError
from ..progress import Progress
from ..scene.reference import NETWORK_PEAK
from ..scene.timeline import Placement
from .events import Event, network_mix

SAMPLE_RATES = (16_000, 24_000, 44_100, 48_000)
RATE_CHOICES = ("auto", *(str(rate) for rate in SAMPLE_RATES))
"""Output rates: `auto` is the highest of the references, up to 48 kHz."""

HOPS_PER_SECOND = 100
# Window of the short-time transform in hops, at every rate.
WINDOW_HOPS = 6
# Frames and mel bands over which the network's change is averaged.
SMOOTHING = (9, 5)
# Natural logarithm of the largest change, in either direction (1.5 dB). Gains between exp(-a) and
# exp(a) leave a sound that lies alone with a signal-to-difference ratio of at least 1 / tanh(a)^2,
# here 15.5 dB, whatever the network does.
LIMIT = 0.17
# Share of the top band's change, in dB, that what lies above it takes.
BEYOND = 0.5
# The network's own waveform is let through where it stands so far above the references (20 dB).
GATE = math.log(10.0)
GATE_SMOOTHING = 5
# Level in log-mel below which there is nothing to let through (-80 dB of a full-scale tone).
AUDIBLE = -8.0


@dataclass(frozen=True)
class Detail:
    """Settings of the stage.

    Parameters
    ----------
    amount
        0 is the network's own output; 1 the references' waveforms.
    sample_rate
        In Hz; None is the highest of the references, up to 48 kHz, or the model's at amount 0.
    """

    amount: float = 1.0
    sample_rate: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.amount <= 1.0:
            raise InputError(f"detail: expected a number from 0 to 1, found {self.amount}")
        if self.sample_rate is not None and self.sample_rate not in SAMPLE_RATES:
            raise InputError(
                f"sample rate: expected one of {', '.join(RATE_CHOICES)}, found {self.sample_rate}"
            )


def parse_rate(text: str | int) -> int | None:
    """Output rate in Hz of one of `RATE_CHOICES`; None for `auto`.

    Raises
    ------
    InputError
        If it is none of these.
    """
    if str(text) not in RATE_CHOICES:
        raise InputError(f"sample rate: expected one of {', '.join(RATE_CHOICES)}, found {text!r}")
    return None if text == "auto" else int(text)


def output_rate(rates: Iterable[int], lowest: int) -> int:
    """The highest of the references' rates, rounded up to one of `SAMPLE_RATES`, at least
    `lowest`.
    """
    highest = max([lowest, *rates])
    return next((rate for rate in SAMPLE_RATES if rate >= highest), SAMPLE_RATES[-1])


def render_detail(
    network: Tensor,
    mel: Tensor,
    references: Sequence[Sequence[Event]],
    codec: Callable[[Tensor], Tensor],
    audio: AudioConfig,
    detail: Detail = Detail(),
    rest: bool = True,
    progress: Progress | None = None,
) -> tuple[Tensor, int]:
    """Render one item with the references' own waveforms.

    Parameters
    ----------
    network
        Waveform [samples] of the vocoder at the model's rate.
    mel
        Decoded log-mel [frames, bands] of the sample.
    references
        Events of each reference.
    codec
        From a mono waveform [samples] at the model's rate to the log-mel [frames, bands] that the
        model's VAE makes of it.
    audio
        Mel front-end of `mel`.
    rest
        Whether sounds that no reference accounts for are wanted at all.
    progress
        Gets how many of how many events are rendered.

    Returns
    -------
    tuple
        Waveform [1 or 2, samples] and its rate in Hz; stereo where a reference is, or is panned.
    """
    events = [event for group in references for event in group]
    rates = [e.original.sample_rate for e in events if detail.amount > 0.0]
    rate = detail.sample_rate or output_rate(rates, audio.sample_rate)
    if detail.amount == 0.0 or not events:
        return resample(network[None], audio.sample_rate, rate), rate
    stems = [network_mix(group, len(network), audio.sample_rate) for group in references]
    mix = torch.stack(stems).sum(0)
    reference_mel = codec(mix).cpu()
    frames = min(len(mel), len(reference_mel))
    mel, reference_mel = mel.cpu()[:frames], reference_mel[:frames]
    change = _smooth(mel - reference_mel, *SMOOTHING)
    change = LIMIT * torch.tanh(change / LIMIT)
    shares = _shares(stems, audio, len(mel))
    stereo = any(len(e.waveform) > 1 or e.pan != 0.0 or e.pan_end != 0.0 for e in events)
    length = round(len(network) * rate / audio.sample_rate)
    out = torch.zeros(2 if stereo else 1, length)
    spread, done = _spread(audio, rate), 0
    for group, share in zip(references, shares):
        gain = (change * share).exp()
        for event in group:
            _add(out, _filtered(event, gain, spread, rate), round(event.start * rate))
            done += 1
            if progress is not None:
                progress(done, len(events))
    # What the network adds keeps its level against the references, which come at their own.
    level = _level(out, mix, rate, audio.sample_rate)
    if rest:
        added = _rest(network, mel, reference_mel, change, audio)
        out = out + level * _fit(resample(added[None], audio.sample_rate, rate), length)
    if detail.amount < 1.0:
        own = _fit(resample(network[None], audio.sample_rate, rate), length)
        own = own * level**detail.amount
        out = math.sqrt(detail.amount) * out + math.sqrt(1.0 - detail.amount) * own
    return out, rate


def find_placement(mel: Tensor, reference: Tensor, audio: AudioConfig) -> tuple[Placement, float]:
    """Where a reference that the network has placed ended up: the best alignment of its log-mel
    [t, bands] in the decoded log-mel [T, bands].

    Returns
    -------
    tuple
        The placement, and its score: the mean absolute difference in the cells that the reference
        fills, at its best level; below 1 it is the reference, above 2 something else.
    """
    count = min(len(reference), len(mel))
    reference = _smooth(reference[:count], 3, 3)
    mel = _smooth(mel, 3, 3)
    loud = (reference > reference.max() - 7.0).float()
    windows = mel.unfold(0, count, 1)
    scores = torch.stack([_distance(w.T, reference, loud) for w in windows])
    best = int(scores.argmin())
    hop = audio.hop_length / audio.sample_rate
    return Placement(best * hop, count * hop), float(scores[best])


def _distance(window: Tensor, reference: Tensor, loud: Tensor) -> Tensor:
    difference = (window - reference)[loud > 0]
    return (difference - difference.median()).abs().mean() + 0.25 * difference.median().abs()


def _smooth(x: Tensor, frames: int, bands: int) -> Tensor:
    padding = (bands // 2, bands // 2, frames // 2, frames // 2)
    return F.avg_pool2d(F.pad(x[None, None], padding, mode="replicate"), (frames, bands), 1)[0, 0]


def _shares(stems: Sequence[Tensor], audio: AudioConfig, frames: int) -> list[Tensor]:
    """Each stem's share [frames, bands] of the power in each cell."""
    if len(stems) == 1:
        return [torch.ones(frames, audio.n_mels)]
    log_mel = LogMel(audio)
    power = []
    for stem in stems:
        mel = (2.0 * log_mel(stem[None])[0, 0]).exp()
        mel = F.pad(mel, (0, 0, 0, frames - len(mel)))
        power.append(_smooth(mel, *SMOOTHING) + 1e-12)
    total = torch.stack(power).sum(0)
    return [p / total for p in power]


def _spread(audio: AudioConfig, rate: int) -> Tensor:
    """Weights [bins, bands] of the mel bands in each bin at `rate`, for gains in dB; above the last
    band, half of its gain is held, for the network knows nothing there.
    """
    bins = torch.arange(WINDOW_HOPS * rate // HOPS_PER_SECOND // 2 + 1)
    frequency = bins * HOPS_PER_SECOND / WINDOW_HOPS
    basis = mel_filterbank(audio)
    centers = basis.argmax(1) * audio.sample_rate / audio.n_fft
    place = torch.searchsorted(centers.float(), frequency.float()).clamp(1, audio.n_mels - 1)
    low, high = centers[place - 1], centers[place]
    right = ((frequency - low) / (high - low).clamp(min=1e-6)).clamp(0.0, 1.0)
    weights = torch.zeros(len(bins), audio.n_mels)
    weights[bins, place - 1] = 1.0 - right
    weights[bins, place] += right
    weights[frequency > audio.fmax] *= BEYOND
    return weights


def _stft(x: Tensor, rate: int) -> Tensor:
    hop = rate // HOPS_PER_SECOND
    size = WINDOW_HOPS * hop
    window = torch.hann_window(size)
    return torch.stft(x, size, hop, window=window, pad_mode="constant", return_complex=True)


def _istft(spectrum: Tensor, rate: int, length: int) -> Tensor:
    hop = rate // HOPS_PER_SECOND
    size = WINDOW_HOPS * hop
    return torch.istft(spectrum, size, hop, window=torch.hann_window(size), length=length)


def _filtered(event: Event, gain: Tensor, spread: Tensor, rate: int) -> Tensor:
    """An event [1 or 2, T] at `rate` with the network's gain [frames, bands] over time, at the
    level of its original.
    """
    sound = resample(_panned(event), event.original.sample_rate, rate)
    hop = rate // HOPS_PER_SECOND
    begin = round(event.start * rate)
    # Frames lie on the target's hops, whose gains they take.
    lead = begin % hop
    padded = F.pad(sound, (lead, 0))
    first = begin // hop
    count = padded.shape[-1] // hop + 1
    index = torch.arange(first, first + count).clamp(max=len(gain) - 1)
    filters = (gain[index].log() @ spread.T).exp().T
    out = torch.empty_like(padded)
    for i, channel in enumerate(padded):
        out[i] = _istft(_stft(channel, rate) * filters, rate, padded.shape[-1])
    out = out[:, lead:]
    level = sound.square().sum() / out.square().sum().clamp(min=1e-20)
    return out * level.sqrt()


def _panned(event: Event) -> Tensor:
    """[1 or 2, T]: equal power for a mono sound, balance for a stereo one; more channels are mixed
    to left and right in their order.
    """
    sound = event.waveform
    if len(sound) == 1 and event.pan == event.pan_end == 0.0:
        return sound
    # One position where the sound stays, else one for each sample.
    count = 1 if event.pan == event.pan_end else sound.shape[-1]
    pan = torch.linspace(event.pan, event.pan_end, count)
    if len(sound) == 1:
        angle = (pan + 1.0) * math.pi / 4.0
        return sound * torch.stack([angle.cos(), angle.sin()]) * math.sqrt(2.0)
    if len(sound) > 2:
        # Left, right, center, low frequencies, surround left, right (the order of WAVE and FLAC).
        sides = torch.full((2, len(sound)), math.sqrt(0.5))
        sides[0, 0], sides[0, 1], sides[1, 0], sides[1, 1] = 1.0, 0.0, 0.0, 1.0
        if len(sound) >= 6:
            sides[0, 5::2], sides[1, 4::2] = 0.0, 0.0
        sound = sides @ sound
    return sound * torch.stack([1.0 - pan, 1.0 + pan]).clamp(max=1.0)


def _add(out: Tensor, part: Tensor, begin: int) -> None:
    part = part[:, : max(0, out.shape[-1] - begin)]
    out[:, begin : begin + part.shape[-1]] += part


def _fit(x: Tensor, length: int) -> Tensor:
    return F.pad(x[..., :length], (0, max(0, length - x.shape[-1])))


def _level(out: Tensor, mix: Tensor, rate: int, mix_rate: int) -> float:
    """Amplitude of the rendered references against the network's."""
    energy = float(out.square().mean(0).sum()) / rate
    network = float(mix.square().sum()) / mix_rate
    return math.sqrt(energy / network) if network > 0.0 and energy > 0.0 else 1.0


def _rest(
    network: Tensor, mel: Tensor, reference_mel: Tensor, change: Tensor, audio: AudioConfig
) -> Tensor:
    """The network's waveform [samples] where no reference accounts for it, no louder than the
    references that it was given: a wild sound of its own would take the whole mix down.
    """
    open_gate = (mel > reference_mel + GATE) & (mel > AUDIBLE)
    gate = (_smooth(open_gate.float(), GATE_SMOOTHING, 1) > 0.5).float()
    if not gate.any():
        return torch.zeros_like(network)
    accounted = (reference_mel + change).exp() / mel.exp().clamp(min=audio.floor)
    mask = _smooth((1.0 - accounted.square()).clamp(min=0.0).sqrt() * gate, GATE_SMOOTHING, 1)
    spectrum = _stft(network.cpu(), audio.sample_rate)
    index = torch.arange(spectrum.shape[-1]).clamp(max=len(mask) - 1)
    filters = (mask[index] @ _spread(audio, audio.sample_rate).T).T
    added = _istft(spectrum * filters, audio.sample_rate, len(network))
    return added * (NETWORK_PEAK / added.abs().max().clamp(min=NETWORK_PEAK))
