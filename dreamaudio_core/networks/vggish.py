"""VGGish (Hershey et al., "CNN Architectures for Large-Scale Audio Classification") for the Frechet
audio distance.

The embedding is taken before the last ReLU and without the released PCA. Weights are read under the
names of the public PyTorch conversion: `features.N.weight`, `embeddings.N.weight`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CheckpointError
from ..weights.checkpoint import load_state, read_checkpoint
from .extractor import FileExtractor, require_file

PUBLISHED = (
    "vggish-10086976.pth is published with the torchvggish project: "
    "https://github.com/harritaylor/torchvggish/releases/tag/v0.1"
)
SAMPLE_RATE = 16_000
WINDOW, HOP, FFT, BANDS = 400, 160, 512, 64
EXAMPLE_FRAMES = 96
EXAMPLE_SAMPLES = (EXAMPLE_FRAMES - 1) * HOP + WINDOW
_CONVOLUTIONS = (0, 3, 6, 8, 11, 13)
_POOLED = (0, 3, 8, 13)


def mel_weights() -> Tensor:
    """Triangular filters [257, 64] from 125 to 7500 Hz, linear in 1127 ln(1 + f / 700); no weight
    at 0 Hz.
    """

    def to_mel(hz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hz / 700.0)

    low, high = to_mel(torch.tensor([125.0, 7500.0], dtype=torch.float64))
    edges = torch.linspace(float(low), float(high), BANDS + 2, dtype=torch.float64)
    bins = to_mel(torch.arange(FFT // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / FFT)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = torch.minimum(rising, falling).clamp(min=0)
    weights[0] = 0
    return weights


def log_mel_examples(waveform: Tensor) -> Tensor:
    """Log-mel patches of a clip.

    Parameters
    ----------
    waveform : Tensor
        Samples [T] at 16 kHz, full scale at 1. A clip shorter than one patch (0.975 s) is extended
        by zeros.

    Returns
    -------
    Tensor
        ln(mel magnitude + 0.01) as [patches, 1, 96, 64], float32: patches of 0.96 s that do not
        overlap, the incomplete last one left out.

    """
    waveform = F.pad(waveform.double().cpu(), (0, max(0, EXAMPLE_SAMPLES - len(waveform))))
    window = torch.hann_window(WINDOW, periodic=True, dtype=torch.float64)
    magnitudes = torch.fft.rfft(waveform.unfold(0, WINDOW, HOP) * window, n=FFT).abs()
    mel = (magnitudes @ mel_weights() + 0.01).log().float()
    patches = len(mel) // EXAMPLE_FRAMES
    return mel[: patches * EXAMPLE_FRAMES].reshape(patches, 1, EXAMPLE_FRAMES, BANDS)


class VGGish(nn.Module):
    """The network: log-mel patches [N, 1, 96, 64] to embeddings [N, embedding].

    Parameters
    ----------
    widths : tuple of int
        Channels of the six convolutions.
    hidden, embedding : int
        Sizes of the two hidden layers and of the output.
    operations, dtype, device
        Where layers come from and how their parameters are made.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (64, 128, 256, 256, 512, 512),
        hidden: int = 4096,
        embedding: int = 128,
        operations=nn,
        dtype=None,
        device=None,
    ):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        layers: list[nn.Module] = []
        for position, before, width in zip(_CONVOLUTIONS, (1, *widths[:-1]), widths, strict=True):
            layers += [operations.Conv2d(before, width, 3, padding=1, **kw), nn.ReLU()]
            if position in _POOLED:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        size = widths[-1] * (EXAMPLE_FRAMES // 16) * (BANDS // 16)
        self.embeddings = nn.Sequential(
            operations.Linear(size, hidden, **kw),
            nn.ReLU(),
            operations.Linear(hidden, hidden, **kw),
            nn.ReLU(),
            operations.Linear(hidden, embedding, **kw),
        )

    def forward(self, examples: Tensor) -> Tensor:
        """Embeddings [N, embedding]; the released weights expect channels last when the maps are
        flattened.
        """
        return self.embeddings(self.features(examples).permute(0, 2, 3, 1).flatten(1))


def load_vggish(path: str | Path, device: torch.device | str = "cpu") -> VGGish:
    """VGGish with the weights of a public checkpoint (`.pth`), or the same as safetensors; sizes
    follow the file.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or of another network.
    """
    path = require_file(path, "VGGish", PUBLISHED)
    state = read_checkpoint(path)
    # Copies saved with the post-processor carry its PCA, which the distance does not use.
    state = {k: v for k, v in state.items() if not k.startswith("pproc.")}
    try:
        widths = tuple(state[f"features.{i}.weight"].shape[0] for i in _CONVOLUTIONS)
        sizes = {
            "hidden": state["embeddings.0.weight"].shape[0],
            "embedding": state["embeddings.4.weight"].shape[0],
        }
    except (KeyError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{path}: expected VGGish weights, found no tensor {error}; {PUBLISHED}"
        ) from error
    return (
        load_state(VGGish(widths, **sizes, device="meta"), state, path)
        .eval()
        .requires_grad_(False)
        .to(device)
    )


class VGGishExtractor(FileExtractor):
    """Clips at 16 kHz to VGGish embeddings [patches, 128]."""

    name = "vggish"
    sample_rate = SAMPLE_RATE
    label, published = "VGGish", PUBLISHED
    load = staticmethod(load_vggish)

    def extract(self, waveforms: list[Tensor]) -> list[np.ndarray]:
        """Embeddings [patches, D] of each waveform [T]."""
        examples = [log_mel_examples(w) for w in waveforms]
        with torch.inference_mode():
            found = [
                self.network(part.to(self.device)).float().cpu()
                for part in torch.cat(examples).split(64)
            ]
        return [part.numpy() for part in torch.cat(found).split([len(e) for e in examples])]
