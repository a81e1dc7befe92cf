"""Configurations from JSON values, whose types and limits are checked before anything is built.

Weight files and model folders come from strangers: a count of 10^9 layers must be one line, not a
process that never ends.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator
from typing import Any, get_type_hints

from .config import ArrangerConfig, MRCConfig, VAEConfig, VocoderConfig, VocosConfig
from .errors import CheckpointError

LIMITS: dict[str, tuple[float, float]] = {
    "sample_rate": (1_000, 384_000),
    "sampling_rate": (1_000, 384_000),
    "n_fft": (16, 65_536),
    "hop_length": (1, 65_536),
    "n_mels": (1, 4_096),
    "num_mels": (1, 4_096),
    "fmin": (0, 192_000),
    "fmax": (1, 192_000),
    "floor": (1e-12, 1),
    "in_channels": (1, 64),
    "patch_size": (1, 64),
    "multipliers": (1, 64),
    "attention_levels": (0, 64),
    "scale_factor": (1e-6, 1e6),
    "upsample_rates": (1, 1_024),
    "upsample_kernel_sizes": (1, 4_096),
    "resblock_kernel_sizes": (1, 255),
    "resblock_dilation_sizes": (1, 255),
    "num_res_blocks": (1, 64),
    "decoder_blocks": (1, 64),
    "blocks": (1, 256),
    "layers": (1, 256),
    "expansion": (1, 64),
    "refinement_iterations": (0, 1_000),
    "max_tokens": (1, 4_096),
    "num_references": (1, 256),
    "aligned_references": (1, 256),
    "max_references": (1, 256),
    "max_repeats": (1, 256),
    "envelope_bands": (0, 4_096),
    "steps": (1, 10_000),
    "guidance": (0, 1_000),
    "reference_guidance": (0, 1_000),
    "max_guidance": (0, 1_000),
    "shift": (1e-3, 1_000),
    "ease": (0, 0.99),
    "detail": (0, 1),
    "seconds": (0.01, 3_600),
}
"""Least and largest value of each field, or of each of its entries."""
SIZES = (1, 65_536)
"""Limits of every integer that is not among these: widths, channels, heads."""
LONGEST = 64
"""Most entries of a list."""


def checked(name: str, value: Any, hint: Any, where: str) -> Any:
    """A JSON value as a field's type; lists become tuples.

    Raises
    ------
    CheckpointError
        If it has another type, or is out of `LIMITS`.
    """
    field = f"{where}: {name}"
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        return checked(name, value, next(o for o in options if o is not type(None)), where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or not 0 < len(value) <= LONGEST:
            raise CheckpointError(
                f"{field}: expected a list of 1 to {LONGEST} entries, found {_shown(value)}"
            )
        return tuple(checked(name, entry, options[0], where) for entry in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        # JSON writes 2.0 as 2; an integer beyond all floats is out of every limit.
        value = float(value) if abs(value) < 1e300 else math.inf
    if type(value) is not hint:
        words = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
        raise CheckpointError(f"{field}: expected {words[hint]}, found {_shown(value)}")
    if hint in (int, float):
        low, high = LIMITS.get(name, SIZES if hint is int else (-1e9, 1e9))
        # Written so that NaN is refused too.
        if not low <= value <= high:
            raise CheckpointError(
                f"{field}: expected a number from {low:g} to {high:g}, found {_shown(value)}"
            )
    return value


def _shown(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else repr(value)[:60]
    return text if len(text) < 60 else text + ".."


def vocoder_config_class(values: dict[str, Any], where: str = "config") -> type:
    """Configuration class of a vocoder by the field `kind`, BigVGAN's where there is none."""
    kinds = {"bigvgan": VocoderConfig, "vocos": VocosConfig}
    kind = values.get("kind", "bigvgan")
    if not isinstance(kind, str) or kind not in kinds:
        raise CheckpointError(
            f"{where}: kind: expected {' or '.join(kinds)}, found {repr(kind)[:60]}"
        )
    return kinds[kind]


def from_dict(cls: type, values: dict[str, Any], where: str = "config") -> Any:
    """Build configuration dataclass `cls` from JSON values.

    Raises
    ------
    CheckpointError
        If a key is unknown, or a value has the wrong type or is out of all reason.
    """
    if not isinstance(values, dict):
        raise CheckpointError(f"{where}: expected a JSON object, found {type(values).__name__}")
    if cls is VocoderConfig:
        cls = vocoder_config_class(values, where)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise CheckpointError(
            f"{where}: unknown field {unknown[0]!r}; known fields are {', '.join(fields)}"
        )
    built, hints = {}, get_type_hints(cls)
    for name, value in values.items():
        options = typing.get_args(hints[name]) or (hints[name],)
        section: Any = next((o for o in options if dataclasses.is_dataclass(o)), None)
        if section is None or (value is None and type(None) in options):
            built[name] = checked(name, value, hints[name], where)
        else:
            built[name] = from_dict(section, value, f"{where}.{name}")
    try:
        config = cls(**built)
    except TypeError as error:
        raise CheckpointError(f"{where}: {error}") from error
    if isinstance(config, VAEConfig) and config.patch_size > 1 and config.multipliers != (1,):
        raise CheckpointError(
            f"{where}: multipliers: expected [1] with patches, found {list(config.multipliers)}"
        )
    for name, width, part in _divisions(config):
        if width % part:
            raise CheckpointError(
                f"{where}: {name}: expected a divisor of the width {width}, found {part}"
            )
    return config


def _divisions(config: Any) -> Iterator[tuple[str, int, int]]:
    """(field, a width of the network, what has to divide it) of a configuration."""
    if isinstance(config, MRCConfig):
        for level, multiplier in enumerate(config.multipliers):
            width = config.model_channels * multiplier
            yield "groups", width, config.groups
            if level in config.attention_levels:
                yield "head_dim", width, config.head_dim
    elif isinstance(config, VAEConfig) and config.patch_size == 1:
        for multiplier in config.multipliers:
            yield "groups", config.channels * multiplier, config.groups
    elif isinstance(config, ArrangerConfig):
        yield "heads", config.hidden, config.heads
