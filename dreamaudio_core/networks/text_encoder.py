"""Text encoders: a transformers T5 encoder (paper: Flan-T5), or the MiniLM encoder that the
embedded model carries.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TextConfig
from ..device import with_less_memory
from ..errors import CheckpointError
from .minilm import Tokenizer, read_config, read_minilm
from .operations import FAST
from .pretrained import (
    cast,
    check_sizes,
    quiet_transformers,
    read_model,
    read_pretrained,
    resolve_source,
)

_BATCH = 64
"""Texts that are encoded together."""


class TextEncoder(nn.Module):
    """Texts to token features.

    Parameters
    ----------
    model
        Encoder whose output has `last_hidden_state` [B, L, D].
    tokenizer
        The tokenizer that belongs to it.
    config
        Kind, feature size and the number of tokens each text is padded or cut to.
    """

    def __init__(self, model: nn.Module, tokenizer, config: TextConfig):
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.config = config

    def token_ids(self, texts: list[str]) -> list[list[int]]:
        """Tokens of each text with its boundary tokens, neither cut nor padded."""
        return self.tokenizer(list(texts))["input_ids"]

    def tokenize(self, texts: list[str], longest: bool = False) -> tuple[Tensor, Tensor]:
        """Token ids and mask (True = token), both [len(texts), L].

        An empty text keeps its end-of-sentence (or boundary) tokens, so that no row of the mask is
        empty; of a text with more than `max_tokens` the end is left out.

        Parameters
        ----------
        longest
            Pad to the longest of the texts, not to `max_tokens`.
        """
        most = self.config.max_tokens
        rows = [
            row[: most - 1] + row[-1:] if len(row) > most else row for row in self.token_ids(texts)
        ]
        return self._padded(rows, max(map(len, rows), default=0) if longest else most)

    def _padded(self, rows: list[list[int]], length: int) -> tuple[Tensor, Tensor]:
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        mask = torch.zeros(len(rows), length, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = True
        return ids, mask

    def is_cut(self, text: str) -> bool:
        """Whether `text` has more tokens than the encoder takes."""
        return len(self.token_ids([text])[0]) > self.config.max_tokens

    def windows(self, text: str) -> list[str]:
        """A text in pieces that the encoder takes whole, cut at marks where that is possible."""
        if not self.is_cut(text):
            return [text]
        pieces: list[str] = []
        for clause in re.split(r"(?<=[,.;:!?\n])(?=\s)|(?<=[。，；！？])", text):
            joined = pieces[-1] + clause if pieces else clause
            if pieces and not self.is_cut(joined):
                pieces[-1] = joined
                continue
            words = re.split(r"(?<=\S)(?=\s)", clause)
            pieces.append(words[0])
            for word in words[1:]:
                if self.is_cut(pieces[-1] + word):
                    pieces.append(word)
                else:
                    pieces[-1] += word
        return [piece.strip() for piece in pieces if piece.strip()]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token features [B, L, D]."""
        return self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state

    @torch.no_grad()
    def encode(
        self, texts: list[str], device: torch.device | str | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features [len(texts), L, D] and mask [len(texts), L] on the encoder's device.

        Raises
        ------
        torch.OutOfMemoryError
            If memory runs out for one text without its padding, too.
        """
        device = device or next(self.parameters()).device
        ids, mask = (x.to(device) for x in self.tokenize(texts))
        return self._features(ids, mask), mask

    def _features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token features [B, L, D]; where memory runs out, text by text and without padding."""

        def each_alone() -> Tensor:
            rows = []
            for row, used in zip(ids, mask):
                features = self(row[used][None], used[used][None])
                # What stands for padding is masked wherever tokens are read.
                rows.append(F.pad(features, (0, 0, 0, len(used) - features.shape[1])))
            return torch.cat(rows)

        return with_less_memory(lambda: self(ids, mask), each_alone, "encoding texts")

    @torch.inference_mode()
    def rows(self, texts: Sequence[str], device: torch.device | str) -> list[Tensor]:
        """Features [L, D] of each text, without padding, on the CPU."""
        found = [torch.empty(0)] * len(texts)
        # Texts of about one length share a batch, so that little of it is padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for chosen in (order[i : i + _BATCH] for i in range(0, len(order), _BATCH)):
            tokens = self.tokenize([texts[i] for i in chosen], longest=True)
            ids, mask = (x.to(device) for x in tokens)
            features = self._features(ids, mask).cpu()
            for i, row, length in zip(chosen, features, mask.sum(1)):
                found[i] = row[:length]
        return found

    def embed(self, texts: Sequence[str], device: torch.device | str) -> Tensor:
        """Unit vectors [len(texts), D], float32 on the CPU: the texts' mean token features."""
        found = torch.empty(len(texts), self.config.dim)
        for i, row in enumerate(self.rows(texts, device)):
            found[i] = row.float().mean(0)
        return nn.functional.normalize(found, dim=-1)


def replace_operations(module: nn.Module, operations) -> nn.Module:
    """Exchange the plain layers of a third-party model for those of `operations`, weights kept."""
    for name, child in module.named_children():
        kw = {"device": "meta"}
        if type(child) is nn.Linear:
            new = operations.Linear(
                child.in_features, child.out_features, bias=child.bias is not None, **kw
            )
        elif type(child) is nn.LayerNorm:
            new = operations.LayerNorm(
                child.normalized_shape, eps=child.eps, elementwise_affine=True, **kw
            )
        elif type(child) is nn.Embedding:
            new = operations.Embedding(
                child.num_embeddings, child.embedding_dim, padding_idx=child.padding_idx, **kw
            )
        else:
            replace_operations(child, operations)
            continue
        for key, parameter in list(child.named_parameters(recurse=False)):
            setattr(new, key, parameter)
        setattr(module, name, new)
    return module


_KINDS = {"t5": ("t5", "mt5"), "minilm": ("bert",)}
_SIZES = {
    "t5": ("d_model", "d_kv", "d_ff", "num_heads", "vocab_size", "relative_attention_num_buckets"),
    "minilm": (
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "vocab_size",
        "max_position_embeddings",
        "type_vocab_size",
    ),
}
_EXPECTED = "config.json, tokenizer files and safetensors weights in transformers' layout"


def load_text_encoder(
    source: str | Path,
    config: TextConfig,
    operations=FAST,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    allow_download: bool = False,
) -> TextEncoder:
    """Read a text encoder from a local folder in transformers' layout, or from a hub id.

    Parameters
    ----------
    source
        A folder, or a hub id such as `google/flan-t5-large`.
    allow_download
        Set only where the user has named the hub id; otherwise nothing is downloaded.

    Raises
    ------
    CheckpointError
        If the folder or one of its files is missing or does not fit, or a hub id was not named by
        the user. Code that comes with a model is never run, and pickled weights are never read.
    """
    source, local = resolve_source(source)
    name = f"text encoder {source!r}"
    if not local and not allow_download:
        raise CheckpointError(
            f"{name}: no such folder; name a local folder in transformers' layout, or "
            "give the hub id itself as --text-encoder to have it downloaded"
        )
    if config.kind not in _KINDS:
        raise CheckpointError(
            f"text.kind: expected one of {', '.join(_KINDS)}, found {config.kind!r}"
        )
    if config.kind == "minilm":
        folder = Path(source) if local else _downloaded(source, name)
        model, tokenizer = _read_minilm(folder, config, name, operations)
        model = model.to(dtype)
    else:
        with quiet_transformers():
            model, tokenizer = _read_t5(source, config, name, local)
        model = cast(model, dtype)
        if operations is not nn:
            replace_operations(model, operations)
    return TextEncoder(model.eval().requires_grad_(False).to(device), tokenizer, config)


def _downloaded(source: str, name: str) -> Path:
    """Local copy of a hub id's files."""
    from huggingface_hub import snapshot_download

    files = ["config.json", "tokenizer.json", "model.safetensors"]
    found = read_pretrained(name, _EXPECTED, _without_code(snapshot_download), source, files)
    return Path(found)


def _without_code(download):
    return lambda source, files, trust_remote_code: download(source, allow_patterns=files)


def _check_kind(name: str, values: dict[str, Any], config: TextConfig) -> str:
    """The model type that a `config.json` names, its sizes checked."""
    kind = values.get("model_type")
    if kind not in _KINDS[config.kind]:
        raise CheckpointError(f"{name}: expected a {_KINDS[config.kind][0]} model, found {kind!r}")
    check_sizes(name, values, _SIZES[config.kind], limit=1_000_000)
    check_sizes(name, values, ("num_layers", "num_hidden_layers"), limit=200)
    return kind


def _check_width(name: str, found: int, config: TextConfig) -> None:
    if found != config.dim:
        raise CheckpointError(
            f"{name}: expected features of size {config.dim}, found {found}; use the "
            "encoder that the model was trained with"
        )


def _read_minilm(
    folder: Path, config: TextConfig, name: str, operations
) -> tuple[nn.Module, Tokenizer]:
    """Checked model and tokenizer of a folder."""
    values = read_config(folder, name)
    _check_kind(name, values, config)
    _check_width(name, values["hidden_size"], config)
    tokenizer = read_pretrained(
        name, _EXPECTED, lambda path, trust_remote_code: Tokenizer(path), folder / "tokenizer.json"
    )
    model = read_minilm(folder, name, values, operations)
    positions = values.get("max_position_embeddings", config.max_tokens)
    _check_tokenizer(name, tokenizer, values["vocab_size"], positions, config)
    return model, tokenizer


def _read_t5(source: str, config: TextConfig, name: str, local: bool) -> tuple[nn.Module, Any]:
    """Checked model and tokenizer, read by transformers."""
    from transformers import AutoTokenizer, MT5Config, T5Config, T5EncoderModel

    options = {"local_files_only": local}
    values, _ = read_pretrained(name, _EXPECTED, T5Config.get_config_dict, source, **options)
    config_class = MT5Config if _check_kind(name, values, config) == "mt5" else T5Config
    found = read_pretrained(name, _EXPECTED, config_class.from_pretrained, source, **options)
    _check_width(name, found.hidden_size, config)
    tokenizer = read_pretrained(
        name, _EXPECTED, AutoTokenizer.from_pretrained, source, config=found, **options
    )
    model, unused = read_model(name, _EXPECTED, T5EncoderModel, source, config=found, **options)
    # Decoders of a whole model are left out on purpose; encoder layers are not.
    foreign = [key for key in unused if key.startswith("encoder.")]
    if foreign:
        raise CheckpointError(
            f"{name}: unexpected key {foreign[0]!r} (and {len(foreign) - 1} more); the weights "
            "have other layers than config.json says"
        )
    rows = model.get_input_embeddings().num_embeddings
    _check_tokenizer(name, tokenizer, rows, config.max_tokens, config)
    return model, tokenizer


def _check_tokenizer(name: str, tokenizer, rows: int, positions: int, config: TextConfig) -> None:
    if tokenizer.pad_token_id is None:
        raise CheckpointError(f"{name}: its tokenizer has no padding token; use another encoder")
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise CheckpointError(
            f"{name}: its tokenizer has token {largest}, its weights only {rows} tokens; these "
            "files belong to different models"
        )
    if config.max_tokens > positions:
        raise CheckpointError(
            f"{name}: takes at most {positions} tokens, the model uses {config.max_tokens}"
        )
