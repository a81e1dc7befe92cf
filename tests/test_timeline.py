"""Arrangements as values: JSON there and back, and what it refuses; the arranging stage's rules."""

import json

import pytest
import torch

from dreamaudio_core.arranging import Tokens, arrange_references
from dreamaudio_core.errors import InputError
from dreamaudio_core.scene.reference import prepare_reference
from dreamaudio_core.scene.timeline import ArrangedReference, Arrangement, Placement

FULL = Arrangement(
    5.12,
    (
        ArrangedReference(
            "a crow caws",
            True,
            (Placement(0.5, 0.48), Placement(2.0, 0.4, -6.0, 0.1, 0.01, 0.2, -1.0, 0.5, True)),
            "set by hand",
        ),
        ArrangedReference("wind", True, None, "placed by the network"),
        ArrangedReference("a dog", False, (), "not asked for by the prompt"),
    ),
    "silence",
    ("reference 3 is not used",),
)


def test_json_there_and_back():
    assert Arrangement.from_json(FULL.to_json()) == FULL
    values = json.loads(FULL.to_json())
    assert set(values) == {"version", "seconds", "missing", "references", "warnings"}
    assert set(values["references"][0]) == {"caption", "used", "placements", "reason"}
    assert FULL.timeline == tuple(r.placements for r in FULL.references)


def test_what_may_be_left_out():
    text = '{"seconds": 2, "references": [{"placements": [{"start": 0, "duration": 1}]}]}'
    found = Arrangement.from_json(text)
    assert found == Arrangement(2.0, (ArrangedReference("", True, (Placement(0.0, 1.0),)),))
    unused = Arrangement.from_json('{"seconds": 2, "references": [{"placements": []}]}')
    assert unused.references == (ArrangedReference("", False, ()),)


@pytest.mark.parametrize(
    "change, words",
    [
        ("[]", "expected a JSON object"),
        ("{", "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
        ({"seconds": "long"}, "arrangement.seconds"),
        ({"seconds": -1}, "arrangement.seconds"),
        ({"speed": 2}, "unknown field 'speed'"),
        ({"version": 99}, "version 99"),
        ({"missing": "auto"}, "arrangement.missing"),
        ({"warnings": [3]}, "arrangement.warnings"),
        ({"references": {}}, "arrangement.references"),
        ({"references": [{}]}, r"references\[0\]: expected a field 'placements'"),
        ({"references": [{"placements": 1}]}, r"references\[0\].placements"),
        ({"references": [{"placements": [], "used": 1}]}, "used: expected true or false"),
        ({"references": [{"placements": [], "caption": 1}]}, "caption: expected a text"),
        ({"references": [{"placements": [{"start": 0}]}]}, "expected a field 'duration'"),
        ({"references": [{"placements": [{"start": -1, "duration": 1}]}]}, "start: expected a"),
        ({"references": [{"placements": [{"start": 0, "duration": 0}]}]}, "duration: expected"),
        (
            {"references": [{"placements": [{"start": 0, "duration": 1, "pan": 3}]}]},
            "pan: expected a number from -1 to 1, found 3",
        ),
        (
            {"references": [{"placements": [{"start": 0, "duration": 1, "gain": None}]}]},
            "gain: expected a number",
        ),
    ],
)
def test_what_is_refused(change, words):
    text = change
    if isinstance(change, dict):
        text = json.dumps({"seconds": 5, **change})
    with pytest.raises(InputError, match=words):
        Arrangement.from_json(text)


def references(*starts):
    noise = torch.rand(16_000, generator=torch.Generator().manual_seed(0)) - 0.5
    return [prepare_reference(noise, 16_000, f"sound {i}", starts=s) for i, s in enumerate(starts)]


def arrange(given, missing="auto"):
    tokens = Tokens(torch.zeros(len(given), 2, 4), torch.ones(len(given), 2, dtype=torch.bool))
    return arrange_references(given, 10.0, missing, 0.08, None, tokens, None)


def test_without_an_arranger_references_follow_each_other_and_fixed_ones_stay():
    found = arrange(references(None, [5.0, 7.0], None))
    assert [[p.start for p in places] for places in found.timeline] == [[0.0], [5.0, 7.0], [0.96]]
    assert [r.reason for r in found.references] == [
        "placed in the order given",
        "set by hand",
        "placed in the order given",
    ]
    assert found.missing == "silence"


def test_inactive_references_are_not_used():
    muted = prepare_reference(torch.rand(16_000) - 0.5, 16_000, "muted", strength=0.0)
    found = arrange([muted])
    assert found.timeline == ((),) and found.references[0].reason == "its strength is 0"
    assert found.missing == "generate"
    assert arrange([muted, *references(None)], "generate").missing == "generate"
