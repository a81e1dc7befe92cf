"""Splitting prompts into events and finding captions for sounds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dreamaudio_core.errors import InputError
from dreamaudio_core.language import wording
from dreamaudio_core.language.captions import parse_sentence
from dreamaudio_core.retrieval import split_events
from dreamaudio_core.retrieval.caption_sources import (
    CaptionReader,
    caption_from_name,
    caption_from_tags,
    sidecars,
)
from dreamaudio_core.retrieval.sounds import FoundFile

PAIRS = [
    ("a crow caws", "a cash register rings"),
    ("birds sing", "a truck drives by"),
    ("rain falls on leaves", "someone claps"),
    ("a gate closes", "water drips into a bucket"),
]


def fill(template: str, first: str, second: str) -> str:
    words = {}
    for letter, caption in (("a", first), ("b", second)):
        sentence = parse_sentence(caption)
        words |= {
            letter: sentence.progressive(),
            "p" + letter: sentence.present(),
            letter.upper(): sentence.gerund(),
            "h" + letter: sentence.perfect(),
        }
    return template.format(**words)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_wordings_of_the_training_prompts_give_two_events(pair):
    # "over" alone is left: "a plane flies over a town" is one event.
    pairs = (
        *wording.FORWARD,
        *wording.WHOLE_FORWARD,
        *wording.INVERTED,
        *wording.WHOLE_INVERTED,
        *wording.TOGETHER,
    )
    templates = [t for t in pairs if t != "{A} over {B}"]
    wrong = {}
    for template in templates:
        prompt = fill(template, *pair)
        parts = split_events(prompt)
        keys = [
            caption.split()[1] if caption.split()[0] == "a" else caption.split()[0]
            for caption in pair
        ]
        if len(parts) != 2 or sorted(k for part in parts for k in keys if k in part) != sorted(
            keys
        ):
            wrong[prompt] = parts
    assert not wrong


@pytest.mark.parametrize(
    "prompt, parts",
    [
        ("a dog barks and growls", ["a dog barks and growls"]),
        ("a man and a woman talk", ["a man and a woman talk"]),
        ("A dog barks twice, then a door slams.", ["A dog barks", "a door slams"]),
        ("rain, thunder and wind", ["rain", "thunder", "wind"]),
        ("a dog barks, a bell rings, and a dog barks", ["a dog barks", "a bell rings"]),
        ("footsteps at 2.5 seconds", ["footsteps"]),
        (
            "first comes a crow cawing; after a long silence someone claps three times",
            ["a crow cawing", "someone claps"],
        ),
        ("a wolf howls without any music", ["a wolf howls without any music"]),
        ("Birds sing with a stream in the background", ["Birds sing", "a stream"]),
        ("a cat meows. There is no rain.", ["a cat meows"]),
        ("a bell rings, and sheep can be heard last of all", ["a bell rings", "sheep"]),
        ("狗叫", ["狗叫"]),
        ("then", ["then"]),
        ("  ", []),
    ],
)
def test_events(prompt, parts):
    assert split_events(prompt) == parts


def test_hostile_prompts_are_split():
    for text in (
        "and " * 3000,
        "a," * 5000,
        "a dog barks and " * 500,
        "(" * 5000,
        "\0\ud800 then",
        "after " * 3000,
    ):
        assert isinstance(split_events(text), list)


def test_captions_of_names():
    assert caption_from_name(Path("x/12345__someone__dog-bark-1.wav")) == caption_from_name(
        Path("dogBark.wav")
    )
    assert caption_from_name(Path("church_bells/001.wav")) == "church bells ring"
    assert caption_from_name(Path("/001.wav")) is None


def test_tags_that_name_an_encoder_are_no_captions():
    assert caption_from_tags(["Processed by SoX", "a gate  creaks\n"]) == "a gate creaks"
    assert caption_from_tags(["", "http://example.org", "Track 01", "12"]) is None


def test_the_order_of_sources_decides(tmp_path):
    sound = tmp_path / "dog.wav"
    for name in ("dog.wav", "dog.txt", "dog.json", "captions.json"):
        (tmp_path / name).write_text("")
    beside = tuple(sidecars(sound, {p.name for p in tmp_path.iterdir()}))
    assert [p.name for p in beside] == ["dog.txt", "dog.json", "captions.json"]
    (tmp_path / "dog.json").write_text(json.dumps({"captions": ["a dog pants", "a dog breathes"]}))
    (tmp_path / "captions.json").write_text(json.dumps({"dog.wav": "a dog whines"}))

    def found(sidecars=beside, tags=("a dog howls",), **options):
        file = FoundFile(sound, 0, 0, "", sidecars, **options)
        caption = CaptionReader().caption(file, tags)
        return caption.text, caption.source

    assert found() == ("a dog pants", "sidecar")
    (tmp_path / "dog.txt").write_text("\n a dog yaps \n", encoding="utf-8")
    assert found() == ("a dog yaps", "sidecar")
    assert found(beside[2:]) == ("a dog whines", "sidecar")
    assert found(()) == ("a dog howls", "tags")
    assert found((), ()) == ("a dog barks", "name")
    assert found(caption="a dog sleeps") == ("a dog sleeps", "list")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("dog.json", "{", "not readable JSON"),
        ("dog.json", '{"caption": 3}', "expected a text, found int"),
        ("captions.json", "[]", "captions by file name"),
        ("dog.txt", b"\xff\xfe\xff", "not UTF-8"),
    ],
)
def test_a_damaged_sidecar_is_named(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as error:
        CaptionReader().caption(FoundFile(tmp_path / "dog.wav", 0, 0, "", (file,)))
    assert name in str(error.value)


def test_a_verb_that_no_table_knows_still_makes_an_event():
    parts = split_events("a dog barks twice while rain falls, and thunder rumbles at 5 seconds")
    assert parts == ["a dog barks", "rain falls", "thunder rumbles"]
    assert split_events("wind howls and crickets chirr") == ["wind howls", "crickets chirr"]
    assert split_events("a cat meows and purrs loudly") == ["a cat meows and purrs loudly"]
