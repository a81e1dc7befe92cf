"""Manifests and starts as users write them."""

import json

import pytest
import torch

from dreamaudio_core.errors import AudioError, InputError
from dreamaudio_core.scene.manifest import read_manifest
from dreamaudio_core.scene.reference import Reference
from dreamaudio_core.scene.timeline import Placement, parse_starts


def load(audio, caption, strength):
    if audio == "missing.wav":
        raise AudioError('audio "missing.wav" does not exist: check the path')
    return Reference(torch.ones(8000), caption, strength, digest=audio)


def test_csv_rows_with_gaps_quotes_and_any_column_order():
    text = (
        "\ufeffseed, prompt ,caption2,audio2,audio1,caption1,start1,strength1\n"
        '7,"a crow, twice",a bell,b.wav,a.wav,a crow,"0.5, 3",2\n,rain,,,,,,\n'
    )
    first, second = read_manifest(text, load)
    assert (first.prompt, first.seed) == ("a crow, twice", 7)
    assert [(r.digest, r.caption, r.strength) for r in first.references] == [
        ("a.wav", "a crow", 2.0),
        ("b.wav", "a bell", 1.0),
    ]
    assert first.references[0].placements == (Placement(0.5, 0.5), Placement(3.0, 0.5))
    assert first.references[1].placements is None
    assert (second.prompt, second.references, second.seed) == ("rain", (), 1)


def test_json_lines_say_the_same_as_csv():
    rows = [
        {
            "prompt": "a crow",
            "seed": 2**64 - 1,
            "references": [{"audio": "a.wav", "caption": "a crow", "start": 0.5}],
        },
        {"prompt": "rain"},
    ]
    table = f"prompt,seed,audio1,caption1,start1\na crow,{2**64 - 1},a.wav,a crow,0.5\nrain,,,,\n"

    def plain(scenes):
        return [
            (
                s.prompt,
                s.seed,
                [(r.digest, r.caption, r.strength, r.placements) for r in s.references],
            )
            for s in scenes
        ]

    assert plain(read_manifest("\n\n".join(map(json.dumps, rows)), load)) == plain(
        read_manifest(table, load)
    )


@pytest.mark.parametrize(
    "row, word",
    [
        ({"seed": 1}, "prompt"),
        ({"prompt": "  "}, "prompt"),
        ({"prompt": "x", "seed": -1}, "seed"),
        ({"prompt": "x", "seed": 1.5}, "seed"),
        ({"prompt": "x", "seed": True}, "seed"),
        ({"prompt": "x", "sed": 1}, "'sed'"),
        ({"prompt": "x", "references": {"audio": "a"}}, "list"),
        ({"prompt": "x", "references": ["a.wav"]}, "reference 1"),
        ({"prompt": "x", "references": [{"audio": "missing.wav"}]}, "missing.wav"),
        ({"prompt": "x", "references": [{"audio": "a.wav", "strength": "much"}]}, "strength"),
        ({"prompt": "x", "references": [{"audio": "a.wav", "start": "soon"}]}, "start"),
        ({"prompt": "x", "references": [{"audio": "a.wav", "at": 1}]}, "'at'"),
        ([1], "object"),
    ],
)
def test_a_broken_row_is_named(row, word):
    text = "\n".join([json.dumps({"prompt": "fine"}), json.dumps(row), '{"prompt": "cut'])
    with pytest.raises(InputError) as caught:
        read_manifest(text, load)
    message = str(caught.value)
    assert (
        message.startswith("manifest: 2 of 3 rows")
        and "line 2: " in message
        and "line 3: not readable JSON" in message
    )
    assert word in message.split("line 3")[0] and "\n" not in message


@pytest.mark.parametrize(
    "text, word",
    [
        ("", "no rows"),
        ("prompt,seed\n", "below the header"),
        ("a,b\n1,2\n", "a, b"),
        ("prompt,audio\nx,a.wav\n", "'audio'"),
    ],
)
def test_tables_without_scenes(text, word):
    with pytest.raises(InputError, match=word):
        read_manifest(text, load)


def test_no_more_than_ten_broken_rows_are_listed():
    with pytest.raises(InputError, match="25 of 25 rows.*and 15 more"):
        read_manifest("prompt,seed\n" + "x,minus\n" * 25, load)


def test_starts():
    assert parse_starts("auto") is None and parse_starts(" ") is None
    assert parse_starts("3.2, 0.5") == (0.5, 3.2)
    for text in ("soon", "1;2", "-1", "nan", "inf", "1,,2"):
        with pytest.raises(InputError, match="start"):
            parse_starts(text)
