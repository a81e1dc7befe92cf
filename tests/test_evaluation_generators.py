"""This project's own pipeline as a system under test, on a small model of random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch

import dreamaudio_core
from dreamaudio_core.errors import InputError
from dreamaudio_core.evaluation.ctta import generate_scenes
from dreamaudio_core.evaluation.generators import load_pipeline_generator
from dreamaudio_core.scene.scenes import Scene, SceneReference
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


def test_sounds_are_mono_at_the_model_s_rate_whatever_the_references_are(tmp_path):
    """Reference detail gives the references' own rate and channels where nobody asks otherwise."""
    time = torch.arange(44_100) / 44_100
    stereo = torch.stack([(2 * torch.pi * pitch * time).sin() for pitch in (400, 600)], dim=1)
    soundfile.write(tmp_path / "wide.wav", 0.3 * stereo.numpy(), 44_100)
    generator = load_pipeline_generator("mini", steps=1)
    reference = SceneReference(tmp_path / "wide.wav", "a bell rings")
    sound = generator.generate("a bell rings", [reference], 0, {"seconds": 2.0})
    assert generator.sample_rate == 16_000 and sound.shape == (32_000,)


def test_a_scene_s_own_settings_are_followed_and_the_system_s_come_first(model, tmp_path):
    scenes = [
        Scene("a crow caws", name="short", seconds=0.64),
        Scene("a crow caws", name="plain"),
        Scene("a crow caws", name="long", steps=1),
    ]
    generator = load_pipeline_generator(str(model), steps=2)
    asked = []
    run = generator.model.generate

    def generate(*words, **options):
        asked.append(options)
        return run(*words, **options)

    generator.model.generate = generate
    generate_scenes(generator, scenes, tmp_path / "out")
    lengths = [len(soundfile.read(tmp_path / "out" / f"{s.name}.wav")[0]) for s in scenes]
    assert lengths == [10_240, 20_480, 20_480]
    assert [options["steps"] for options in asked] == [2, 2, 2]
    # What is there already is made again once the scene says something else.
    generate_scenes(generator, [replace(scenes[0], seconds=0.32), *scenes[1:]], tmp_path / "out")
    assert len(asked) == 4

    class Other:
        name, sample_rate, identity = "other", 16_000, "x"

        def generate(self, prompt, references, seed):
            return torch.ones(20_480)

    with pytest.raises(InputError, match="scene long: steps is set, which other does not know"):
        generate_scenes(Other(), scenes, tmp_path / "other")
    # Of other systems what is too long is cut.
    found = [
        len(soundfile.read(tmp_path / "other" / f"{name}.wav")[0]) for name in ("short", "plain")
    ]
    assert found == [10_240, 20_480]
