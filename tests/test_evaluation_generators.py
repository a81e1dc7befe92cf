"""This project's own pipeline as a system under test, on a small model of random weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import dreamaudio_core
from dreamaudio_core.config import (
    PRESETS,
    ModelConfig,
    MRCConfig,
    TextConfig,
    VAEConfig,
    VocoderConfig,
    to_dict,
)
from dreamaudio_core.errors import InputError
from dreamaudio_core.evaluation.generators import load_pipeline_generator
from dreamaudio_core.networks.bigvgan import BigVGAN
from dreamaudio_core.networks.mrc import MRCUNet
from dreamaudio_core.networks.vae import AutoencoderKL
from dreamaudio_core.scene.scenes import SceneReference
from dreamaudio_core.weights.checkpoint import save_weights

PACKAGE = Path(dreamaudio_core.__file__).parent
TEXT = PACKAGE / "models" / "mini" / "text_encoder"
CROW = SceneReference(PACKAGE / "examples" / "crow.flac", "a crow caws")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model folder of narrow random parts, with the embedded text encoder."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    config = ModelConfig(
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
        text=dataclasses.replace(PRESETS["mini"].text, source="text_encoder"),
        mrc=MRCConfig(
            latent_channels=4,
            model_channels=16,
            multipliers=(1, 2),
            attention_levels=(1,),
            num_res_blocks=1,
            head_dim=16,
            groups=4,
            text_dim=384,
            num_references=3,
            fusion="placed",
        ),
        seconds=1.28,
    )
    assert isinstance(config.text, TextConfig)
    torch.manual_seed(0)
    for part, network, values in (
        ("vae", AutoencoderKL, config.vae),
        ("flow", MRCUNet, config.mrc),
        ("vocoder", BigVGAN, config.vocoder),
    ):
        made = network(values)
        with torch.no_grad():
            # Layers that start at zero would hide the prompt, the references and the seed.
            for parameter in made.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.05)
        save_weights(folder / f"{part}.safetensors", made.state_dict(), part, values)
    (folder / "config.json").write_text(
        json.dumps({"format": "dreamaudio", "version": 1, **to_dict(config)})
    )
    (folder / "text_encoder").symlink_to(TEXT, target_is_directory=True)
    return folder


def test_a_sound_depends_on_references_prompt_and_seed_alone(model):
    generator = load_pipeline_generator(str(model), steps=2)
    assert generator.name == "tiny" and generator.sample_rate == 16_000
    sound = generator.generate("a crow caws", [CROW], 3)
    assert sound.shape == (20_480,) and torch.isfinite(sound).all()
    torch.testing.assert_close(generator.generate("a crow caws", [CROW], 3), sound)
    for prompt, references, seed in (
        ("a crow caws", [CROW], 4),
        ("a crow caws", [], 3),
        ("rain", [CROW], 3),
    ):
        assert not torch.allclose(generator.generate(prompt, references, seed), sound, atol=1e-7)


def test_the_identity_follows_weights_and_settings(model, tmp_path):
    first = load_pipeline_generator(str(model), steps=2)
    assert load_pipeline_generator(str(model), steps=2).identity == first.identity
    others = [
        load_pipeline_generator(str(model), steps=3),
        load_pipeline_generator(str(model), steps=2, guidance=1.0),
    ]
    other_vae = tmp_path / "vae.safetensors"
    values = VAEConfig(
        channels=8,
        multipliers=(1, 2, 2, 2),
        num_res_blocks=1,
        latent_channels=4,
        groups=4,
        middle_attention=False,
    )
    save_weights(other_vae, AutoencoderKL(values).state_dict(), "vae", values)
    others.append(load_pipeline_generator(str(model), steps=2, parts={"vae": str(other_vae)}))
    assert len({first.identity, *(other.identity for other in others)}) == 4


def test_settings_reach_the_pipeline(model):
    generator = load_pipeline_generator(
        str(model), steps=2, guidance=1.5, reference_guidance=3.0, free=True
    )
    assert generator.options == {
        "steps": 2,
        "guidance": 1.5,
        "reference_guidance": 3.0,
        "free": True,
    }
    assert generator.generate("a crow caws", [CROW], 0).shape == (20_480,)
    with pytest.raises(InputError, match="guidance"):
        load_pipeline_generator(str(model), guidance=-1.0).generate("a", [], 0)
