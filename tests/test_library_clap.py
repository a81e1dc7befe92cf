"""The reference library with CLAP vectors, on a small `ClapModel` of random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer

import dreamaudio_core
from dreamaudio_core.audio.decode import read_audio
from dreamaudio_core.errors import InputError
from dreamaudio_core.retrieval import SoundLibrary

EXAMPLES = Path(dreamaudio_core.__file__).parent / "examples"


@pytest.fixture(scope="module")
def clap(tmp_path_factory) -> Path:
    """A CLAP folder of random weights with every file of a published one."""
    folder = tmp_path_factory.mktemp("clap")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + ["Ġ", ","]
    vocabulary = {
        token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters])
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    RobertaTokenizer.from_pretrained(folder, model_max_length=30).save_pretrained(folder)
    text = {
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
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
        "enable_fusion": False,
    }
    torch.manual_seed(0)
    ClapModel(
        ClapConfig(text_config=text, audio_config=sound, projection_dim=12)
    ).eval().save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    return folder


@pytest.fixture
def sounds(tmp_path) -> Path:
    return Path(shutil.copytree(EXAMPLES, tmp_path / "sounds"))


def test_sounds_are_found_by_sound_and_prompt(tmp_path, sounds, clap):
    library = SoundLibrary(tmp_path / "library", clap=clap)
    assert library.add(sounds).added == 3
    for path in sorted(sounds.glob("*.flac")):
        hits = library.search_audio(path, 3)
        assert hits[0].path == path and hits[0].score == pytest.approx(1.0, abs=1e-3)
        assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True) and len(
            hits
        ) == 3
    extractor = library.clap
    wanted = extractor.embed_texts(["a crow caws"])[0]
    vectors = {p: extractor.extract([read_audio(p, 48_000)])[0] for p in sounds.glob("*.flac")}
    hits = library.search("a crow caws", 3, by="audio")
    for hit in hits:
        assert hit.score == pytest.approx(float(vectors[hit.path] @ wanted), abs=1e-3)
    by_caption = {h.path: h.score for h in library.search("a crow caws", 3)}
    for hit in library.search("a crow caws", 3, by="both"):
        assert hit.score == pytest.approx(
            (by_caption[hit.path] + float(vectors[hit.path] @ wanted)) / 2, abs=1e-3
        )
    # The model that the sounds were embedded with is found again by itself.
    again = SoundLibrary(tmp_path / "library")
    assert again.search_audio(sounds / "guitar.flac")[0].path.name == "guitar.flac"


def test_vectors_are_added_later_to_sounds_that_lack_them(tmp_path, sounds, clap):
    library = SoundLibrary(tmp_path / "library")
    library.add(sounds)
    with pytest.raises(InputError, match="no sounds embedded by CLAP"):
        library.search("a crow caws", by="audio")
    library = SoundLibrary(tmp_path / "library", clap=clap)
    report = library.add(sounds)
    assert (report.updated, report.unchanged) == (3, 0)
    assert library.search_audio(sounds / "crow.flac")[0].path.name == "crow.flac"
    assert library.add(sounds).unchanged == 3


def test_another_clap_model_is_refused(tmp_path, sounds, clap):
    SoundLibrary(tmp_path / "library", clap=clap).add(sounds)
    other = Path(shutil.copytree(clap, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"logit_scale_init_value": 1.0}))
    library = SoundLibrary(tmp_path / "library", clap=other)
    for call in (lambda: library.add(sounds), lambda: library.search_audio(sounds / "crow.flac")):
        with pytest.raises(InputError, match="another CLAP model"):
            call()
