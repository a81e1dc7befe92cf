"""BigVGAN: log-mel spectrogram to waveform (Lee et al., "BigVGAN", ICLR 2023), versions 1 and 2.

The state dict has the names of the official checkpoints, which `weights.bigvgan` reads.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..config import VocoderConfig
from ..errors import CheckpointError
from .mel_vocoder import MelVocoder

_TAPS = 12
# In cycles per sample: the cut-off, and half of the transition band.
_CUTOFF, _HALF_WIDTH = 0.25, 0.3


def kaiser_sinc_taps() -> tuple[float, ...]:
    """Coefficients, symmetrical, of a low-pass filter of unit gain at zero frequency: a sinc under
    a Kaiser window (BigVGAN, section 3.2).
    """
    # Kaiser's rule for more than 50 dB of attenuation.
    attenuation = 2.285 * (_TAPS // 2 - 1) * math.pi * 4 * _HALF_WIDTH + 7.95
    beta = 0.1102 * (attenuation - 8.7)
    window = torch.kaiser_window(_TAPS, periodic=False, beta=beta, dtype=torch.float64)
    time = torch.arange(_TAPS, dtype=torch.float64) - (_TAPS - 1) / 2
    response = window * torch.sinc(2 * _CUTOFF * time)
    return tuple((response / response.sum()).tolist())


def weighted_shifts(signal: Tensor, weights: tuple[float, ...], start: int, length: int) -> Tensor:
    """Correlation of the last axis of `signal` with `weights`, `length` outputs from position
    `start` on.
    """
    total = signal[..., start : start + length] * weights[0]
    for shift, weight in enumerate(weights[1:], start + 1):
        total = total.add_(signal[..., shift : shift + length], alpha=weight)
    return total


class PolyphaseFilter:
    """Doubling and halving of the sample rate with a 12-tap filter, the doubled signal kept as two
    phases.

    Splitting the doubled signal into even and odd samples leaves six multiplications a sample and
    no zeros to multiply. Ends are continued with the end value, on both sides of either step, as
    BigVGAN does.
    """

    def __init__(self) -> None:
        taps = kaiser_sinc_taps()
        self.up_even = tuple(2 * tap for tap in taps[::-2])
        self.up_odd = tuple(2 * tap for tap in taps[-2::-2])
        self.down_even = taps[1::2]
        self.down_odd = taps[::2]

    def upsample(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Even and odd samples, each [B, C, T], of `x` [B, C, T] at twice its rate."""
        batch, channels, length = x.shape
        first, last = x[..., :1].expand(batch, channels, 3), x[..., -1:].expand(batch, channels, 3)
        padded = torch.cat((first, x, last), dim=-1)
        return weighted_shifts(padded, self.up_even, 0, length), weighted_shifts(
            padded, self.up_odd, 1, length
        )

    def downsample(self, even: Tensor, odd: Tensor) -> Tensor:
        """Signal [B, C, T] at half the rate of the one whose phases are `even` and `odd`, each [B,
        C, T].
        """
        batch, channels, length = even.shape
        first, last = even[..., :1], odd[..., -1:]
        two, three = (batch, channels, 2), (batch, channels, 3)
        even = torch.cat((first.expand(two), even, last.expand(three)), dim=-1)
        odd = torch.cat((first.expand(three), odd, last.expand(two)), dim=-1)
        return weighted_shifts(even, self.down_even, 0, length).add_(
            weighted_shifts(odd, self.down_odd, 0, length)
        )


FILTER = PolyphaseFilter()


def antialiased_snake(x: Tensor, frequency: Tensor, amplitude: Tensor) -> Tensor:
    """Snake, `x + amplitude * sin(frequency * x) ** 2`, at twice the sample rate and back (BigVGAN,
    section 3.2).

    Parameters
    ----------
    x : Tensor
        Signal [B, C, T].
    frequency, amplitude : Tensor
        [C, 1], positive, of the dtype and device of `x`.

    Returns
    -------
    Tensor
        [B, C, T].
    """
    phases = [
        torch.addcmul(u, amplitude, torch.sin(u * frequency).square_()) for u in FILTER.upsample(x)
    ]
    return FILTER.downsample(*phases)


class Snake(nn.Module):
    """The two learned values of a channel: `alpha` (frequency) and, for snakebeta, `beta` (inverse
    amplitude).
    """

    def __init__(
        self,
        channels: int,
        separate_beta: bool,
        logscale: bool,
        dtype: Any = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        self.logscale = logscale
        neutral = torch.zeros if logscale else torch.ones
        self.alpha = nn.Parameter(neutral(channels, dtype=dtype, device=device))
        self.beta: nn.Parameter | None = None
        if separate_beta:
            self.beta = nn.Parameter(neutral(channels, dtype=dtype, device=device))

    def coefficients(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Frequency and amplitude, each [C, 1], with dtype and device of `like`."""
        alpha = self.alpha.to(device=like.device, dtype=torch.float32)
        beta = alpha if self.beta is None else self.beta.to(device=like.device, dtype=torch.float32)
        if self.logscale:
            alpha, beta = alpha.exp(), beta.exp()
        amplitude = 1.0 / (beta + 1e-9)
        return alpha.to(like.dtype).unsqueeze(-1), amplitude.to(like.dtype).unsqueeze(-1)


class AntiAliasedSnake(nn.Module):
    """Snake between doubling and halving of the sample rate."""

    def __init__(
        self, config: VocoderConfig, channels: int, dtype: Any = None, device: Any = None
    ) -> None:
        super().__init__()
        self.act = Snake(
            channels, config.activation == "snakebeta", config.snake_logscale, dtype, device
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same shape, [B, C, T]."""
        return antialiased_snake(x, *self.act.coefficients(x))


def _same_conv(
    operations: Any, channels: int, kernel: int, dilation: int, dtype: Any, device: Any
) -> nn.Module:
    padding = dilation * (kernel - 1) // 2
    return operations.Conv1d(
        channels, channels, kernel, dilation=dilation, padding=padding, dtype=dtype, device=device
    )


class AMPBlock1(nn.Module):
    """Anti-aliased residual block with a dilated and a plain convolution for each dilation
    (resblock "1").
    """

    def __init__(
        self,
        config: VocoderConfig,
        channels: int,
        kernel: int,
        dilations: tuple[int, ...],
        operations: Any,
        dtype: Any,
        device: Any,
    ) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            _same_conv(operations, channels, kernel, d, dtype, device) for d in dilations
        )
        self.convs2 = nn.ModuleList(
            _same_conv(operations, channels, kernel, 1, dtype, device) for _ in dilations
        )
        self.activations = nn.ModuleList(
            AntiAliasedSnake(config, channels, dtype, device) for _ in range(2 * len(dilations))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same shape, [B, C, T]."""
        for index, (dilated, plain) in enumerate(zip(self.convs1, self.convs2)):
            h = dilated(self.activations[2 * index](x))
            x = x + plain(self.activations[2 * index + 1](h))
        return x


class AMPBlock2(nn.Module):
    """Anti-aliased residual block with one convolution for each dilation (resblock "2")."""

    def __init__(
        self,
        config: VocoderConfig,
        channels: int,
        kernel: int,
        dilations: tuple[int, ...],
        operations: Any,
        dtype: Any,
        device: Any,
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            _same_conv(operations, channels, kernel, d, dtype, device) for d in dilations
        )
        self.activations = nn.ModuleList(
            AntiAliasedSnake(config, channels, dtype, device) for _ in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same shape, [B, C, T]."""
        for conv, activation in zip(self.convs, self.activations):
            x = x + conv(activation(x))
        return x


def check_config(config: VocoderConfig, where: str = "vocoder config") -> None:
    """Refuse sizes that no generator can have; `where` is how the error names their source."""
    stages, blocks = len(config.upsample_rates), len(config.resblock_kernel_sizes)

    def need(holds: bool, field: str, expected: str) -> None:
        if not holds:
            found = getattr(config, field)
            raise CheckpointError(
                f"{where}: {field} must be {expected}, found {found!r}; correct the config"
            )

    need(config.activation in ("snake", "snakebeta"), "activation", "'snake' or 'snakebeta'")
    need(config.resblock in ("1", "2"), "resblock", "'1' or '2'")
    need(
        stages > 0 and min(config.upsample_rates) > 0,
        "upsample_rates",
        "a list of positive integers",
    )
    need(
        len(config.upsample_kernel_sizes) == stages,
        "upsample_kernel_sizes",
        f"a list of {stages} numbers",
    )
    need(
        all(k >= u for k, u in zip(config.upsample_kernel_sizes, config.upsample_rates)),
        "upsample_kernel_sizes",
        "at least as large as upsample_rates, one by one",
    )
    need(
        blocks > 0 and all(k % 2 for k in config.resblock_kernel_sizes),
        "resblock_kernel_sizes",
        "odd numbers",
    )
    need(
        len(config.resblock_dilation_sizes) == blocks and all(config.resblock_dilation_sizes),
        "resblock_dilation_sizes",
        f"{blocks} lists of numbers",
    )
    need(
        config.upsample_initial_channel >= 2**stages,
        "upsample_initial_channel",
        f"at least {2**stages}",
    )


class BigVGAN(MelVocoder):
    """BigVGAN generator.

    Parameters
    ----------
    config : VocoderConfig
        Sizes; `use_tanh_at_final` and `use_bias_at_final` are true for version 1 and false for
        version 2.
    operations
        Module with `Conv1d` and `ConvTranspose1d`, `torch.nn` or a host's replacement.
    dtype, device
        Type and device of the weights.

    Raises
    ------
    CheckpointError
        If the fields of `config` contradict one another.
    """

    config: VocoderConfig

    def __init__(
        self, config: VocoderConfig, operations: Any = nn, dtype: Any = None, device: Any = None
    ) -> None:
        super().__init__()
        check_config(config)
        self.config = config
        channels = config.upsample_initial_channel
        made = {"dtype": dtype, "device": device}
        self.conv_pre = operations.Conv1d(config.num_mels, channels, 7, padding=3, **made)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        block = AMPBlock1 if config.resblock == "1" else AMPBlock2
        for stage, (rate, kernel) in enumerate(
            zip(config.upsample_rates, config.upsample_kernel_sizes)
        ):
            inner, outer = channels // 2**stage, channels // 2 ** (stage + 1)
            up = operations.ConvTranspose1d(
                inner, outer, kernel, stride=rate, padding=(kernel - rate) // 2, **made
            )
            self.ups.append(nn.Sequential(up))
            for size, dilations in zip(
                config.resblock_kernel_sizes, config.resblock_dilation_sizes
            ):
                self.resblocks.append(
                    block(config, outer, size, dilations, operations, dtype, device)
                )
        self.activation_post = AntiAliasedSnake(config, outer, dtype, device)
        self.conv_post = operations.Conv1d(
            outer, 1, 7, padding=3, bias=config.use_bias_at_final, **made
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Waveform of a log-mel spectrogram.

        Parameters
        ----------
        mel : Tensor
            [B, num_mels, frames], natural logarithm of the magnitude.

        Returns
        -------
        Tensor
            [B, 1, frames * hop_length] within [-1, 1]. Where a transposed convolution gives more
            than its stride times its input, the surplus lies at the end and is cut off after the
            last layer.
        """
        x = self.conv_pre(mel)
        parallel = len(self.config.resblock_kernel_sizes)
        for stage, up in enumerate(self.ups):
            x = up(x)
            branches = [
                block(x) for block in self.resblocks[stage * parallel : (stage + 1) * parallel]
            ]
            x = sum(branches[1:], branches[0]) / parallel
        x = self.conv_post(self.activation_post(x))
        x = torch.tanh(x) if self.config.use_tanh_at_final else x.clamp(-1.0, 1.0)
        return x[..., : mel.shape[-1] * self.config.hop_length]

    def receptive_field(self) -> int:
        """Frames of mel on either side of a frame that its samples depend on."""
        config = self.config
        activation = 5
        left = right = 3 + activation
        stages = list(zip(config.upsample_rates, config.upsample_kernel_sizes))
        for rate, kernel in reversed(stages):
            reach = 0
            for size, dilations in zip(
                config.resblock_kernel_sizes, config.resblock_dilation_sizes
            ):
                side = (size - 1) // 2
                steps = [activation + side * dilation for dilation in dilations]
                if config.resblock == "1":
                    steps += [activation + side] * len(dilations)
                reach = max(reach, sum(steps))
            left, right = left + reach, right + reach
            padding = (kernel - rate) // 2
            left = (left - padding + kernel - 1) // rate
            right = (right + padding - 1) // rate + 1
        return max(left, right) + 3
