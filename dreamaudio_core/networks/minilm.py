"""The encoder half of BERT, as MiniLM has it (Devlin et al. 2019, Wang et al. 2020), and its
tokenizer.

Our own, for importing transformers' takes longer than everything else that `dreamaudio arrange`
does. Parameters are named as in transformers' weight files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..errors import CheckpointError
from ..weights.checkpoint import Uninitialized, load_state, read_json, read_safetensors


class EncoderOutput(NamedTuple):
    """Token features [B, L, D], named as transformers' encoders name them."""

    last_hidden_state: Tensor


class MiniLM(nn.Module):
    """A stack of post-norm transformer layers over word, position and type embeddings.

    Parameters
    ----------
    config
        Values of the `config.json` of a BERT model.
    operations
        Namespace that provides the layers.
    """

    def __init__(self, config: dict[str, Any], operations=nn, dtype=None, device=None):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        dim, eps = config["hidden_size"], config.get("layer_norm_eps", 1e-12)
        tables = {
            "word_embeddings": config["vocab_size"],
            "position_embeddings": config.get("max_position_embeddings", 512),
            "token_type_embeddings": config.get("type_vocab_size", 2),
        }
        self.embeddings = nn.ModuleDict(
            {name: operations.Embedding(rows, dim, **kw) for name, rows in tables.items()}
        )
        self.embeddings["LayerNorm"] = operations.LayerNorm(dim, eps=eps, **kw)
        layers = [_Layer(config, operations, **kw) for _ in range(config["num_hidden_layers"])]
        self.encoder = _Encoder(layers)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> EncoderOutput:
        """Features of tokens [B, L]; the mask [B, L] is true (or 1) at tokens."""
        table = self.embeddings
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = table["word_embeddings"](input_ids) + table["position_embeddings"](places)
        x = table["LayerNorm"](x + table["token_type_embeddings"](torch.zeros_like(input_ids)))
        mask = attention_mask.bool()[:, None, None]
        for layer in self.encoder.layer:
            x = layer(x, mask)
        return EncoderOutput(x)


# Two levels of names that the published weights have.
class _Encoder(nn.Module):
    def __init__(self, layers: list[_Layer]):
        super().__init__()
        self.layer = nn.ModuleList(layers)


class _Attention(nn.Module):
    def __init__(self, projections: nn.ModuleDict, output: nn.ModuleDict):
        super().__init__()
        self.self, self.output = projections, output


class _Layer(nn.Module):
    def __init__(self, config: dict[str, Any], operations, **kw):
        super().__init__()
        dim, wide = config["hidden_size"], config["intermediate_size"]
        eps = config.get("layer_norm_eps", 1e-12)
        self.heads = config["num_attention_heads"]

        def linear(a: int, b: int) -> nn.Module:
            return operations.Linear(a, b, **kw)

        def closing(a: int) -> nn.ModuleDict:
            norm = operations.LayerNorm(dim, eps=eps, **kw)
            return nn.ModuleDict({"dense": linear(a, dim), "LayerNorm": norm})

        projections = {name: linear(dim, dim) for name in ("query", "key", "value")}
        self.attention = _Attention(nn.ModuleDict(projections), closing(dim))
        self.intermediate = nn.ModuleDict({"dense": linear(dim, wide)})
        self.output = closing(wide)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        own, out = self.attention.self, self.attention.output
        q, k, v = (
            rearrange(own[name](x), "b n (heads d) -> b heads n d", heads=self.heads)
            for name in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        joined = rearrange(mixed, "b heads n d -> b n (heads d)")
        x = out["LayerNorm"](x + out["dense"](joined))
        hidden = F.gelu(self.intermediate["dense"](x))
        return self.output["LayerNorm"](x + self.output["dense"](hidden))


class Tokenizer:
    """A `tokenizer.json` of the tokenizers library, called as transformers' are.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path):
        from tokenizers import Tokenizer as Fast

        self._fast = Fast.from_file(str(path))
        self._fast.no_padding()
        self._fast.no_truncation()
        self.pad_token_id = self._fast.token_to_id("[PAD]")

    def get_vocab(self) -> dict[str, int]:
        """Number of each token."""
        return self._fast.get_vocab()

    def __call__(self, texts: list[str]) -> dict[str, list[list[int]]]:
        """`input_ids` of each text, boundary tokens included, neither cut nor padded."""
        return {"input_ids": [e.ids for e in self._fast.encode_batch(list(texts))]}


def read_minilm(folder: Path, name: str, config: dict[str, Any], operations=nn) -> MiniLM:
    """An encoder from the `model.safetensors` of a folder in transformers' layout, in float32.

    Parameters
    ----------
    name
        What error messages call the model.
    config
        Checked values of its `config.json`.

    Raises
    ------
    CheckpointError
        If a key is missing, foreign or of another shape, or a weight is NaN or infinite.
    """
    if config.get("hidden_act", "gelu") != "gelu":
        raise CheckpointError(f"{name}: config.json: hidden_act: expected gelu")
    try:
        stored, _ = read_safetensors(folder / "model.safetensors")
    except CheckpointError as error:
        raise CheckpointError(f"{name}: cannot be read ({error})") from error
    state = {key.removeprefix("bert."): value for key, value in stored.items()}
    with Uninitialized():
        model = MiniLM(config, operations, torch.float32, torch.device("meta"))
    # Heads and poolers are left out on purpose; encoder layers are not.
    known = model.state_dict()
    kept = {k: v for k, v in state.items() if k in known or k.startswith("encoder.")}
    return load_state(model, kept, name)


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Values of a folder's `config.json`."""
    try:
        return read_json(folder / "config.json")
    except CheckpointError as error:
        raise CheckpointError(f"{name}: cannot be read ({error})") from error
