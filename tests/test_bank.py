import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import dreamaudio_core
from dreamaudio_core.audio.decode import read_audio
from dreamaudio_core.data.bank import (
    Bank,
    BankEntry,
    BankWriter,
    is_held_out,
    write_manifest,
)
from dreamaudio_core.errors import AudioError, InputError
from dreamaudio_core.language.captions import (
    caption_from_label,
    clean_stem,
    paraphrases,
    parse_sentence,
    word_tables,
)

EXAMPLES = Path(list(dreamaudio_core.__path__)[0]) / "examples"


def entry(**changes):
    return BankEntry(
        **{
            **dict(
                path="a.flac",
                caption="a frog croaks",
                label="x/frog",
                split="train",
                seconds=1.0,
                source="x",
                license="CC0",
            ),
            **changes,
        }
    )


@pytest.mark.parametrize(
    "name, expected",
    [
        ("FootStepGrass2", "foot-step-grass"),
        ("drake-hit-3", "drake-hit"),
        ("default_dig_choppy.1", "default-dig-choppy"),
        ("HTTPServer", "http-server"),
        ("Jump Drive~", "jump-drive"),
        ("007", ""),
    ],
)
def test_clean_stem(name, expected):
    assert clean_stem(name) == expected


def test_about_a_tenth_of_labels_is_held_out_and_a_label_never_moves():
    # The first SHA-256 of the rule, written out: sha256("wesnoth-1.16-data/open-chest") is a
    # multiple of ten.
    assert is_held_out("wesnoth-1.16-data", "open-chest") and not is_held_out(
        "wesnoth-1.16-data", "drake-die"
    )
    share = np.mean(
        [is_held_out("package", f"label-{'x' * (i % 7)}{chr(97 + i % 26)}{i}") for i in range(4000)]
    )
    assert 0.08 < share < 0.12


def test_packed_bank_returns_what_was_written(tmp_path):
    generator = np.random.default_rng(0)
    sounds = [generator.uniform(-0.5, 0.5, n).astype(np.float32) for n in (1600, 8000, 333)]
    with BankWriter(tmp_path) as writer:
        for number, sound in enumerate(sounds):
            writer.add(
                sound,
                path=f"{number}.ogg",
                caption="a dog barks",
                label=f"p/l{number}",
                source="p",
                license="CC0",
                split="test" if number == 1 else "train",
                kind="music" if number == 2 else "event",
            )
    bank = Bank(tmp_path / "manifest.jsonl")
    assert len(bank) == 3 and bank.entries[1].seconds == 0.5
    for index, sound in enumerate(sounds):
        assert np.abs(bank.waveform(index).numpy() - sound).max() < 1 / 32767
    assert not list(tmp_path.glob("*.part"))
    assert [e.label for e in Bank(tmp_path / "manifest.jsonl", split="train").entries] == [
        "p/l0",
        "p/l2",
    ]
    assert [e.label for e in Bank(tmp_path / "manifest.jsonl", kinds=["music"]).entries] == ["p/l2"]
    assert len(Bank(tmp_path / "manifest.jsonl", min_seconds=0.2)) == 1
    with pytest.raises(InputError, match="packed at 16000 Hz, expected 44100 Hz"):
        Bank(tmp_path / "manifest.jsonl", sample_rate=44_100)
    again = pickle.loads(pickle.dumps(bank))
    assert torch.equal(again.waveform(2), bank.waveform(2))


def test_an_interrupted_writer_leaves_the_old_bank(tmp_path):
    with BankWriter(tmp_path) as writer:
        writer.add(
            np.full(100, 0.1),
            path="a",
            caption="c",
            label="l",
            split="train",
            source="s",
            license="x",
        )
    with pytest.raises(RuntimeError):
        with BankWriter(tmp_path) as writer:
            writer.add(
                np.full(50, 0.2),
                path="b",
                caption="c",
                label="l",
                split="train",
                source="s",
                license="x",
            )
            raise RuntimeError
    bank = Bank(tmp_path / "manifest.jsonl")
    assert len(bank) == 1 and abs(bank.waveform(0)[0].item() - 0.1) < 1e-4


def test_bank_of_files_reads_them(tmp_path):
    (tmp_path / "crow.flac").write_bytes((EXAMPLES / "crow.flac").read_bytes())
    write_manifest(tmp_path / "manifest.jsonl", [entry(path="crow.flac", caption="a crow caws")])
    bank = Bank(tmp_path / "manifest.jsonl")
    assert torch.allclose(bank.waveform(0), read_audio(EXAMPLES / "crow.flac"))
    assert bank.waveform(0).abs().max() > 0.05


def test_errors_name_the_file_and_the_line(tmp_path):
    with pytest.raises(InputError, match="nowhere.jsonl"):
        Bank(tmp_path / "nowhere.jsonl")
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps({"path": "a"}) + "\n")
    with pytest.raises(InputError, match="line 1"):
        Bank(manifest)
    write_manifest(manifest, [entry(offset=0, samples=10, seconds=10 / 16_000)])
    with pytest.raises(AudioError, match="audio.bin"):
        Bank(manifest).waveform(0)
    np.zeros(4, "<i2").tofile(tmp_path / "audio.bin")
    with pytest.raises(AudioError, match="at least 10 samples"):
        Bank(manifest).waveform(0)


@pytest.mark.parametrize(
    "label, caption",
    [
        ("wesnoth/drake-die", "a drake dies"),
        ("metal door open", "a metal door opens"),
        ("grass footstep", "someone walks on grass"),
        ("x/frog", "a frog croaks"),
        ("wesnoth/human-female-hit", "a woman is hit"),
        ("church_bells", "church bells ring"),
        ("gun_shot", "a gun is fired"),
        ("x/gizmo", "a gizmo makes a sound"),
        ("x/owl", "an owl hoots"),
    ],
)
def test_labels_become_sentences(label, caption):
    assert caption_from_label(label) == caption


def test_every_class_sentence_has_a_verb_of_the_table():
    for caption in word_tables()["classes"].values():
        sentence = parse_sentence(caption)
        assert sentence is not None and sentence.present() == caption, caption


@pytest.mark.parametrize(
    "caption, expected",
    [
        (
            "a gate closes",
            [
                "a gate is closing",
                "a gate closing",
                "the sound of a gate closing",
                "a closing gate",
                "a gate shuts",
            ],
        ),
        (
            "a gun is fired",
            ["a gun is being fired", "the sound of a gun being fired", "a gun shoots"],
        ),
        ("waves wash ashore", ["waves are washing ashore", "waves washing ashore"]),
        ("a snake hisses and bites", ["a snake is hissing and biting"]),
        ("someone cries", ["somebody cries", "a person is crying"]),
    ],
)
def test_paraphrases(caption, expected):
    found = paraphrases(caption)
    assert found[0] == caption and len(found) == len(set(found))
    assert set(expected) <= set(found), found


def test_perfect():
    assert parse_sentence("a branch breaks").perfect() == "a branch has broken"
    assert parse_sentence("bells ring").perfect() == "bells have rung"
    assert parse_sentence("a gun is fired").perfect() == "a gun has been fired"
    assert parse_sentence("zzz qqq") is None
