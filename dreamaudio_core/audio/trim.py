"""Where in a recording the sound is: trimming by short-time level above the recording's own noise
floor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FRAME_SECONDS = 0.02
HOP_SECONDS = 0.005
# Levels in dB. A frame belongs to the sound if it stands this far above the noise floor; nothing
# below the peak by more than RANGE counts, and everything within SURE of it does.
ABOVE_FLOOR = 10.0
RANGE = 60.0
SURE = 20.0
# Tails are followed further down than onsets are looked for.
TAIL_ABOVE_FLOOR = 3.0
TAIL_RANGE = 75.0
TAIL_SMOOTHING_SECONDS = 0.05
# A stationary stretch is noise floor if it lasts so long.
FLOOR_SECONDS = 0.2
FLOOR_SPREAD = 4.0
# Clicks: shorter than this, far weaker than the sound, and apart from it.
CLICK_SECONDS = 0.045
CLICK_ENERGY = 0.1
GAP_SECONDS = 0.1
MIN_SECONDS = 0.1
LEAD_SECONDS = 0.002


def center(waveform: Tensor) -> Tensor:
    """Samples [..., T] without their mean over time."""
    # In double precision the sum does not depend on how many threads share it, so prepared sounds
    # are the same everywhere.
    mean = waveform.mean(dim=-1, keepdim=True, dtype=torch.float64)
    return waveform - mean.to(waveform.dtype)


def find_sound(waveform: Tensor, sample_rate: int) -> tuple[int, int]:
    """Find the sound in a recording.

    Levels are those of 20 ms frames, each without its own mean, so a constant offset is no sound.
    Where a stretch of at least 0.2 s is stationary at the lowest level of the recording, that is
    its noise floor (room tone, dither), and the sound is what stands above it. A click that lies
    apart from a far stronger sound does not count. Tails are kept down to 75 dB below the peak or
    just above the floor. A sound without any silence is kept whole.

    Parameters
    ----------
    waveform
        Samples [T] or [channels, T].
    sample_rate
        In Hz.

    Returns
    -------
    tuple of int
        First sample of the sound and the sample after its last, at least 0.1 s apart where the
        recording is as long.
    """
    channels = waveform.detach().reshape(-1, waveform.shape[-1])
    total = channels.shape[-1]
    hop = max(1, round(HOP_SECONDS * sample_rate))
    level = _levels(channels, max(hop, round(FRAME_SECONDS * sample_rate)), hop)
    peak = float(level.max())
    if peak < -200.0:
        return 0, total
    floor = _noise_floor(level)
    onset_level = max(peak - RANGE, min(floor + ABOVE_FLOOR, peak - SURE))
    tail_level = max(peak - TAIL_RANGE, min(floor + TAIL_ABOVE_FLOOR, peak - SURE))
    runs = _without_clicks(_runs(level >= onset_level), level)
    first, last = runs[0][0], runs[-1][1]
    smooth = _smoothed(level, round(TAIL_SMOOTHING_SECONDS / HOP_SECONDS))
    quiet = (smooth[last:] < tail_level).nonzero()
    last = last + int(quiet[0]) if len(quiet) else len(level)
    begin = _first_sample(channels, first * hop, sample_rate, onset_level)
    end = min(total, last * hop + hop)
    missing = round(MIN_SECONDS * sample_rate) - (end - begin)
    if missing > 0:
        end = min(total, end + missing)
        begin = max(0, min(begin, end - round(MIN_SECONDS * sample_rate)))
    return begin, end


def trim(waveform: Tensor, sample_rate: int, keep_tail: bool = False) -> tuple[Tensor, int, int]:
    """The sound of a recording [..., T], centred, with ramps of 2 ms where it was cut; and its
    first sample and the sample after its last.

    Parameters
    ----------
    keep_tail
        End with the recording, whatever follows the sound.
    """
    waveform = center(waveform)
    total = waveform.shape[-1]
    begin, end = find_sound(waveform, sample_rate)
    end = total if keep_tail else end
    part = center(waveform[..., begin:end]) if end - begin < total else waveform
    ramp_length = min(round(LEAD_SECONDS * sample_rate), part.shape[-1] // 2)
    position = (torch.arange(ramp_length, dtype=part.dtype, device=part.device) + 0.5) / max(
        1, ramp_length
    )
    ramp = 0.5 - 0.5 * torch.cos(math.pi * position)
    part = part.clone()
    if begin > 0:
        part[..., :ramp_length] *= ramp
    if end < total:
        part[..., part.shape[-1] - ramp_length :] *= ramp.flip(0)
    return part, begin, end


def _levels(channels: Tensor, frame: int, hop: int) -> Tensor:
    """Level in dB of each frame, [ceil(T / hop)]; frame i begins at sample i hop."""
    total = channels.shape[-1]
    count = -(-total // hop)
    # The last frames repeat the end mirrored; a short file is one frame of what it has.
    reach = min(frame, total)
    x = torch.nn.functional.pad(channels[None].double(), (0, count * hop - total))[0]
    x = torch.cat((x, x.new_zeros(len(x), reach)), -1)
    frames = x.unfold(-1, reach, hop)[:, :count]
    present = (total - torch.arange(count) * hop).clamp(1, reach).double()
    mean = frames.sum(-1) / present
    power = (frames.square().sum(-1) / present - mean.square()).clamp(min=0).amax(0)
    return 10.0 * (power + 1e-24).log10()


def _noise_floor(level: Tensor) -> float:
    """Level in dB of the stationary stretch at the bottom of the recording; -inf without one."""
    low = float(level.kthvalue(max(1, round(0.05 * len(level)))).values)
    plateau = level[level <= low + FLOOR_SPREAD]
    if len(plateau) * HOP_SECONDS < FLOOR_SECONDS:
        return -math.inf
    return float(plateau.median())


def _runs(active: Tensor) -> list[tuple[int, int]]:
    """Stretches of active frames, first and after the last; gaps up to 0.1 s belong to them."""
    index = active.nonzero()[:, 0]
    gaps = (index.diff() > round(GAP_SECONDS / HOP_SECONDS)).nonzero()[:, 0] + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in index.tensor_split(gaps.tolist())]


def _without_clicks(runs: list[tuple[int, int]], level: Tensor) -> list[tuple[int, int]]:
    energy = [float((10.0 ** (level[a:b] / 10.0)).sum()) for a, b in runs]
    # A click of one sample colours every frame that holds it.
    limit = round((CLICK_SECONDS + FRAME_SECONDS) / HOP_SECONDS)
    return [
        (a, b) for (a, b), e in zip(runs, energy) if b - a > limit or e > CLICK_ENERGY * max(energy)
    ]


def _smoothed(level: Tensor, width: int) -> Tensor:
    """Largest level of the `width` frames from each frame on, so that dips do not end a tail."""
    padded = torch.cat((level, level.new_full((width - 1,), -math.inf)))
    return padded.unfold(0, width, 1).amax(-1)


def _first_sample(channels: Tensor, begin: int, rate: int, level: float) -> int:
    """Where the onset begins within its first frame, with a lead of 2 ms."""
    stop = begin + round(FRAME_SECONDS * rate)
    loud = (channels[:, begin:stop].abs().amax(0) >= 10.0 ** (level / 20.0)).nonzero()
    first = begin + (int(loud[0]) if len(loud) else 0)
    return max(0, first - round(LEAD_SECONDS * rate))
