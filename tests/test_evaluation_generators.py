"""This project's own pipeline as a system under test, on a small model of random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dreamaudio_core
from dreamaudio_core.errors import InputError
from dreamaudio_core.evaluation.generators import load_pipeline_generator
from dreamaudio_core.scene.scenes import SceneReference
from dreamaudio_core.weights.checkpoint import read_safetensors, save_weights
from dreamaudio_core.weights.folder import read_config
from small_model import make_folder

PACKAGE = Path(dreamaudio_core.__file__).parent
CROW = SceneReference(PACKAGE / "examples" / "crow.flac", "a crow caws")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model") / "tiny", seconds=1.28)


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
    state, _ = read_safetensors(model / "vae.safetensors")
    changed = {key: value + 0.01 for key, value in state.items()}
    save_weights(other_vae, changed, "vae", read_config(model).vae)
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
