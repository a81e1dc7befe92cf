"""Tango's published layout, against the same weights as diffusers saves them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import (
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from dreamaudio_core.errors import CheckpointError
from dreamaudio_core.evaluation.systems.by_name import load_generator
from dreamaudio_core.evaluation.systems.tango_files import UNET
from dreamaudio_core.weights.latent_diffusion import vae_from_diffusers

diffusers = pytest.importorskip("diffusers")

SETTINGS = {"steps": 2, "seconds": 0.08}
SMALL = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": (2, 4),
    "cross_attention_dim": 24,
    "use_linear_projection": True,
}
SCHEDULER = {"prediction_type": "v_prediction", "clip_sample": False, "steps_offset": 1}


def vocoder(width: int) -> SpeechT5HifiGan:
    """HiFi-GAN as AudioLDM has it, but narrow."""
    config = SpeechT5HifiGanConfig(
        model_in_dim=8,
        sampling_rate=16_000,
        upsample_initial_channel=width,
        upsample_rates=[5, 4, 2, 2, 2],
        upsample_kernel_sizes=[16, 16, 8, 4, 4],
        resblock_kernel_sizes=[3, 7, 11],
        resblock_dilation_sizes=[[1, 3, 5]] * 3,
        normalize_before=False,
    )
    return SpeechT5HifiGan(config)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory) -> tuple[Path, Path]:
    """Folders with the same small Tango: its parts, and as published."""
    base = tmp_path_factory.mktemp("tango")
    torch.manual_seed(0)
    saved, published = base / "saved", base / "published"
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocabulary += [(chr(c), -3.0) for c in range(ord("a"), ord("z") + 1)]
    tokenizer = T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=24)
    sizes = {"vocab_size": 40, "d_model": 24, "d_kv": 4, "d_ff": 16, "num_layers": 1}
    parts = {
        "unet": diffusers.UNet2DConditionModel(**SMALL),
        "text_encoder": T5EncoderModel(T5Config(**sizes, num_heads=2)),
        "tokenizer": tokenizer,
        "vae": diffusers.AutoencoderKL(
            in_channels=1,
            out_channels=1,
            block_out_channels=(8, 16),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=8,
            scaling_factor=0.9,
        ),
        "vocoder": vocoder(64),
        "scheduler": diffusers.DDPMScheduler(**SCHEDULER),
    }
    for name, part in parts.items():
        part.save_pretrained(saved / name)
    write_published(published, saved, parts)
    return saved, published


def write_published(folder: Path, saved: Path, parts: dict) -> None:
    """The layout of declare-lab/tango."""
    folder.mkdir()
    main = {f"unet.{k}": v for k, v in parts["unet"].state_dict().items()}
    main |= {f"text_encoder.{k}": v for k, v in parts["text_encoder"].state_dict().items()}
    torch.save(main, folder / "pytorch_model_main.bin")
    state = vae_from_diffusers(saved / "vae")[1]
    for key, value in parts["vocoder"].state_dict().items():
        if key not in ("mean", "scale"):
            state[f"vocoder.{key.replace('upsampler.', 'ups.')}"] = value
    torch.save(state, folder / "pytorch_model_vae.bin")
    files = {
        "main_config.json": {"text_encoder_name": "someone/small-t5", "scheduler_name": "x/y"},
        "vae_config.json": {
            "embed_dim": 4,
            "ddconfig": {
                "double_z": True,
                "z_channels": 4,
                "resolution": 16,
                "in_channels": 1,
                "out_ch": 1,
                "ch": 8,
                "ch_mult": [1, 2],
                "num_res_blocks": 2,
                "attn_resolutions": [],
            },
            "scale_factor": 0.9,
        },
        "configs/diffusion_model_config.json": SMALL,
        "scheduler/scheduler_config.json": SCHEDULER,
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    (folder / "small-t5").mkdir()
    parts["text_encoder"].config.save_pretrained(folder / "small-t5")
    parts["tokenizer"].save_pretrained(folder / "small-t5")


def test_the_published_layout_sounds_as_the_saved_parts(layouts):
    saved, published = (load_generator(f"tango:{folder}", **SETTINGS) for folder in layouts)
    expected = saved.generate("a dog barks", [], 3)
    assert expected.shape == (1280,) and expected.std() > 0
    found = published.generate("a dog barks", [], 3)
    torch.testing.assert_close(found, expected, atol=1e-5 * expected.abs().max().item(), rtol=1e-4)
    assert not torch.equal(published.generate("rain", [], 3), found)
    assert published.identity != saved.identity


def test_weights_stored_as_length_and_direction(layouts, tmp_path):
    folder = Path(shutil.copytree(layouts[1], tmp_path / "normed"))
    state = torch.load(folder / "pytorch_model_vae.bin", weights_only=True)
    for key in [k for k in state if k.startswith("vocoder.") and k.endswith(".weight")]:
        weight = state.pop(key)
        name = key.removesuffix(".weight")
        length = weight.flatten(1).norm(dim=1).reshape(-1, 1, 1)
        state |= {f"{name}.weight_g": length, f"{name}.weight_v": 3 * weight}
    torch.save(state, folder / "pytorch_model_vae.bin")
    sounds = [
        load_generator(f"tango:{path}", **SETTINGS).generate("a dog barks", [], 3)
        for path in (folder, layouts[1])
    ]
    torch.testing.assert_close(*sounds, atol=1e-5 * sounds[1].abs().max().item(), rtol=1e-4)


def test_sizes_without_a_file_are_those_of_the_published_weights():
    """Counted without memory: the published files are 4,829,066,707 and 442,713,669 bytes."""
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel.from_config(UNET)
        text = T5EncoderModel(
            T5Config(
                vocab_size=32_128,
                d_model=1024,
                d_kv=64,
                d_ff=2816,
                num_layers=24,
                num_heads=16,
                feed_forward_proj="gated-gelu",
                tie_word_embeddings=False,
            )
        )
        hifigan = vocoder(1024)
    main = sum(p.numel() for network in (unet, text) for p in network.parameters())
    assert main * 4 == pytest.approx(4_829_066_707, rel=2e-4)
    # 55.4 M are those of AudioLDM's VAE.
    other = sum(p.numel() for p in hifigan.parameters()) + 56 * 1024 * 7
    assert (55.4e6 + other) * 4 == pytest.approx(442_713_669, rel=5e-3)


@pytest.mark.parametrize(
    "broken, words",
    [
        ("small-t5/config.json", "config.json and the tokenizer's files of someone/small-t5"),
        ("vae_config.json", "vae_config.json: no such file"),
        ("pytorch_model_vae.bin", "pytorch_model_vae.bin: no such file"),
        ("configs/diffusion_model_config.json", "pytorch_model_main.bin: key .* wrong shape"),
    ],
)
def test_what_is_missing_is_named(layouts, tmp_path, broken, words):
    folder = Path(shutil.copytree(layouts[1], tmp_path / "copy"))
    (folder / broken).unlink()
    if "configs" in broken:
        # The published network takes gigabytes; another small one does not fit either.
        content = {**SMALL, "block_out_channels": (8, 8)}
        (folder / broken).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match=words):
        load_generator(f"tango:{folder}", **SETTINGS)


def test_a_payload_in_a_published_file_does_not_run(layouts, tmp_path):
    folder = Path(shutil.copytree(layouts[1], tmp_path / "evil"))
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return Path.touch, (ran,)

    torch.save({"unet.x": Payload()}, folder / "pytorch_model_main.bin")
    with pytest.raises(CheckpointError, match="weights-only"):
        load_generator(f"tango:{folder}", **SETTINGS)
    assert not ran.exists()
