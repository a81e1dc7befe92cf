"""The reference library on real files: adding, interruption, changes, search and upkeep."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import dreamaudio_core
from dreamaudio_core.errors import InputError
from dreamaudio_core.retrieval import Library, cli
from dreamaudio_core.retrieval import library as module
from dreamaudio_core.retrieval.embedding import TextEmbedder
from dreamaudio_core.retrieval.store import INDEX

EXAMPLES = Path(dreamaudio_core.__file__).parent / "examples"
PROMPT = "a crow caws, then a cash register rings while a guitar plays"


@pytest.fixture
def sounds(tmp_path) -> Path:
    """The three examples with their captions, and three tones with none but their names."""
    folder = tmp_path / "sounds"
    shutil.copytree(EXAMPLES, folder)
    for name, pitch in (("dog_bark", 300), ("church_bells", 600), ("door_close", 150)):
        write_tone(folder / "more" / f"{name}.wav", pitch)
    return folder


def write_tone(path: Path, pitch: float, seconds: float = 0.3, **tags) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * 16_000)) / 16_000)
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        for name, value in tags.items():
            setattr(file, name, value)
        file.write(tone)
    return path


@pytest.fixture(scope="module")
def embedder() -> TextEmbedder:
    """One loaded encoder for all tests."""
    found = TextEmbedder()
    found.embed(["a"])
    return found


@pytest.fixture
def library(tmp_path, embedder) -> Library:
    return opened(tmp_path / "library", embedder)


def opened(path: Path, embedder: TextEmbedder) -> Library:
    found = Library.open(path)
    found._text = embedder
    return found


def names(hits) -> list[str]:
    return [hit.path.name for hit in hits]


def test_each_event_of_a_prompt_finds_its_own_reference(library, sounds):
    report = library.add(sounds)
    assert (report.added, report.problems, len(library)) == (6, [], 6)
    hits = library.search(PROMPT)
    assert names(hits) == ["crow.flac", "cash_register.flac", "guitar.flac"]
    assert [hit.part for hit in hits] == ["a crow caws", "a cash register rings", "a guitar plays"]
    assert hits[0].caption == "a crow caws" and hits[0].score == pytest.approx(1.0, abs=1e-4)
    assert hits[0].seconds == pytest.approx(soundfile.info(sounds / "crow.flac").duration)
    assert names(library.search(PROMPT, 2)) == ["crow.flac", "cash_register.flac"]
    more = library.search(PROMPT, 5)
    assert len(set(names(more))) == 5 and [hit.part for hit in more].count("a crow caws") == 2
    assert len(library.search(PROMPT, 50)) == 6
    assert names(library.search("ringing bells of a church")) == ["church_bells.wav"]
    assert library.search("a crow caws", min_score=0.999)[0].path.name == "crow.flac"
    assert library.search("a volcano erupts", min_score=0.9) == []
    references = library.references("a crow caws")
    assert references[0].caption == "a crow caws" and references[
        0
    ].waveform.abs().max() == pytest.approx(0.5)


def test_vectors_are_means_over_the_tokens_of_each_text(embedder):
    texts = ["rain", "a large dog barks at a passing car in the street"]
    vectors = embedder.embed(texts)
    encoder = embedder._encoder
    for text, vector in zip(texts, vectors):
        ids = encoder.tokenizer([text], return_tensors="pt")["input_ids"]
        mean = encoder(ids, torch.ones_like(ids, dtype=torch.bool))[0].mean(dim=0)
        np.testing.assert_allclose(
            vector, torch.nn.functional.normalize(mean, dim=0).detach(), atol=1e-5
        )


def test_only_new_and_changed_files_are_read_again(library, sounds, monkeypatch):
    library.add(sounds)
    read = []
    for name in ("file_digest", "inspect_sound"):
        real = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda path, *a, n=name, real=real: (read.append((n, path.name)), real(path, *a))[1],
        )
    assert library.add(sounds).unchanged == 6 and read == []
    os.utime(sounds / "crow.flac")
    report = library.add(sounds)
    assert (report.refreshed, report.unchanged) == (1, 5) and read == [("file_digest", "crow.flac")]
    read.clear()
    write_tone(sounds / "more" / "dog_bark.wav", 444, 0.5)
    write_tone(sounds / "more" / "frog.wav", 500)
    report = library.add(sounds)
    assert (report.changed, report.added, report.unchanged) == (1, 1, 5)
    assert sorted(read) == [
        (n, f) for n in ("file_digest", "inspect_sound") for f in ("dog_bark.wav", "frog.wav")
    ]
    assert {e.path.name: e.seconds for e in library.entries()}["dog_bark.wav"] == pytest.approx(0.5)


def test_a_changed_sidecar_changes_the_caption_alone(library, sounds, monkeypatch):
    library.add(sounds)
    (sounds / "more" / "dog_bark.txt").write_text("a whale sings under water\n")
    monkeypatch.setattr(module, "inspect_sound", None)
    assert library.add(sounds).refreshed == 1
    hit = library.search("a whale sings under water")[0]
    assert hit.path.name == "dog_bark.wav" and hit.score == pytest.approx(1.0, abs=1e-4)


def test_tags_give_captions(library, tmp_path):
    write_tone(tmp_path / "sounds" / "a1.flac", 200, title="a kettle whistles")
    library.add(tmp_path / "sounds")
    assert [(e.caption, e.source) for e in library.entries()] == [("a kettle whistles", "tags")]


def test_an_interrupted_run_keeps_its_batches_and_goes_on_behind_them(
    library, sounds, embedder, monkeypatch
):
    real, calls = embedder.embed, []

    def embed(texts):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(texts)

    monkeypatch.setattr(embedder, "embed", embed)
    with pytest.raises(KeyboardInterrupt):
        library.add(sounds, batch_size=2)
    assert len(library) == 4 and len(library.search("a crow caws", 10)) == 4
    report = library.add(sounds, batch_size=2)
    assert (report.added, report.unchanged) == (2, 4)
    assert names(library.search(PROMPT)) == ["crow.flac", "cash_register.flac", "guitar.flac"]


def test_vectors_whose_commit_never_came_are_written_over(library, sounds, monkeypatch):
    library.add(sounds / "more")
    real = library.store.append

    def append(db, name, vectors):
        real(db, name, vectors)
        raise KeyboardInterrupt

    monkeypatch.setattr(library.store, "append", append)
    with pytest.raises(KeyboardInterrupt):
        library.add(sounds)
    assert len(library) == 3 and len(library.search("a crow caws", 10)) == 3
    monkeypatch.undo()
    library.add(sounds)
    assert names(library.search(PROMPT)) == ["crow.flac", "cash_register.flac", "guitar.flac"]
    vectors = next(p for p in library.store.folder.iterdir() if p.suffix == ".f32")
    assert vectors.stat().st_size == 6 * 384 * 4


def test_moved_files_are_recognised_by_their_content(library, sounds, monkeypatch):
    library.add(sounds)
    (sounds / "other").mkdir()
    shutil.move(sounds / "more" / "church_bells.wav", sounds / "other" / "wind.wav")
    shutil.move(sounds / "crow.flac", sounds / "other" / "x.flac")
    skipped = library.search("church bells ring. a crow caws", changed="skip")
    assert not {"church_bells.wav", "crow.flac"} & set(names(skipped))
    with pytest.raises(InputError, match="gone"):
        library.search("a crow caws", changed="refuse")
    assert [p.kind for p in library.verify().problems] == ["missing", "missing"]
    with pytest.raises(InputError, match="and 1 more"):
        library.add(sounds, missing="refuse")
    monkeypatch.setattr(module, "inspect_sound", None)
    report = library.add(sounds)
    assert (report.moved, report.unchanged, report.missing) == (2, 4, []) and len(library) == 6
    assert library.verify().problems == []
    # Its caption came from its name, which is another now.
    assert names(library.search("the wind blows")) == ["wind.wav"]


def test_copies_are_found_once(library, sounds):
    shutil.copy(sounds / "crow.flac", sounds / "more" / "crow_again.flac")
    (sounds / "more" / "crow_again.txt").write_text("a crow caws")
    assert library.add(sounds).added == 7
    found = names(library.search("a crow caws", 7))
    assert len(found) == 6 and len({"crow.flac", "crow_again.flac"} & set(found)) == 1


def test_missing_and_changed_files_are_counted_kept_or_removed(library, sounds, caplog):
    library.add(sounds)
    (sounds / "crow.flac").unlink()
    write_tone(sounds / "more" / "dog_bark.wav", 333, 0.7)
    result = library.verify()
    assert result.intact == 4 and {(p.path.name, p.kind) for p in result.problems} == {
        ("crow.flac", "missing"),
        ("dog_bark.wav", "changed"),
    }
    assert "dog_bark.wav" not in names(library.search("a dog barks", 6))
    assert "passed over 2 files" in caplog.text
    used = names(library.search("a dog barks", 6, changed="use"))
    assert used[0] == "dog_bark.wav" and "crow.flac" not in used
    report = library.add(sounds)
    assert [p.path.name for p in report.missing] == ["crow.flac"] and report.changed == 1
    assert library.add(sounds, missing="remove").removed == 1 and len(library) == 5


def test_verify_reads_contents_where_asked(library, sounds):
    library.add(sounds)
    path = sounds / "more" / "dog_bark.wav"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert library.verify().problems == []
    assert [p.kind for p in library.verify(deep=True).problems] == ["changed"]


def test_unusable_sounds_are_named_skipped_or_refused(library, sounds, monkeypatch):
    more = sounds / "more"
    soundfile.write(
        more / "nan.wav", np.array([0.1, np.nan, 0.2], dtype=np.float32), 16_000, subtype="FLOAT"
    )
    soundfile.write(more / "silent.wav", np.zeros(100), 16_000)
    soundfile.write(more / "none.wav", np.zeros(0), 16_000)
    (more / "text.mp3").write_text("no sound at all")
    (more / "empty.ogg").write_bytes(b"")
    (more / "dog_bark.json").write_text("{")
    report = library.add(sounds)
    assert report.added == 5
    assert {p.path.name: p.kind for p in report.problems} == {
        "nan.wav": "bad",
        "silent.wav": "bad",
        "none.wav": "bad",
        "text.mp3": "bad",
        "empty.ogg": "bad",
        "dog_bark.wav": "uncaptioned",
    }
    assert all(str(p.path) in p.reason or p.path.stem in p.reason for p in report.problems)
    assert len(library.verify().problems) == 6
    monkeypatch.setattr(module, "inspect_sound", None)
    again = library.add(sounds)
    assert (again.unchanged, len(again.problems)) == (5, 6)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"empty\.ogg"):
        library.add(sounds, bad="refuse")
    for name in ("nan.wav", "silent.wav", "none.wav", "text.mp3", "empty.ogg"):
        (more / name).unlink()
    with pytest.raises(InputError, match=r"dog_bark\.json.*not readable JSON"):
        library.add(sounds, bad="refuse")
    (more / "dog_bark.json").unlink()
    report = library.add(sounds, bad="refuse", missing="remove")
    assert (
        (report.unchanged, report.removed) == (5, 5)
        and len(library) == 6
        and library.verify().problems == []
    )


def test_names_without_words_and_without_other_captions_are_reported(library, tmp_path):
    write_tone(tmp_path / "7" / "001.wav", 200)
    assert [p.kind for p in library.add(tmp_path / "7").problems] == ["uncaptioned"]
    with pytest.raises(InputError, match="holds no sounds"):
        library.search("a dog barks")


def test_folders_and_options_are_checked(library, sounds, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, message in (
        (tmp_path / "empty", "holds no sound files"),
        (tmp_path / "nowhere", "found nothing"),
        (sounds / "crow.flac", "found a file"),
    ):
        with pytest.raises(InputError, match=message):
            library.add(folder)
    for options in (
        {"bad": "x"},
        {"missing": "x"},
        {"captions": ["x"]},
        {"labels": ["a", "b"]},
        {"labels": []},
        {"batch_size": 0},
    ):
        with pytest.raises(InputError):
            library.add(sounds, **options)
    assert library.add(sounds, recursive=False).added == 3
    for call in (
        lambda: library.search("  "),
        lambda: library.search("a", 0),
        lambda: library.search("a", by="x"),
        lambda: library.search("a", changed="x"),
        lambda: library.search("a", by="audio"),
        lambda: library.search_audio(sounds / "crow.flac"),
        lambda: library.remove(tmp_path / "nowhere"),
    ):
        with pytest.raises(InputError):
            call()
    for name in ("search", "verify", "entries"):
        with pytest.raises(InputError, match="library add"):
            getattr(Library.open(tmp_path / "none"), name)(
                *(["a crow caws"] if name == "search" else [])
            )


def test_a_damaged_library_is_refused(library, sounds):
    library.add(sounds)
    vectors = next(p for p in library.store.folder.iterdir() if p.suffix == ".f32")
    content = vectors.read_bytes()
    vectors.write_bytes(content[:-4])
    library._view = None
    with pytest.raises(InputError, match="expected at least 9216 bytes, found 9212"):
        library.search("a crow caws")
    damaged = np.frombuffer(content, dtype="<f4").copy()
    damaged[5] = np.nan
    vectors.write_bytes(damaged.tobytes())
    with pytest.raises(InputError, match="holds NaN"):
        library.verify()
    (library.store.folder / INDEX).write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="cannot be used"):
        len(library)
    (library.store.folder / INDEX).unlink()
    with sqlite3.connect(library.store.folder / INDEX) as db:
        db.execute("CREATE TABLE meta (name, value)")
    with pytest.raises(InputError, match="another program"):
        len(library)


def test_removal_forgets_files_and_folders_and_frees_vectors(library, sounds, embedder, tmp_path):
    library.add(sounds)
    assert library.remove(sounds / "more") == 3 and library.remove(sounds / "crow.flac") == 1
    assert sorted(e.path.name for e in library.entries()) == ["cash_register.flac", "guitar.flac"]
    assert (sounds / "crow.flac").is_file()
    fill(library, 3000, sounds / "crow.flac")
    (size,) = [p.stat().st_size for p in library.store.folder.glob("text-*.f32")]
    library.remove("/made")
    (smaller,) = [p.stat().st_size for p in library.store.folder.glob("text-*.f32")]
    assert smaller == 2 * 384 * 4 < size
    assert names(library.search("a cash register rings, then a guitar plays")) == [
        "cash_register.flac",
        "guitar.flac",
    ]
    (sounds / "guitar.flac").unlink()
    assert library.remove_missing() == 1 and len(library) == 1


def fill(library: Library, count: int, sound: Path) -> np.ndarray:
    """Entries with random unit vectors that all lie at one real file; returns the vectors."""
    vectors = np.random.default_rng(0).standard_normal((count, 384), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with library.store.write() as db:
        rows = library.store.append(db, "text", vectors)
        db.executemany(
            "INSERT INTO files (path, size, mtime, digest, sidecars, state, reason, seconds, "
            "caption, source, text_row) "
            "VALUES (?, 1, 1, ?, '', 'ok', '', 1.0, ?, 'name', ?)",
            ((f"/made/{i}.wav", f"{i}", f"caption {i}", row) for i, row in enumerate(rows)),
        )
    return vectors


def test_a_hundred_thousand_entries_are_searched_exactly(library, sounds, monkeypatch):
    library.add(sounds)
    vectors = fill(library, 100_000, sounds / "crow.flac")
    monkeypatch.setattr(module, "_compare", lambda *a: None)
    query = vectors[[70_123, 5]] + 0.05 * np.random.default_rng(1).standard_normal(
        (2, 384), dtype=np.float32
    )
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    monkeypatch.setattr(library._text, "embed", lambda texts: query[: len(texts)])
    hits = library.search("a crow caws", 50)
    expected = np.argsort(-(vectors.astype(np.float64) @ query[0]))[:50]
    assert [int(hit.path.stem) for hit in hits if hit.path.parent.name == "made"][:45] == list(
        expected[:45]
    )
    assert hits[0].path.stem == "70123"
    assert hits[0].score == pytest.approx(float(vectors[70_123] @ query[0]), abs=1e-5)
    two = library.search("a crow caws, then a bell rings")
    assert [hit.path.stem for hit in two] == ["70123", "5"]


def test_two_writers_and_a_reader_see_whole_batches(library, sounds, embedder, tmp_path):
    other = opened(tmp_path / "library", embedder)
    library.add(sounds / "more")
    assert len(other.search("a dog barks", 10)) == 3
    other.add(sounds, recursive=False)
    assert names(library.search(PROMPT)) == ["crow.flac", "cash_register.flac", "guitar.flac"]
    assert library.identity() == other.identity()
    before = library.identity()
    library.remove(sounds / "crow.flac")
    assert other.identity() != before


def test_another_text_encoder_is_refused_until_all_is_embedded_anew(library, sounds, tmp_path):
    library.add(sounds)
    folder = tmp_path / "encoder"
    shutil.copytree(library._text.folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    other = Library.open(tmp_path / "library", text_encoder=folder)
    for call in (lambda: other.search("a crow caws"), lambda: other.add(sounds)):
        with pytest.raises(InputError, match="another text encoder"):
            call()
    assert other.add(sounds, reencode=True).unchanged == 6
    assert names(other.search(PROMPT)) == ["crow.flac", "cash_register.flac", "guitar.flac"]
    assert len(list(other.store.folder.glob("text-*.f32"))) == 1
    with pytest.raises(InputError, match="another text encoder"):
        library.search("a crow caws")


def test_commands(sounds, tmp_path, capsys, embedder, monkeypatch):
    monkeypatch.setattr(module, "TextEmbedder", lambda *a: embedder)
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())

    def run(*words: str) -> tuple[int, str]:
        args = parser.parse_args(["library", *words, "--library", str(tmp_path / "library")])
        return args.run(args), capsys.readouterr().out

    code, out = run("add", str(sounds))
    assert code == 0 and "6 added" in out and out.endswith("library: 6 sounds\n")
    code, out = run("search", PROMPT, "--json")
    assert code == 0 and [Path(hit["path"]).name for hit in json.loads(out)] == [
        "crow.flac",
        "cash_register.flac",
        "guitar.flac",
    ]
    code, out = run("search", "a crow caws", "--min-score", "1.5")
    assert (code, out) == (1, "nothing found\n")
    assert run("list")[1].count("\n") == 6
    assert run("verify") == (0, "6 intact, 0 not\n")
    (sounds / "crow.flac").unlink()
    code, out = run("verify")
    assert code == 1 and "missing:" in out and out.endswith("5 intact, 1 not\n")
    assert run("remove", "--missing", str(sounds / "more")) == (0, "4 removed, 2 left\n")
    for words in (["remove"], ["search"], ["search", "a", "--audio", "b"]):
        with pytest.raises(InputError):
            run(*words)
