"""Models in transformers' layout: read without running their code or unpickling, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ..errors import CheckpointError

# Faulty files raise these, depending on the file; anything else is a defect and passes through.
_FILE_ERRORS = (OSError, ValueError, KeyError, SafetensorError)
_NOT_LEARNED = ("position_ids", "relative_position_index")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' warnings and progress bars; what they report is checked here."""
    from transformers import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def folder_or_hub_id(source: str | Path, name: str, published: str) -> tuple[str, bool]:
    """The model that the user names, and whether it is a local folder instead of a hub id.

    Raises
    ------
    CheckpointError
        If it is neither; the message calls it `name` and says where models are `published`.
    """
    text, folder = str(source), Path(source).expanduser()
    if text and folder.is_dir():
        return str(folder), True
    parts = text.split("/")
    if folder.is_file() or len(parts) != 2 or not all(parts) or parts[0] in (".", "..", "~"):
        raise CheckpointError(
            f"{name}: expected the folder of a model or a hub id, found "
            f"{'a file' if folder.is_file() else 'nothing'}; {published}"
        )
    return text, False


def read_pretrained(name: str, expected: str, load: Callable, *args, **options) -> Any:
    """Result of a `from_pretrained`, which never runs code that comes with the model.

    Parameters
    ----------
    name
        What error messages call the model, such as ``"CLAP 'folder'"``.
    expected
        What the model should consist of, for the message.
    load
        Bound method, such as `BertModel.from_pretrained`.

    Raises
    ------
    CheckpointError
        If a file of the model is missing, damaged or of another format, or asks to run code.
    """
    try:
        return load(*args, trust_remote_code=False, **options)
    except CheckpointError:
        raise
    except Exception as error:
        # The tokenizers library raises bare Exceptions for a faulty tokenizer.json.
        if not isinstance(error, _FILE_ERRORS) and type(error) is not Exception:
            raise
        if "trust_remote_code" in str(error):
            reason = "it contains code of its own, which is never run"
        else:
            reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{name}: cannot be read ({reason}); expected {expected}") from error


def read_model(
    name: str, expected: str, model_class: Any, source: str | None, **options
) -> tuple[Any, list[str]]:
    """Read a transformers model from safetensors and check its weights.

    Parameters
    ----------
    name, expected
        As for `read_pretrained`.
    model_class
        Such as `BertModel`.
    source
        Local folder or hub id; None where `options` has the `state_dict`.

    Returns
    -------
    nn.Module
        The model, in the precision that its weights are stored in or in float32.
    list of str
        Keys of the weight file that the model does not use.

    Raises
    ------
    CheckpointError
        As `read_pretrained`; and if a key is missing or has another shape, or a weight is NaN,
        infinite or not a floating-point number.
    """
    # Mismatched shapes are reported below like all other faults.
    model, info = read_pretrained(
        name,
        expected,
        model_class.from_pretrained,
        source,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **options,
    )
    missing = sorted(key for key in info["missing_keys"] if not key.endswith(_NOT_LEARNED))
    if missing:
        raise CheckpointError(
            f"{name}: key {missing[0]!r} is missing (and {len(missing) - 1} more); "
            f"expected {expected}"
        )
    for key, found, wanted in info["mismatched_keys"]:
        raise CheckpointError(
            f"{name}: key {key!r} has the wrong shape: expected {list(wanted)} by config.json, "
            f"found {list(found)}"
        )
    for key, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            raise CheckpointError(
                f"{name}: key {key!r}: expected floating-point weights, found {parameter.dtype}"
            )
        if not torch.isfinite(parameter).all():
            raise CheckpointError(
                f"{name}: key {key!r} holds NaN or infinite values; the file is damaged"
            )
    return model, sorted(info["unexpected_keys"])


def cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast a transformers model, except the layers that overflow in float16 (T5's `wo`)."""
    model = model.to(dtype)
    if dtype is torch.float16:
        for name, module in model.named_modules():
            if name.split(".")[-1] in (getattr(model, "_keep_in_fp32_modules", None) or ()):
                module.float()
    return model


def check_sizes(name: str, config: dict[str, Any], fields: Iterable[str], limit: int) -> None:
    """Check that the sizes in a `config.json` are whole numbers from 1 to `limit`.

    Raises
    ------
    CheckpointError
        If one is not: a damaged or hostile file would otherwise fill the memory.
    """
    for field in fields:
        value = config.get(field, 1)
        if type(value) is not int or not 1 <= value <= limit:
            raise CheckpointError(
                f"{name}: config.json: {field}: expected a whole number from 1 to {limit}, "
                f"found {str(value)[:40]!r}"
            )


def resolve_source(source: str | Path) -> tuple[str, bool]:
    """Expanded folder, or the hub id as it is, and whether it is a local folder."""
    folder = Path(source).expanduser()
    return (str(folder), True) if folder.is_dir() else (str(source), False)
