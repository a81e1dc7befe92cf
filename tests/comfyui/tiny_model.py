"""A complete model folder with small random weights, for fast runs in a real ComfyUI."""

import json
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from dreamaudio_core.config import (
    ArrangerConfig,
    ModelConfig,
    MRCConfig,
    TextConfig,
    VAEConfig,
    VocoderConfig,
    to_dict,
)
from dreamaudio_core.networks.arranger import Arranger
from dreamaudio_core.networks.bigvgan import BigVGAN
from dreamaudio_core.networks.mrc import MRCUNet
from dreamaudio_core.networks.vae import AutoencoderKL
from dreamaudio_core.weights.checkpoint import save_weights

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a crow caws then cash register rings guitar plays first twice and bell".split()
CONFIG = ModelConfig(
    name="tiny",
    vae=VAEConfig(
        channels=8,
        multipliers=(1, 2, 2, 2),
        num_res_blocks=1,
        latent_channels=4,
        groups=4,
        middle_attention=False,
    ),
    vocoder=VocoderConfig(
        upsample_initial_channel=32,
        resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1, 3, 5),),
    ),
    text=TextConfig(kind="minilm", source="text_encoder", dim=24),
    mrc=MRCConfig(
        latent_channels=4,
        model_channels=32,
        multipliers=(1, 2),
        attention_levels=(1,),
        num_res_blocks=1,
        head_dim=16,
        groups=8,
        text_dim=24,
        num_references=8,
        fusion="placed",
    ),
    arranger=ArrangerConfig(text_dim=24, hidden=48, layers=1, heads=2),
    seconds=2.56,
)


def make_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Write the folder; different seeds give different weights."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({"format": "dreamaudio", "version": 1, **to_dict(CONFIG)})
    )
    network, vocoder = MRCUNet(CONFIG.mrc), BigVGAN(CONFIG.vocoder)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.abs().sum() == 0:
                parameter.normal_(std=0.05)
        # Without an offset, and at a level far from both silence and clipping.
        last = vocoder.conv_post
        last.weight.sub_(last.weight.mean(dim=-1, keepdim=True))
        last.bias.zero_()
        last.weight.mul_(0.1 / vocoder(torch.randn(1, CONFIG.audio.n_mels, 256) - 5.0).std())
    parts = {
        "flow": (network, CONFIG.mrc),
        "vae": (AutoencoderKL(CONFIG.vae), CONFIG.vae),
        "vocoder": (vocoder, CONFIG.vocoder),
        "arranger": (Arranger(CONFIG.arranger), CONFIG.arranger),
    }
    for name, (module, config) in parts.items():
        save_weights(folder / f"{name}.safetensors", module.state_dict(), name, config)
    encoder = folder / "text_encoder"
    encoder.mkdir(exist_ok=True)
    (encoder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab=str(encoder / "vocab.txt")).save_pretrained(encoder)
    sizes = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertModel(sizes, add_pooling_layer=False).save_pretrained(encoder)
    return folder
