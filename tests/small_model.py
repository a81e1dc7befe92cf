"""Complete model folders with small random weights, for tests."""

import json
from dataclasses import replace

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast, T5Config, T5EncoderModel

from dreamaudio_core.config import (
    ArrangerConfig,
    ModelConfig,
    SamplingConfig,
    TextConfig,
    to_dict,
)
from dreamaudio_core.networks.arranger import Arranger
from dreamaudio_core.networks.bigvgan import BigVGAN
from dreamaudio_core.networks.mrc import MRCUNet
from dreamaudio_core.networks.vae import AutoencoderKL
from dreamaudio_core.weights.checkpoint import save_weights
from small_configs import SMALL_MRC, SMALL_VAE, SMALL_VOCODER

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "crow",
    "caws",
    "bell",
    "rings",
    "then",
    "##s",
    "cash",
    "register",
    "guitar",
    "plays",
    "first",
    "twice",
    "and",
]


def tokenizer(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)


@torch.no_grad()
def _level(vocoder, bands):
    """Let the vocoder's sound have no offset, and a level far from both silence and clipping."""
    last = vocoder.conv_post
    last.weight.sub_(last.weight.mean(dim=-1, keepdim=True))
    last.bias.zero_()
    last.weight.mul_(0.1 / vocoder(torch.randn(1, bands, 256) - 5.0).std())


def make_folder(
    folder,
    fusion="placed",
    objective="flow",
    text="minilm",
    seconds=2.56,
    seed=0,
    level=False,
    **mrc,
):
    """A complete model folder with small random weights; `level`: its sound can be looked at."""
    torch.manual_seed(seed)
    config = ModelConfig(
        name="tiny",
        vae=SMALL_VAE,
        vocoder=SMALL_VOCODER,
        text=TextConfig(kind=text, source="text_encoder", dim=24),
        mrc=replace(
            SMALL_MRC,
            num_references=8 if fusion == "placed" else 3,
            fusion=fusion,
            objective=objective,
            **mrc,
        ),
        arranger=ArrangerConfig(text_dim=24, hidden=48, layers=1, heads=2)
        if fusion == "placed"
        else None,
        sampling=SamplingConfig(steps=200 if objective == "ddpm" else 24),
        seconds=seconds,
    )
    network = MRCUNet(config.mrc)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.abs().sum() == 0:
                parameter.normal_(std=0.05)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({"format": "dreamaudio", "version": 1, **to_dict(config)})
    )
    save_weights(folder / "flow.safetensors", network.state_dict(), "flow", config.mrc)
    save_weights(
        folder / "vae.safetensors", AutoencoderKL(config.vae).state_dict(), "vae", config.vae
    )
    vocoder = BigVGAN(config.vocoder)
    if level:
        _level(vocoder, config.audio.n_mels)
    save_weights(folder / "vocoder.safetensors", vocoder.state_dict(), "vocoder", config.vocoder)
    if config.arranger:
        save_weights(
            folder / "arranger.safetensors",
            Arranger(config.arranger).state_dict(),
            "arranger",
            config.arranger,
        )
    tokenizer(folder / "text_encoder")
    if text == "minilm":
        encoder = BertModel(
            BertConfig(
                vocab_size=len(WORDS),
                hidden_size=24,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
            ),
            add_pooling_layer=False,
        )
    else:
        encoder = T5EncoderModel(
            T5Config(vocab_size=len(WORDS), d_model=24, d_kv=12, d_ff=32, num_layers=1, num_heads=2)
        )
    encoder.save_pretrained(folder / "text_encoder")
    return folder
