"""CLAP similarities on a small random `ClapModel` in transformers' own layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from transformers import ClapFeatureExtractor, ClapModel

from dreamaudio_core.errors import CheckpointError, InputError
from dreamaudio_core.evaluation.clips import read_clip
from dreamaudio_core.evaluation.evaluate import Weights, evaluate
from dreamaudio_core.evaluation.metrics.clap_scores import clap_score
from dreamaudio_core.networks.clap import ClapExtractor
from small_clap import write_clap

SECOND = 48_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_clap(tmp_path_factory.mktemp("clap") / "model")


def noise(seconds: float, seed: int = 0) -> torch.Tensor:
    """Noise whose spectrum changes over time, so that every crop differs."""
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(round(seconds * SECOND), generator=generator)
    steps = samples.cumsum(0)
    mix = torch.linspace(0, 1, len(samples))
    return 0.1 * (samples * mix + steps / steps.abs().max() * (1 - mix))


def test_vectors_are_those_of_the_model(folder):
    extractor = ClapExtractor(folder)
    clip = noise(3)
    found = extractor.extract([clip])[0]
    model = ClapModel.from_pretrained(folder).eval()
    features = ClapFeatureExtractor.from_pretrained(folder)(
        clip.numpy(), sampling_rate=SECOND, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = model.audio_model(input_features=features["input_features"].float()).pooler_output
        expected = torch.nn.functional.normalize(model.audio_projection(hidden), dim=-1)[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    ids = torch.tensor([[0, *(5 + ord(c) - ord("a") for c in "abc"), 2]])
    with torch.no_grad():
        hidden = model.text_model(input_ids=ids).pooler_output
        expected = torch.nn.functional.normalize(model.text_projection(hidden), dim=-1)[0].numpy()
    np.testing.assert_allclose(extractor.embed_texts(["abc"])[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", [False, True])
def test_only_the_first_ten_seconds_count(fusion, tmp_path):
    extractor = ClapExtractor(write_clap(tmp_path / "model", fusion))
    clip = noise(12)
    crops = (clip, clip, clip[: 10 * SECOND], clip[2 * SECOND :])
    whole, again, first, last = (extractor.extract([crop])[0] for crop in crops)
    np.testing.assert_allclose(whole, again, atol=1e-6)
    np.testing.assert_allclose(whole, first, atol=1e-6)
    assert np.abs(whole - last).max() > 1e-4


@pytest.mark.parametrize("fusion", [False, True])
def test_batches_change_nothing(fusion, tmp_path):
    extractor = ClapExtractor(write_clap(tmp_path / "model", fusion))
    clips = [noise(seconds, seed) for seed, seconds in enumerate((1.0, 10.0, 10.24, 0.05))]
    together = extractor.extract(clips)
    for clip, found in zip(clips, together, strict=True):
        np.testing.assert_allclose(found, extractor.extract([clip])[0], rtol=1e-4, atol=1e-5)
    texts = ["a dog barks", "rain", "a bell, then a dog and a bell and a dog"]
    together = extractor.embed_texts(texts)
    for text, found in zip(texts, together, strict=True):
        np.testing.assert_allclose(found, extractor.embed_texts([text])[0], rtol=1e-4, atol=1e-5)


def test_scores_by_hand():
    a = np.array([[1.0, 0.0], [3.0, 4.0], [1.0, 1.0]])
    b = np.array([[2.0, 0.0], [4.0, 3.0], [-1.0, -1.0]])
    np.testing.assert_allclose(clap_score(a, b), [100, 96, -100])


def test_a_clip_resembles_itself_most(folder):
    extractor = ClapExtractor(folder)
    a, b = extractor.extract([noise(2, 1), torch.sin(torch.arange(2 * SECOND) * 0.05)])
    assert clap_score(a[None], a[None])[0] == pytest.approx(100, abs=1e-4)
    assert clap_score(a[None], b[None])[0] < 99.99


def test_pickles_and_code_of_a_folder_are_refused(folder, tmp_path):
    pickled = Path(shutil.copytree(folder, tmp_path / "pickled"))
    torch.save(ClapModel.from_pretrained(folder).state_dict(), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    evil, ran = Path(shutil.copytree(folder, tmp_path / "evil")), tmp_path / "ran"
    (evil / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    config = json.loads((evil / "config.json").read_text())
    code = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    (evil / "config.json").write_text(json.dumps(config | code))
    settings = {"auto_map": {"AutoTokenizer": ["evil.T", None]}, "tokenizer_class": "Evil"}
    (evil / "tokenizer_config.json").write_text(json.dumps(settings))
    for source in (pickled, evil):
        with pytest.raises(CheckpointError, match="safetensors weights"):
            ClapExtractor(source).extract([noise(1)])
    assert not ran.exists()


def test_silence_and_long_texts_are_scored(folder):
    extractor = ClapExtractor(folder)
    assert np.isfinite(extractor.extract([torch.zeros(SECOND)])[0]).all()
    assert np.isfinite(extractor.embed_texts(["a dog barks, " * 50])).all()


def test_a_whole_evaluation_of_prompts_and_targets(folder, tmp_path):
    clips = {name: noise(2, seed) for seed, name in enumerate(("dog", "rain"))}
    for side, level in (("target", 1.0), ("generated", 0.3)):
        (tmp_path / side).mkdir()
        for name, waveform in clips.items():
            soundfile.write(
                tmp_path / side / f"{name}.wav", level * waveform.numpy(), SECOND, subtype="FLOAT"
            )
    prompts = {"dog": "a dog barks", "rain": "rain falls"}
    source = Weights(clap=folder)
    generated, target = tmp_path / "generated", tmp_path / "target"
    found = evaluate(generated, target, prompts, source)
    extractor = ClapExtractor(folder)
    texts = extractor.embed_texts(list(prompts.values()))
    vectors = [
        extractor.extract([read_clip(s / f"{n}.wav", SECOND) for n in prompts])
        for s in (generated, target)
    ]
    assert found.scores["clap"] == pytest.approx(clap_score(texts, vectors[0]).mean(), abs=1e-3)
    assert found.scores["clap_a"] == pytest.approx(
        clap_score(vectors[1], vectors[0]).mean(), abs=1e-3
    )
    assert set(found.scores) == {"clap", "clap_a"}
    assert evaluate(target, target, prompts, source).scores["clap_a"] == pytest.approx(
        100, abs=1e-3
    )
    with pytest.raises(InputError, match="1 clips have none, 'rain'"):
        evaluate(generated, target, {"dog": "a dog barks", "rain": " "}, source)


@pytest.mark.parametrize("source", ["absent-folder", "./missing/clap", "/missing/clap", "a/b/c"])
def test_what_is_no_folder_and_no_hub_id_is_refused(source):
    with pytest.raises(CheckpointError, match="huggingface.co/laion"):
        ClapExtractor(source)


def test_incomplete_and_foreign_folders_are_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="preprocessor_config.json"):
        ClapExtractor(tmp_path / "empty").embed_texts(["a"])
    copy = tmp_path / "partial"
    shutil.copytree(folder, copy)
    state = ClapModel.from_pretrained(folder).state_dict()
    kept = {k: v.contiguous() for k, v in state.items() if not k.startswith("text_projection")}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="text_projection"):
        ClapExtractor(copy).embed_texts(["a"])


def test_bad_values_are_refused(folder):
    with pytest.raises(InputError, match="at least one text"):
        ClapExtractor(folder).embed_texts([])
