"""A small CLAP model of random weights, for tests and rehearsals."""

import json
from pathlib import Path

import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer


def write_clap(folder: Path, fusion: bool = False, seed: int = 0, max_tokens: int = 20) -> Path:
    """A CLAP model of random weights with every file of a published one."""
    folder.mkdir(exist_ok=True)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + ["Ġ", ","]
    vocabulary = {
        token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters])
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    tokenizer = RobertaTokenizer.from_pretrained(folder, model_max_length=max_tokens)
    tokenizer.save_pretrained(folder)
    text = {
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": max_tokens + 20,
        "pad_token_id": 1,
    }
    sound = {
        "hidden_size": 32,
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1, 1],
        "num_attention_heads": [1, 2, 2],
        "num_hidden_layers": 3,
        "spec_size": 256,
        "window_size": 8,
        "num_mel_bins": 64,
        "enable_fusion": fusion,
        "aff_block_r": 2,
    }
    torch.manual_seed(seed)
    config = ClapConfig(text_config=text, audio_config=sound, projection_dim=12)
    ClapModel(config).eval().save_pretrained(folder)
    ClapFeatureExtractor(truncation="fusion" if fusion else "rand_trunc").save_pretrained(folder)
    return folder
