"""Make-an-Audio's published layout in small sizes, of random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from transformers import BertConfig, BertModel, BertTokenizerFast

from dreamaudio_core.config import VocoderConfig
from dreamaudio_core.errors import CheckpointError
from dreamaudio_core.evaluation.systems.by_name import load_generator
from dreamaudio_core.evaluation.systems.make_an_audio_files import (
    UNET,
    VAE,
    Projection,
    _unet,
)
from dreamaudio_core.networks.bigvgan import BigVGAN
from dreamaudio_core.weights.ldm_keys import unet_key, vae_key

diffusers = pytest.importorskip("diffusers")

SMALL_UNET = {**UNET, "model_channels": 32, "num_heads": 4, "context_dim": 16}
SMALL_VAE = {**VAE, "ch": 32, "num_res_blocks": 1, "resolution": 48, "attn_resolutions": [6, 12]}
SETTINGS = {"steps": 2, "seconds": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("maa")
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        attention_head_dim=4,
        cross_attention_dim=16,
    )
    vae = diffusers.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        block_out_channels=(32, 64, 64, 128),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2 + ("AttnDownEncoderBlock2D",) * 2,
        up_block_types=("AttnUpDecoderBlock2D",) * 2 + ("UpDecoderBlock2D",) * 2,
        latent_channels=4,
    )
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "barks", "rain"]
    sizes = {"vocab_size": len(words), "hidden_size": 24, "num_hidden_layers": 1}
    bert = BertModel(BertConfig(**sizes, num_attention_heads=2, intermediate_size=16))
    state = {"scale_factor": torch.tensor(0.8)}
    for prefix, network, name_of in (
        ("model.diffusion_model", unet, lambda key: unet_key(key, 2)),
        ("first_stage_model", vae, lambda key: vae_key(key, 4)),
        ("cond_stage_model.caption_encoder.base", bert, str),
        ("cond_stage_model.caption_encoder.projection", Projection(24, 16), str),
    ):
        state |= {f"{prefix}.{name_of(k)}": v for k, v in network.state_dict().items()}
    torch.save({"state_dict": state}, base / "maa1_full.ckpt")
    params = {
        "unet_config": {"params": SMALL_UNET},
        "first_stage_config": {"params": {"ddconfig": SMALL_VAE}},
    }
    text = yaml.safe_dump({"model": {"params": params}})
    (base / "txt2audio_args.yaml").write_text(text, encoding="utf-8")
    (base / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(vocab=str(base / "vocab.txt")).save_pretrained(base / "bert-base-uncased")
    bert.config.save_pretrained(base / "bert-base-uncased")
    write_vocoder(base / "bigvgan")
    return base


def write_vocoder(folder: Path) -> None:
    """BigVGAN as Make-an-Audio has it, but narrow."""
    settings = {
        "num_mels": 80,
        "upsample_initial_channel": 64,
        "upsample_rates": [4, 4, 2, 2, 2, 2],
        "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
        "resblock": "1",
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
        "activation": "snakebeta",
        "snake_logscale": True,
        "batch_size": 64,
    }
    folder.mkdir()
    (folder / "args.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    known = {k: v for k, v in settings.items() if k != "batch_size"}
    tuples = {k: tuple(v) for k, v in known.items() if isinstance(v, list)}
    tuples["resblock_dilation_sizes"] = ((1, 3, 5),)
    vocoder = BigVGAN(VocoderConfig(**{**known, **tuples}))
    torch.save({"generator": vocoder.state_dict()}, folder / "best_netG.pt")


def test_a_sound_follows_prompt_seed_and_guidance(folder):
    generator = load_generator(f"make-an-audio:{folder}", **SETTINGS)
    assert generator.sample_rate == 16_000 and "Make-an-Audio" in generator.name
    sound = generator.generate("a dog barks", [], 3)
    assert sound.shape == (8000,) and torch.isfinite(sound).all() and sound.std() > 0
    torch.testing.assert_close(generator.generate("a dog barks", [], 3), sound)
    for prompt, seed in (("rain", 3), ("a dog barks", 4)):
        assert not torch.equal(generator.generate(prompt, [], seed), sound)
    alone = load_generator(f"make-an-audio:{folder}", **SETTINGS, guidance=0.0)
    torch.testing.assert_close(alone.generate("rain", [], 3), alone.generate("a dog barks", [], 3))


def test_names_are_those_of_latent_diffusion(folder):
    """By diffusers' own converter, and by some names of the published checkpoint."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    state = torch.load(folder / "maa1_full.ckpt", weights_only=True)["state_dict"]
    unet = _unet(
        SMALL_UNET,
        {
            k.removeprefix("model.diffusion_model."): v
            for k, v in state.items()
            if k.startswith("model.diffusion_model.")
        },
        Path("x"),
    )
    converted = convert_ldm_unet_checkpoint(dict(state), dict(unet.config))
    assert converted.keys() == unet.state_dict().keys()
    for name, tensor in unet.state_dict().items():
        torch.testing.assert_close(tensor, converted[name].reshape(tensor.shape))
    for name in (
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        "model.diffusion_model.input_blocks.3.0.op.weight",
        "model.diffusion_model.output_blocks.2.2.conv.weight",
        "first_stage_model.encoder.down.2.attn.0.proj_out.weight",
        "first_stage_model.decoder.up.3.attn.1.norm.weight",
        "cond_stage_model.caption_encoder.projection.linear1.weight",
    ):
        assert name in state, name


def test_sizes_without_a_file_are_the_published_ones():
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(
            in_channels=4,
            out_channels=4,
            block_out_channels=(320, 640),
            layers_per_block=2,
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
            attention_head_dim=8,
            cross_attention_dim=1024,
        )
    names = {unet_key(key, 2): tensor.shape for key, tensor in unet.state_dict().items()}
    assert names["input_blocks.0.0.weight"] == (UNET["model_channels"], 4, 3, 3)
    assert names["middle_block.1.transformer_blocks.0.attn2.to_k.weight"] == (640, 1024)


@pytest.mark.parametrize(
    "missing, words",
    [
        ("maa1_full.ckpt", "expected maa1_full.ckpt in it"),
        ("bert-base-uncased/config.json", "the tokenizer's files of bert-base-uncased"),
        ("bigvgan/args.yml", "args.yml: not readable YAML"),
        ("bigvgan/best_netG.pt", "best_netG.pt: no such file"),
    ],
)
def test_what_is_missing_is_named(folder, tmp_path, missing, words):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / missing).unlink()
    with pytest.raises(CheckpointError, match=words):
        load_generator(f"make-an-audio:{copy}", **SETTINGS)


def test_damaged_weights_and_settings_are_named(folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    state = torch.load(copy / "maa1_full.ckpt", weights_only=True)
    del state["state_dict"]["first_stage_model.decoder.up.3.attn.1.norm.weight"]
    torch.save(state, copy / "maa1_full.ckpt")
    with pytest.raises(CheckpointError, match="up_blocks.0.attentions.1.group_norm.*missing"):
        load_generator(f"make-an-audio:{copy}", **SETTINGS)
    (copy / "txt2audio_args.yaml").write_text(json.dumps({"model": {}}))
    with pytest.raises(CheckpointError, match="'params' is missing"):
        load_generator(f"make-an-audio:{copy}", **SETTINGS)
