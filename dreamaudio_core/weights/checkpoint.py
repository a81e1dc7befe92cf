"""Weight files: safetensors (ours hold their configuration as metadata), restricted pickles."""

from __future__ import annotations

import json
import pickle
import struct
import warnings
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..config import to_dict
from ..config_values import from_dict
from ..errors import CheckpointError
from ..files import atomic_write
from ..json_text import parse_json

State = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)
FORMAT = "dreamaudio"
PICKLED = (".ckpt", ".pt", ".pth", ".bin")


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: expected a weight file, found a folder")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path}: the file is empty; copy or download it again")
    return path


def read_safetensors(path: str | Path) -> tuple[State, dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises
    ------
    CheckpointError
        If the file is missing, empty, truncated or of another format.
    """
    path = _checked(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a complete safetensors file ({error}); copy or download it again"
        ) from error


# What torch.load raises for truncated and altered files, depending on where the damage is.
_PICKLE_ERRORS = (
    pickle.UnpicklingError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    SafetensorError,  # By newer versions, for files of that name.
    TypeError,
    ValueError,
    struct.error,
)


def read_pickle(path: str | Path) -> dict[str, Any]:
    """Contents of a pickled checkpoint, restricted to tensors and plain containers
    (`weights_only=True`).

    Raises
    ------
    CheckpointError
        If the file is missing, empty, truncated, or contains more than tensors.
    """
    path = _checked(path)
    try:
        with warnings.catch_warnings():
            # About the age of the file's format, often of a damaged one.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _PICKLE_ERRORS as error:
        # torch's own text advises to load the file without protection.
        raise CheckpointError(
            f"{path}: not a complete weights-only PyTorch checkpoint; the file is truncated, from "
            "another program, or contains more than tensors; download it again"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path}: expected a dictionary of tensors, found {type(content).__name__}"
        )
    return content


def tensors_of(content: Any) -> State:
    """The tensors of an unpickled dictionary by name; none where it is no dictionary."""
    if not isinstance(content, dict):
        return {}
    return {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}


def read_json(path: str | Path) -> dict[str, Any]:
    """Object of a JSON file.

    Raises
    ------
    CheckpointError
        If the file is missing, not JSON, or holds something else than an object.
    """
    path = _checked(path)
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable JSON ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def save_weights(
    path: str | Path, state: State, part: str, config: Any, dtype: torch.dtype | None = None
) -> None:
    """Write one part's weights as safetensors with its configuration in the metadata.

    Raises
    ------
    OSError
        If the file cannot be written; an existing one then stays as it was.
    """
    state = {
        k: (v.to(dtype) if dtype is not None and v.is_floating_point() else v).contiguous()
        for k, v in state.items()
    }
    metadata = {"format": FORMAT, "part": part, "config": json.dumps(to_dict(config))}
    with atomic_write(path) as temporary:
        try:
            save_file(state, temporary, metadata=metadata)
        except SafetensorError as error:
            # Its messages hold the operating system's, such as that of a full disk.
            raise OSError(None, str(error), str(path)) from error
        # safetensors writes for the owner alone; a model folder is there to be shared.
        temporary.chmod(0o644)


def load_weights(path: str | Path, part: str, config_class: type) -> tuple[Any, State]:
    """Configuration and tensors of a file that `save_weights` wrote for `part`."""
    state, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: expected DreamAudio weights (format {FORMAT!r} in the metadata), found "
            "another safetensors file; convert it with: dreamaudio convert"
        )
    if metadata.get("part") != part:
        raise CheckpointError(
            f"{path}: expected the weights of part {part!r}, found {metadata.get('part')!r}"
        )
    try:
        values = parse_json(metadata["config"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: its metadata holds no readable config") from error
    return from_dict(config_class, values, f"{path}: config"), state


class Uninitialized(TorchFunctionMode):
    """Modules built within it draw no initial weights: theirs come from a file.

    For modules on the meta device PyTorch would import its compiler to draw them, which takes
    longer than loading a small model.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Contents of a weight file of either kind, told apart by the suffix.

    Raises
    ------
    CheckpointError
        As `read_safetensors` and `read_pickle`.
    """
    return read_safetensors(path)[0] if path.suffix == ".safetensors" else read_pickle(path)


def load_state(module: Network, state: State, where: str | Path) -> Network:
    """Give `module` exactly the tensors of `state`, cast to its own dtypes.

    Raises
    ------
    CheckpointError
        Names the file, the key, and what was expected and found.
    """
    expected = module.state_dict()
    for key, tensor in expected.items():
        if key not in state:
            raise CheckpointError(
                f"{where}: key {key!r} is missing (expected shape {list(tensor.shape)})"
            )
        if state[key].shape != tensor.shape:
            raise CheckpointError(
                f"{where}: key {key!r} has the wrong shape: expected {list(tensor.shape)}, found "
                f"{list(state[key].shape)}"
            )
    unexpected = sorted(set(state) - set(expected))
    if unexpected:
        raise CheckpointError(
            f"{where}: unexpected key {unexpected[0]!r} (and {len(unexpected) - 1} more); these "
            "are the weights of another architecture"
        )
    for key, tensor in state.items():
        # Not every type, such as those of 8 bits, knows isfinite itself.
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise CheckpointError(
                f"{where}: key {key!r} holds NaN or infinite values; the file is damaged"
            )
    if any(t.is_meta for t in expected.values()):
        cast = {k: v.to(expected[k].dtype) for k, v in state.items()}
        module.load_state_dict(cast, assign=True)
    else:
        module.load_state_dict(state)
    return module


def require_pickle(path: Path, allow_pickle: bool) -> None:
    """Raise unless unpickling was explicitly allowed; the message says how to convert the file."""
    if not allow_pickle:
        raise CheckpointError(
            f"{path}: a pickled checkpoint is not loaded directly; convert it once with: "
            f"dreamaudio convert {path} --out NAME.safetensors"
        )
