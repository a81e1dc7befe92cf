"""Text encoders: a transformers T5 encoder (paper: Flan-T5), or the MiniLM encoder that the
embedded model carries.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..config import TextConfig
from ..errors import CheckpointError


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


def _is_local(source: str | Path) -> bool:
    return Path(source).expanduser().is_dir()


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
        Set only where the user has named the hub id; nothing is fetched otherwise.

    Raises
    ------
    CheckpointError
        If the folder or one of its files is missing or foreign, or a hub id was not named by the
        user.
    """
    from transformers import AutoConfig, AutoTokenizer, BertModel, T5EncoderModel, logging

    local = _is_local(source)
    source = str(Path(source).expanduser()) if local else str(source)
    if not local and not allow_download:
        raise CheckpointError(
            f"text encoder {source!r}: no such folder; name a local folder in transformers' layout, or "
            "pass the hub id yourself to have it downloaded"
        )
    model_class = {"t5": T5EncoderModel, "minilm": BertModel}.get(config.kind)
    if model_class is None:
        raise CheckpointError(f"text.kind: expected t5 or minilm, found {config.kind!r}")
    wanted = "t5" if config.kind == "t5" else "bert"
    options = {"local_files_only": local}
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        found = AutoConfig.from_pretrained(source, **options)
        if found.model_type not in (wanted, "mt5" if wanted == "t5" else wanted):
            raise CheckpointError(
                f"text encoder {source!r}: expected a {wanted} model, found {found.model_type!r}"
            )
        if found.hidden_size != config.dim:
            raise CheckpointError(
                f"text encoder {source!r}: expected features of size {config.dim}, found "
                f"{found.hidden_size}; use the encoder that the model was trained with"
            )
        extra = {"add_pooling_layer": False} if config.kind == "minilm" else {}
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = model_class.from_pretrained(source, dtype=dtype, **options, **extra)
    except CheckpointError:
        raise
    except Exception as error:  # transformers raises OSError, ValueError, ImportError and safetensors' own errors alike
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"text encoder {source!r}: cannot be read ({reason}); expected config.json, tokenizer files "
            "and weights in transformers' layout"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    if operations is not nn:
        replace_operations(model, operations)
    return TextEncoder(model.eval().requires_grad_(False).to(device), tokenizer, config)
