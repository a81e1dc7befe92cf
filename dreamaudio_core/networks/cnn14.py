"""Cnn14 at 16 kHz (Kong et al., "PANNs"), whose AudioSet class logits the KL divergence compares.

Weights are read as published: `{"model": state_dict}` with the front-end's Fourier and mel weights
among the tensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..audio.mel import mel_filterbank
from ..config import AudioConfig
from ..errors import CheckpointError
from ..weights.checkpoint import load_state, read_checkpoint
from .extractor import FileExtractor, require_file

PUBLISHED = "Cnn14_16k_mAP=0.438.pth is published with PANNs: https://zenodo.org/record/3987831/files/Cnn14_16k_mAP%3D0.438.pth"
FRONT_END = AudioConfig(
    sample_rate=16_000, n_fft=512, hop_length=160, n_mels=64, fmin=50.0, fmax=8_000.0, floor=1e-10
)
MINIMUM_SAMPLES = 32_000
_STFT = "spectrogram_extractor.stft."
_MEL = "logmel_extractor.melW"


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and ReLU, then average pooling."""

    def __init__(self, in_channels: int, out_channels: int, operations=nn, dtype=None, device=None):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        self.conv1 = operations.Conv2d(in_channels, out_channels, 3, padding=1, bias=False, **kw)
        self.conv2 = operations.Conv2d(out_channels, out_channels, 3, padding=1, bias=False, **kw)
        self.bn1 = nn.BatchNorm2d(out_channels, **kw)
        self.bn2 = nn.BatchNorm2d(out_channels, **kw)

    def forward(self, x: Tensor, pool: int) -> Tensor:
        """Maps [B, in, frames, bands] to [B, out, frames // pool, bands // pool]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.avg_pool2d(x, pool) if pool > 1 else x


class Cnn14(nn.Module):
    """The network with its front-end: waveforms [B, T] at 16 kHz to class logits [B, classes].

    Parameters
    ----------
    width : int
        Channels of the first block; every block doubles them.
    classes : int
        Number of classes.
    operations, dtype, device
        Where layers come from and how their parameters are made.
    """

    def __init__(self, width: int = 64, classes: int = 527, operations=nn, dtype=None, device=None):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        self.mel = nn.Parameter(mel_filterbank(FRONT_END).T.to(**kw), requires_grad=False)
        self.bn0 = nn.BatchNorm2d(FRONT_END.n_mels, **kw)
        before = 1
        for block in range(6):
            out = width * 2**block
            setattr(self, f"conv_block{block + 1}", ConvBlock(before, out, operations, **kw))
            before = out
        self.fc1 = operations.Linear(before, before, **kw)
        self.fc_audioset = operations.Linear(before, classes, **kw)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Log-mel spectrogram in dB of power, floored at -100 dB: [B, T] to [B, 1, 1 + T // 160,
        64].
        """
        window = torch.hann_window(FRONT_END.n_fft, dtype=torch.float64).to(waveform)
        spectrum = torch.stft(
            waveform,
            FRONT_END.n_fft,
            FRONT_END.hop_length,
            window=window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2)
        return 10 * (power @ self.mel).clamp(min=FRONT_END.floor).log10().unsqueeze(1)

    def forward(self, waveform: Tensor) -> Tensor:
        """Logits [B, classes] of waveforms [B, T]."""
        x = self.bn0(self.log_mel(waveform).transpose(1, 3)).transpose(1, 3)
        for block in range(1, 7):
            x = getattr(self, f"conv_block{block}")(x, 2 if block < 6 else 1)
        x = x.mean(dim=3)
        x = x.amax(dim=2) + x.mean(dim=2)
        return self.fc_audioset(F.relu(self.fc1(x)))


def load_cnn14(path: str | Path, device: torch.device | str = "cpu") -> Cnn14:
    """Cnn14 with the weights of the public 16 kHz checkpoint, or of `{"model": ...}`'s tensors as
    safetensors.

    The mel weights of the file are used; its Fourier weights, where present, must be those of a
    512-sample Hann window.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or of another network or rate.
    """
    path = require_file(path, "Cnn14", PUBLISHED)
    found: dict[str, Any] = read_checkpoint(path)
    state: dict[str, Tensor] = found.get("model", found)
    try:
        width, classes = (
            state["conv_block1.conv1.weight"].shape[0],
            state["fc_audioset.weight"].shape[0],
        )
    except (KeyError, AttributeError, IndexError, TypeError) as error:
        raise CheckpointError(
            f"{path}: expected Cnn14 weights, found no tensor {error}; {PUBLISHED}"
        ) from error
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    _check_fourier(state, path)
    network = Cnn14(width, classes)
    state["mel"] = state.pop(_MEL, network.mel.data)
    counts = {k: v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}
    return load_state(network, state | counts, path).eval().requires_grad_(False).to(device)


def _check_fourier(state: dict[str, Tensor], path: Path) -> None:
    """Take the Fourier weights out of `state` and compare them with the transform that `Cnn14`
    computes.
    """
    size = FRONT_END.n_fft
    window = torch.hann_window(size, dtype=torch.float64)
    for name, wave in (("real", torch.cos), ("imag", lambda x: -torch.sin(x))):
        found = state.pop(f"{_STFT}conv_{name}.weight", None)
        if found is None:
            continue
        if found.shape != (size // 2 + 1, 1, size):
            raise CheckpointError(
                f"{path}: expected an analysis window of {size} samples, found "
                f"{found.shape[-1]}: this is "
                f"the network of another sample rate; {PUBLISHED}"
            )
        # Whole periods are taken out of the phase, which would cost digits at high bins.
        phase = torch.outer(torch.arange(size // 2 + 1), torch.arange(size)) % size
        expected = wave(2 * torch.pi * phase.double() / size) * window
        if (found[:, 0].double() - expected).abs().max() > 1e-3:
            raise CheckpointError(
                f"{path}: {_STFT}conv_{name}.weight is no Fourier transform under a Hann window; "
                "the file "
                f"is damaged or was trained with another front-end; {PUBLISHED}"
            )


class Cnn14Extractor(FileExtractor):
    """Clips at 16 kHz to class logits [classes].

    As is customary for this metric the clip's mean is removed and clips under 2 s are extended by
    zeros.
    """

    name = "cnn14"
    sample_rate = FRONT_END.sample_rate
    label, published = "Cnn14", PUBLISHED
    load = staticmethod(load_cnn14)

    def extract(self, waveforms: list[Tensor]) -> list[np.ndarray]:
        """Logits [classes] of each waveform [T]; only clips of equal length share a batch."""
        prepared = []
        for waveform in waveforms:
            waveform = waveform.float() - waveform.float().mean()
            prepared.append(F.pad(waveform, (0, max(0, MINIMUM_SAMPLES - len(waveform)))))
        by_length: dict[int, list[int]] = {}
        for index, waveform in enumerate(prepared):
            by_length.setdefault(len(waveform), []).append(index)
        logits: dict[int, np.ndarray] = {}
        with torch.inference_mode():
            for indices in by_length.values():
                found = (
                    self.network(torch.stack([prepared[i] for i in indices]).to(self.device))
                    .float()
                    .cpu()
                    .numpy()
                )
                logits.update(zip(indices, found, strict=True))
        return [logits[i] for i in range(len(waveforms))]
