"""The reference library with CLAP vectors, on a small `ClapModel` of random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import dreamaudio_core
from dreamaudio_core.audio.decode import read_audio
from dreamaudio_core.errors import InputError
from dreamaudio_core.retrieval import SoundLibrary
from small_clap import write_clap

EXAMPLES = Path(dreamaudio_core.__file__).parent / "examples"


@pytest.fixture(scope="module")
def clap(tmp_path_factory) -> Path:
    """A CLAP folder of random weights with every file of a published one."""
    return write_clap(tmp_path_factory.mktemp("clap"), max_tokens=30)


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
