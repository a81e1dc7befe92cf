"""Text encoders: a transformers T5 encoder (paper: Flan-T5), or the MiniLM encoder that the
embedded model carries.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import TextConfig
from ..errors import CheckpointError
from .pretrained import (
    cast,
    check_sizes,
    quiet_transformers,
    read_model,
    read_pretrained,
    resolve_source,
)


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

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask (True = token), both [len(texts), max_tokens].

        An empty text keeps its end-of-sentence (or boundary) tokens, so that no row of the mask is
        empty.
        """
        batch = self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.config.max_tokens,
            return_tensors="pt",
        )
        return batch["input_ids"], batch["attention_mask"].bool()

    def is_cut(self, text: str) -> bool:
        """Whether `text` has more tokens than the encoder takes."""
        # A word is at most one token a character, so what lies beyond cannot change the answer.
        head = text[: 64 * self.config.max_tokens]
        return len(self.tokenizer(head)["input_ids"]) > self.config.max_tokens

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token features [B, L, D]."""
        return self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state

    @torch.no_grad()
    def encode(
        self, texts: list[str], device: torch.device | str | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features [len(texts), L, D] and mask [len(texts), L] on the encoder's device."""
        device = device or next(self.parameters()).device
        ids, mask = (x.to(device) for x in self.tokenize(texts))
        return self(ids, mask), mask


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
    operations=nn,
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
    with quiet_transformers():
        model, tokenizer = _read(source, config, name, local)
    model = cast(model, dtype)
    if operations is not nn:
        replace_operations(model, operations)
    return TextEncoder(model.eval().requires_grad_(False).to(device), tokenizer, config)


def _read(source: str, config: TextConfig, name: str, local: bool) -> tuple[nn.Module, Any]:
    """Checked model and tokenizer."""
    from transformers import (
        AutoTokenizer,
        BertConfig,
        BertModel,
        MT5Config,
        T5Config,
        T5EncoderModel,
    )

    options = {"local_files_only": local}
    values, _ = read_pretrained(name, _EXPECTED, BertConfig.get_config_dict, source, **options)
    kind = values.get("model_type")
    if kind not in _KINDS[config.kind]:
        raise CheckpointError(f"{name}: expected a {_KINDS[config.kind][0]} model, found {kind!r}")
    check_sizes(name, values, _SIZES[config.kind], limit=1_000_000)
    check_sizes(name, values, ("num_layers", "num_hidden_layers"), limit=200)
    config_class = {"bert": BertConfig, "t5": T5Config, "mt5": MT5Config}[kind]
    found = read_pretrained(name, _EXPECTED, config_class.from_pretrained, source, **options)
    if found.hidden_size != config.dim:
        raise CheckpointError(
            f"{name}: expected features of size {config.dim}, found {found.hidden_size}; use the "
            "encoder that the model was trained with"
        )
    tokenizer = read_pretrained(
        name, _EXPECTED, AutoTokenizer.from_pretrained, source, config=found, **options
    )
    if config.kind == "minilm":
        model_class, options["add_pooling_layer"] = BertModel, False
    else:
        model_class = T5EncoderModel
    model, unused = read_model(name, _EXPECTED, model_class, source, config=found, **options)
    # Heads, poolers and decoders of a whole model are left out on purpose; encoder layers are not.
    foreign = [key for key in unused if re.match(r"(bert\.)?(encoder\.|embeddings\.\w+\.)", key)]
    if foreign:
        raise CheckpointError(
            f"{name}: unexpected key {foreign[0]!r} (and {len(foreign) - 1} more); the weights "
            "have "
            "other layers than config.json says"
        )
    _check_tokenizer(name, tokenizer, model, config)
    return model, tokenizer


def _check_tokenizer(name: str, tokenizer, model: nn.Module, config: TextConfig) -> None:
    if tokenizer.pad_token_id is None:
        raise CheckpointError(f"{name}: its tokenizer has no padding token; use another encoder")
    rows = model.get_input_embeddings().num_embeddings
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise CheckpointError(
            f"{name}: its tokenizer has token {largest}, its weights only {rows} tokens; these "
            "files belong to different models"
        )
    positions = getattr(model.config, "max_position_embeddings", config.max_tokens)
    if config.max_tokens > positions:
        raise CheckpointError(
            f"{name}: takes at most {positions} tokens, the model uses {config.max_tokens}"
        )
