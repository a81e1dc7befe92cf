"""The sound library on real files: adding, interruption, changes, search and hostile contents."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dreamaudio_core import audio
from dreamaudio_core.errors import InputError
from dreamaudio_core.retrieval import SoundLibrary, cli
from dreamaudio_core.retrieval import library as module
from dreamaudio_core.retrieval.embedding import TextEmbedder
from dreamaudio_core.retrieval.store import SoundRow
from dreamaudio_core.retrieval.vectors import Vectors

EXAMPLES = Path(audio.__file__).parents[1] / "examples"
PROMPT = "a crow caws, then a cash register rings while a guitar plays"
FOUND = ["crow.flac", "cash_register.flac", "guitar.flac"]


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
def library(tmp_path, embedder) -> SoundLibrary:
    return SoundLibrary(tmp_path / "library.sqlite", embedder)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 2)


def names(hits) -> list[str]:
    return [hit.path.name for hit in hits]


def test_each_event_of_a_prompt_finds_its_own_reference(library, sounds):
    report = library.add(sounds)
    assert (report.added, report.problems, len(library)) == (6, [], 6)
    hits = library.search(PROMPT)
    assert names(hits) == FOUND
    assert [hit.event for hit in hits] == ["a crow caws", "a cash register rings", "a guitar plays"]
    assert hits[0].caption == "a crow caws" and hits[0].score == pytest.approx(1.0, abs=1e-3)
    assert hits[0].seconds == pytest.approx(soundfile.info(sounds / "crow.flac").duration)
    assert names(library.search(PROMPT, 2)) == ["crow.flac", "cash_register.flac"]
    more = library.search(PROMPT, 5)
    assert len(set(names(more))) == 5 and [hit.event for hit in more].count("a crow caws") == 2
    assert len(library.search(PROMPT, 50)) == 6
    assert names(library.search("ringing bells of a church")) == ["church_bells.wav"]
    assert library.search("a crow caws", min_score=0.998)[0].path.name == "crow.flac"
    assert library.search("a volcano erupts", min_score=0.9) == []
    assert [path.name for path in library.path.parent.iterdir() if path.is_file()] == [
        "library.sqlite"
    ]


def test_vectors_are_means_over_the_tokens_of_each_text(embedder):
    texts = ["rain", "a large dog barks at a passing car in the street"]
    vectors = embedder.embed(texts)
    encoder = embedder.encoder
    for text, vector in zip(texts, vectors):
        ids, _ = encoder.tokenize([text], longest=True)
        mean = encoder(ids, torch.ones_like(ids, dtype=torch.bool))[0].mean(dim=0)
        np.testing.assert_allclose(
            vector, torch.nn.functional.normalize(mean, dim=0).detach(), atol=1e-5
        )


def test_only_new_and_changed_files_are_read_again(library, sounds, monkeypatch):
    library.add(sounds)
    read = []
    real = module.measure_sound
    monkeypatch.setattr(
        module, "measure_sound", lambda path: (read.append(path.name), real(path))[1]
    )
    assert library.add(sounds).unchanged == 6 and read == []
    write_tone(sounds / "more" / "dog_bark.wav", 444, 0.5)
    write_tone(sounds / "more" / "frog.wav", 500)
    report = library.add(sounds)
    assert (report.updated, report.added, report.unchanged) == (1, 1, 5)
    assert sorted(read) == ["dog_bark.wav", "frog.wav"]
    assert {Path(e.path).name: e.seconds for e in library.entries()}[
        "dog_bark.wav"
    ] == pytest.approx(0.5)


def test_a_changed_sidecar_changes_the_caption(library, sounds):
    library.add(sounds)
    (sounds / "more" / "dog_bark.txt").write_text("a whale sings under water\n")
    assert library.add(sounds).updated == 1
    hit = library.search("a whale sings under water")[0]
    assert hit.path.name == "dog_bark.wav" and hit.score == pytest.approx(1.0, abs=1e-3)


def test_tags_give_captions(library, tmp_path):
    write_tone(tmp_path / "sounds" / "a1.flac", 200, title="a kettle whistles")
    library.add(tmp_path / "sounds")
    assert [(e.caption, e.source) for e in library.entries()] == [("a kettle whistles", "tags")]


def test_lists_bring_their_captions(library, sounds):
    bank = sounds / "manifest.jsonl"
    line = {"path": "more/dog_bark.wav", "caption": "a lorry\u2028 reverses", "label": "x"}
    bank.write_text(json.dumps(line, ensure_ascii=False) + "\n\n", encoding="utf-8")
    assert library.add(bank).added == 1
    assert library.add(bank).unchanged == 1
    assert [(Path(e.path).name, e.caption, e.source) for e in library.entries()] == [
        ("dog_bark.wav", "a lorry reverses", "list")
    ]
    bank.write_text(bank.read_text(encoding="utf-8").replace("lorry", "truck"), encoding="utf-8")
    assert library.add(bank).updated == 1
    assert names(library.search("a truck reverses")) == ["dog_bark.wav"]
    for content, message in (
        ("{", "line 1: not readable JSON"),
        ("[]", "line 1: expected an object"),
        ('{"path": "x.wav"}', "line 1: caption"),
        ('{"path": "x.wav", "caption": "x"}', "does not exist"),
        ('{"path": "more", "caption": "x"}', "not a regular file"),
        ('{"path": "x.wav", "caption": "x", "offset": 0}', "packed bank"),
        ("", "lists no sounds"),
    ):
        bank.write_text(content)
        with pytest.raises(InputError, match=message):
            library.add(bank)


def test_an_interrupted_run_keeps_its_batches_and_continues(
    library, sounds, embedder, monkeypatch, small_batches
):
    real, calls = embedder.embed, []

    def embed(texts):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(texts)

    monkeypatch.setattr(embedder, "embed", embed)
    with pytest.raises(KeyboardInterrupt):
        library.add(sounds)
    assert len(library) == 4 and len(library.search("a crow caws", 10)) == 4
    report = library.add(sounds)
    assert (report.added, report.unchanged) == (2, 4)
    assert names(library.search(PROMPT)) == FOUND


@pytest.mark.parametrize("moment", ["created", "written"])
def test_a_first_run_that_fails_while_writing_can_be_repeated(library, sounds, monkeypatch, moment):
    name = {"created": "check_encoder", "written": "put"}[moment]

    def fail(*args):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(library.store, name, fail)
    with pytest.raises(InputError, match="disk is full"):
        library.add(sounds)
    with pytest.raises(InputError, match="holds no sounds"):
        library.search(PROMPT)
    monkeypatch.undo()
    assert library.add(sounds).added == 6 and names(library.search(PROMPT)) == FOUND


_ADD = (
    "import sys, torch; torch.set_num_threads(1)\n"
    "from dreamaudio_core.retrieval import SoundLibrary, library\n"
    "library._BATCH = 2\n"
    "print(SoundLibrary(sys.argv[1]).add(sys.argv[2]))"
)


def start_adding(library: SoundLibrary, sounds: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _ADD, str(library.path), str(sounds)],
        env=os.environ | {"PYTHONPATH": str(EXAMPLES.parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_process_loses_nothing_that_was_committed(library, sounds):
    for k in range(100):
        write_tone(sounds / "many" / f"bell_{'abcdefghij'[k % 10]}_{k}.wav", 100 + k)
    process = start_adding(library, sounds)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if len(library) > 10:
                break
        except InputError:
            pass
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = len(library)
    assert kept > 10
    report = library.add(sounds)
    assert (report.added, report.unchanged) == (106 - kept, kept)
    assert names(library.search(PROMPT)) == FOUND


def test_processes_that_add_at_the_same_time_share_one_library(library, sounds):
    for k in range(20):
        write_tone(sounds / "many" / f"bell_{k}.wav", 100 + k)
    processes = [start_adding(library, sounds) for _ in range(3)]
    for process in processes:
        out, error = process.communicate(timeout=900)
        assert process.returncode == 0, error
        assert out.endswith("0 left out\n")
    assert len(library) == 26 and library.add(sounds).unchanged == 26
    assert names(library.search(PROMPT)) == FOUND


def test_a_reader_sees_what_another_writer_adds(library, sounds, embedder):
    other = SoundLibrary(library.path, embedder)
    library.add(sounds / "more")
    assert len(other.search("a dog barks", 10)) == 3
    other.add(sounds)
    assert names(library.search(PROMPT)) == FOUND
    assert library.identity() == other.identity()
    before = library.identity()
    library.remove(sounds / "crow.flac")
    assert other.identity() != before


def test_copies_are_found_once(library, sounds):
    shutil.copy(sounds / "crow.flac", sounds / "more" / "crow_again.flac")
    (sounds / "more" / "crow_again.txt").write_text("a crow caws")
    assert library.add(sounds).added == 7
    found = names(library.search("a crow caws", 7))
    assert len(found) == 6 and len({"crow.flac", "crow_again.flac"} & set(found)) == 1


def test_missing_and_changed_files_are_passed_over_until_added_again(library, sounds, caplog):
    library.add(sounds)
    (sounds / "crow.flac").unlink()
    write_tone(sounds / "more" / "dog_bark.wav", 333, 0.7)
    shutil.move(sounds / "more" / "church_bells.wav", sounds / "wind.wav")
    found = names(library.search("a dog barks", 6))
    assert not {"dog_bark.wav", "crow.flac", "church_bells.wav"} & set(found)
    assert "passed over 3 sounds" in caplog.text
    report = library.add(sounds)
    assert (report.removed, report.updated, report.added, len(library)) == (2, 1, 1, 5)
    assert names(library.search("the wind blows")) == ["wind.wav"]


def test_unusable_sounds_are_named_and_left_out(library, sounds):
    more = sounds / "more"
    soundfile.write(
        more / "nan.wav", np.array([0.1, np.nan, 0.2], dtype=np.float32), 16_000, subtype="FLOAT"
    )
    soundfile.write(more / "silent.wav", np.zeros(100), 16_000)
    soundfile.write(more / "none.wav", np.zeros(0), 16_000)
    (more / "text.mp3").write_text("no sound at all")
    (more / "empty.ogg").write_bytes(b"")
    (more / "dog_bark.json").write_text("{")
    write_tone(more / "7" / "001.wav", 200)
    bad = {"nan.wav", "silent.wav", "none.wav", "text.mp3", "empty.ogg", "dog_bark.wav", "001.wav"}
    report = library.add(sounds)
    assert (report.added, report.updated) == (5, 0)
    assert len(report.problems) == len(bad)
    assert {n for n in bad for p in report.problems if f"{Path(n).stem}." in p} == bad
    again = library.add(sounds)
    assert (again.unchanged, again.problems) == (5, report.problems)
    for name in bad - {"dog_bark.wav", "001.wav"}:
        (more / name).unlink()
    (more / "dog_bark.json").unlink()
    report = library.add(sounds)
    assert (report.unchanged, report.added, report.removed) == (5, 1, 0) and len(library) == 6
    write_tone(more / "dog_bark.wav", 300, 0.0)
    report = library.add(sounds)
    assert (report.updated, report.added, len(report.problems), len(library)) == (0, 0, 2, 5)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_never_block(library, sounds):
    library.add(sounds)
    os.mkfifo(sounds / "pipe.wav")
    (sounds / "device.wav").symlink_to("/dev/zero")
    (sounds / "crow.flac").unlink()
    os.mkfifo(sounds / "crow.flac")
    os.mkfifo(sounds / "more" / "dog_bark.txt")
    (sounds / "more" / "door_close.txt").symlink_to("/dev/zero")
    hits: list = []
    thread = threading.Thread(target=lambda: hits.extend(library.search(PROMPT)), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert len(hits) == 3 and "crow.flac" not in names(hits)
    report = library.add(sounds)
    assert len(report.problems) == 2
    assert all(any(n in p for p in report.problems) for n in ("dog_bark", "door_close"))
    assert report.unchanged == 3


def test_folders_and_options_are_checked(library, sounds, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, message in (
        (tmp_path / "empty", "holds no sound files"),
        (tmp_path / "nowhere", "found nothing"),
        (sounds / "crow.flac", "found a file"),
    ):
        with pytest.raises(InputError, match=message):
            library.add(folder)
    assert not library.path.exists()
    assert library.add(EXAMPLES).added == 3
    for call in (
        lambda: library.search("  "),
        lambda: library.search("a", 0),
        lambda: library.remove(tmp_path / "nowhere"),
        lambda: SoundLibrary(tmp_path).add(sounds),
    ):
        with pytest.raises(InputError):
            call()
    none = SoundLibrary(tmp_path / "none.sqlite")
    for call in (lambda: none.search("a crow caws"), none.entries, lambda: none.remove(sounds)):
        with pytest.raises(InputError, match="library add"):
            call()


def test_another_text_encoder_is_refused(library, sounds, tmp_path):
    library.add(sounds)
    folder = tmp_path / "encoder"
    shutil.copytree(library.text.folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    other = SoundLibrary(library.path, TextEmbedder(folder=folder))
    for call in (lambda: other.search("a crow caws"), lambda: other.add(sounds)):
        with pytest.raises(InputError, match="another text encoder"):
            call()


@pytest.mark.parametrize("content", [b"no database" * 100, "meta", "view", "trigger", "column"])
def test_files_of_other_programs_are_neither_read_nor_changed(library, sounds, content):
    if isinstance(content, bytes):
        library.path.write_bytes(content)
    else:
        if content != "meta":
            library.add(sounds)
        with sqlite3.connect(library.path) as db:
            for statement in {
                "meta": "CREATE TABLE meta (name, value)",
                "view": "DROP TABLE settings; CREATE VIEW settings AS SELECT 1 AS name",
                "trigger": "CREATE TRIGGER t AFTER INSERT ON sounds BEGIN SELECT 1; END",
                "column": "ALTER TABLE sounds ADD COLUMN extra TEXT",
            }[content].split(";" if content != "trigger" else "\n"):
                db.execute(statement)
    before = library.path.read_bytes()
    for call in (lambda: library.add(sounds), lambda: library.search(PROMPT), library.entries):
        with pytest.raises(InputError, match="another program|other tables|cannot be used"):
            call()
    assert library.path.read_bytes() == before


HOSTILE = [
    "UPDATE sounds SET path = x'2e2e'",
    "UPDATE sounds SET path = ' '",
    "UPDATE sounds SET path = 'a' || char(0) || 'b' WHERE id = 1",
    "UPDATE sounds SET size = 'x'",
    "UPDATE sounds SET mtime = x'00'",
    "UPDATE sounds SET seconds = 'long'",
    "UPDATE sounds SET digest = x'00'",
    "UPDATE sounds SET source = x'00'",
    "UPDATE sounds SET caption = x'ff00' WHERE id = 1",
    "UPDATE sounds SET caption = CAST(x'ff' AS TEXT) WHERE id = 1",
    "UPDATE sounds SET vector = x'00' WHERE id = 1",
    "UPDATE sounds SET vector = 3 WHERE id = 1",
    "UPDATE sounds SET vector = zeroblob(768) WHERE id = 1",
    "UPDATE sounds SET vector = replace(hex(zeroblob(384)), '00', '~~') WHERE id = 1",
    "UPDATE sounds SET vector = x'" + "007e" * 384 + "' WHERE id = 1",
    "DELETE FROM sounds",
    "DELETE FROM settings",
    "UPDATE settings SET value = 'x' WHERE name = 'revision'",
    "UPDATE settings SET value = x'00' WHERE name = 'encoder'",
]


@pytest.mark.parametrize("statement", HOSTILE)
def test_foreign_values_end_in_one_clear_error_and_touch_no_other_file(library, sounds, statement):
    library.add(sounds)
    with sqlite3.connect(library.path) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        try:
            db.execute(statement)
        except sqlite3.IntegrityError:
            db.execute(f"{statement} {'AND' if 'WHERE' in statement else 'WHERE'} id = 1")
    before = {path: path.read_bytes() for path in sounds.rglob("*") if path.is_file()}
    for call in (
        lambda: library.search(PROMPT),
        library.entries,
        lambda: library.add(sounds),
        lambda: library.remove(sounds),
        library.identity,
    ):
        # An answer or an error of ours; any other exception is a failure.
        try:
            call()
        except InputError as error:
            assert "library" in str(error)
    assert before == {path: path.read_bytes() for path in sounds.rglob("*") if path.is_file()}
    assert {p.name for p in library.path.parent.iterdir()} == {"library.sqlite", "sounds"}


def test_removal_leaves_the_files(library, sounds):
    library.add(sounds)
    assert library.remove(sounds / "more") == 3 and library.remove(sounds / "crow.flac") == 1
    assert sorted(Path(e.path).name for e in library.entries()) == [
        "cash_register.flac",
        "guitar.flac",
    ]
    assert (sounds / "crow.flac").is_file()
    assert names(library.search("a cash register rings, then a guitar plays")) == FOUND[1:]


@pytest.mark.parametrize("coded", [False, True])
def test_rankings_are_those_of_a_full_comparison(coded):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((5000, 96), dtype=np.float32)
    vectors[2000:2400] = vectors[0] + 1e-3 * vectors[2000:2400]  # Nearer than codes can tell.
    vectors[3000] = vectors[10]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    queries = np.stack([vectors[0], vectors[10], -vectors[20]]).astype(np.float32)
    exact = vectors.astype(np.float64) @ queries.T.astype(np.float64)
    found = Vectors("", np.arange(5000), vectors, coded).rankings(queries)
    for ranking, cosines in zip(found, exact.T, strict=True):
        order, scores = zip(*ranking)
        assert sorted(order) == list(range(5000))
        assert np.allclose(scores, cosines[list(order)], atol=1e-6)
        assert np.allclose(scores, -np.sort(-cosines), atol=1e-6)
    assert [index for index, _ in itertools.islice(found[1], 2)] == [10, 3000]


def test_a_hundred_thousand_sounds_are_searched_exactly(tmp_path, embedder, monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((100_000, 384), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    library = SoundLibrary(tmp_path / "large.sqlite", embedder)
    library.add(EXAMPLES)
    sound = EXAMPLES / "crow.flac"
    status = sound.stat()
    with library.store.write(embedder.identity) as db:
        for i, vector in enumerate(vectors):
            # Different spellings of one file.
            path = (
                f"{sound.parent}{''.join('/.' if i >> b & 1 else '/' for b in range(17))}/crow.flac"
            )
            size, mtime = status.st_size, status.st_mtime_ns
            row = SoundRow(path, size, mtime, "", f"{i}", 1.0, f"caption {i}", "name")
            library.store.put(db, row, vector)
    query = vectors[[70_123, 5]] + 0.05 * np.random.default_rng(1).standard_normal(
        (2, 384), dtype=np.float32
    )
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    monkeypatch.setattr(embedder, "embed", lambda texts: query[: len(texts)])
    stored = vectors.astype(np.float16).astype(np.float64)
    hits = library.search("a crow caws", 50)
    expected = np.argsort(-(stored @ query[0]))[:45]
    found = [int(h.caption.split()[1]) for h in hits if h.caption.startswith("caption ")]
    assert found[:45] == list(expected)
    assert hits[0].caption == "caption 70123"
    assert hits[0].score == pytest.approx(float(vectors[70_123] @ query[0]), abs=1e-3)
    two = library.search("a crow caws, then a bell rings")
    assert [hit.caption for hit in two] == ["caption 70123", "caption 5"]


def test_commands(sounds, tmp_path, capsys, embedder, monkeypatch):
    monkeypatch.setattr(module, "TextEmbedder", lambda *a: embedder)
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())

    def run(*words: str) -> tuple[int, str]:
        args = parser.parse_args(["library", *words, "--library", str(tmp_path / "library.sqlite")])
        return args.run(args), capsys.readouterr().out

    code, out = run("add", str(sounds))
    assert code == 0 and "6 added" in out and out.endswith("library.sqlite: 6 sounds\n")
    code, out = run("search", PROMPT, "--json")
    assert code == 0 and [Path(hit["path"]).name for hit in json.loads(out)] == FOUND
    code, out = run("search", "a crow caws", "--min-score", "1.5")
    assert (code, out) == (1, "nothing found\n")
    assert run("list")[1].count("\n") == 6
    (sounds / "crow.flac").write_text("no sound any more")
    code, out = run("add", str(sounds))
    assert code == 0 and out.startswith("left out: ") and out.endswith("5 sounds\n")
    assert run("remove", str(sounds / "more")) == (0, "3 removed, 2 left\n")
    with pytest.raises(InputError):
        run("remove", "nothing")
