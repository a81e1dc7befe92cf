"""Scene files: what they say in each layout, what is written back, and what errors tell."""

import inspect
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

import dreamaudio_core
from dreamaudio_core.errors import AudioError, InputError
from dreamaudio_core.evaluation.timelines import read_prompts
from dreamaudio_core.pipeline import DreamAudio
from dreamaudio_core.scene.scene_files import (
    SceneFileError,
    parse_scenes,
    read_scenes,
    to_row,
    write_scenes,
)
from dreamaudio_core.scene.scenes import (
    REFERENCE_FIELDS,
    SCENE_FIELDS,
    SETTINGS,
    Scene,
    SceneReference,
)
from dreamaudio_core.scene.timeline import Placement, parse_starts

PROJECT = Path(dreamaudio_core.__file__).parents[1]
CROW = Path(list(dreamaudio_core.__path__)[0]) / "examples" / "crow.flac"


def resolve(name, label):
    if name == "missing.wav":
        raise AudioError(f"{label}: {name} does not exist")
    return Path(name)


def parse(text):
    return parse_scenes(text, resolve)


def audio(scene):
    return [(r.audio.name, r.caption) for r in scene.references]


def test_csv_rows_with_gaps_quotes_and_any_column_order():
    first, second = parse(
        "\ufeffSeed, Prompt ,caption2,audio2,audio1,caption1,start1,strength1,gain1,notes\n"
        '7.0,"a crow, twice",a bell,b.wav,a.wav,a crow,"0.5, 3",2,-6,loud\n,rain,,,,,,,,\n'
    )
    assert (first.prompt, first.seed) == ("a crow, twice", 7)
    assert audio(first) == [("a.wav", "a crow"), ("b.wav", "a bell")]
    assert (first.references[0].strength, first.references[0].gain) == (2.0, -6.0)
    assert first.references[0].start == (0.5, 3.0) and first.references[1].start is None
    assert first.extra == {"notes": "loud"} and second.extra == {}
    assert (second.prompt, second.references, second.seed) == ("rain", (), 1)
    assert (first.name, second.name) == ("00001", "00002")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_every_separator_say_the_same_as_json(delimiter):
    rows = [
        {
            "name": "one",
            "prompt": "a crow",
            "seed": 2**64 - 1,
            "seconds": 2.5,
            "references": [{"audio": "a.wav", "caption": "a crow", "start": 0.5}],
        },
        {"prompt": "rain", "negative_prompt": "wind"},
    ]
    table = [
        ["name", "prompt", "seed", "seconds", "audio", "caption", "start1", "negative prompt"],
        ["one", "a crow", str(2**64 - 1), "2.5", "a.wav", "a crow", "0.5", ""],
        ["", "rain", "", "", "", "", "", "wind"],
    ]
    expected = parse("\n\n".join(map(json.dumps, rows)))
    assert parse(json.dumps(rows, indent=1)) == expected
    assert parse("\r\n".join(delimiter.join(cells) for cells in table)) == expected
    assert expected[0].references[0].start == (0.5,) and expected[0].seconds == 2.5


def test_decimal_commas_where_semicolons_separate():
    (scene,) = parse("prompt;audio1;strength1;gain1;begin1;end1\na crow;a.wav;1,5;-3,5;0,2;\n")
    assert (scene.references[0].begin, scene.references[0].end) == (0.2, None)
    assert (scene.references[0].strength, scene.references[0].gain) == (1.5, -3.5)


def test_tables_of_a_spreadsheet(tmp_path):
    """Capitals, decimal commas, byte order marks, Excel's own first line, and its UTF-16."""
    path = tmp_path / "scenes.csv"
    table = "Prompt;Seed;Steps;Reference Guidance;Free;Sample Rate;Audio 1;Seconds 1\r\n"
    table += "Krähe;3;8.0;2,5;TRUE;44100;;1,5\r\n"
    for data in (
        table.encode("utf-8-sig"),
        ("sep=;\r\n" + table).encode(),
        table.replace(";", "\t").encode("utf-16"),
    ):
        path.write_bytes(data)
        (scene,) = read_scenes(path)
        assert (scene.prompt, scene.seed, scene.steps, scene.free) == ("Krähe", 3, 8, True)
        assert (scene.reference_guidance, scene.sample_rate) == (2.5, "44100")
        assert scene.seconds is None and scene.references[0].seconds == 1.5
    path.write_text("sep=,\nprompt\n,\nrain\n" + "x" * 9 + ",y\n")
    with pytest.raises(SceneFileError, match="line 5: 2 cells"):
        read_scenes(path)


def test_references_may_say_it_all():
    (scene,) = parse('{"prompt": "", "references": [{"audio": "a.wav"}]}')
    assert scene.prompt == "" and len(scene.references) == 1


def test_arguments_are_those_of_generate():
    known = set(inspect.signature(DreamAudio.generate).parameters)
    given = Scene("rain", seed=3, steps=5, missing="silence").arguments()
    assert set(given) <= known and set(SETTINGS) <= set(given)
    assert (given["seeds"], given["steps"], given["missing"]) == ((3,), 5, "silence")
    assert Scene("rain", free=True).settings() == {"seed": 0, "free": True}


def test_the_page_of_scenes_names_every_field():
    page = (PROJECT / "docs" / "batch.md").read_text(encoding="utf-8")
    assert not [name for name in (*SCENE_FIELDS, *REFERENCE_FIELDS) if f"`{name}`" not in page]


def test_errors_tell_the_place_and_the_field():
    rows = [{"prompt": "x", "references": [{"audio": "missing.wav"}]}, {"prompt": "x", "seed": -1}]
    with pytest.raises(SceneFileError) as caught:
        parse("\n".join(map(json.dumps, rows)))
    found = [(problem.place, problem.field) for problem in caught.value.problems]
    assert found == [("line 1", "reference 1: audio"), ("line 2", "seed")]
    assert caught.value.file == "scenes"


def test_prompts_by_name_are_scenes_too():
    assert [(s.name, s.prompt) for s in parse('{"x": "rain", "y": "a | $b"}')] == [
        ("x", "rain"),
        ("y", "a | $b"),
    ]
    assert parse('{"prompt": "rain"}')[0].name == "00001"


def test_a_separator_of_unicode_within_a_text_ends_no_line():
    text = "rain\u2028falls\u0085and\x0cstops"
    lines = [json.dumps({"prompt": text}, ensure_ascii=False), '{"prompt": "wind"}']
    assert [s.prompt for s in parse("\n".join(lines).replace("\x0c", "\\f"))] == [text, "wind"]


@pytest.mark.parametrize(
    "row, word",
    [
        ({"seed": 1}, "prompt"),
        ({"prompt": "  "}, "prompt"),
        ({"references": [{"audio": "a.wav"}]}, "prompt: expected a text, found None"),
        ({"prompt": "x", "seed": -1}, "seed"),
        ({"prompt": "x", "seed": 1.5}, "seed"),
        ({"prompt": "x", "seed": True}, "seed"),
        ({"prompt": "x", "seed": float("inf")}, "seed"),
        ({"prompt": "x", "sed": 1}, "unknown field 'sed'; write 'seed'"),
        ({"prompt": "x", "seconds": "long"}, "seconds"),
        ({"prompt": "x", "seconds": 10**400}, "seconds: expected a number"),
        ({"prompt": "x", "references": [{"seconds": "0"}]}, "reference 1: seconds: expected"),
        ({"prompt": "x", "name": "../x"}, "name: expected a plain file name"),
        ({"prompt": "x", "name": "fine"}, "name: 'fine' is already that of line 1"),
        ({"prompt": "x", "name": "con.1"}, "name: expected a plain file name"),
        ({"prompt": "x", "name": "ü" * 101}, "name: expected a plain file name"),
        ({"prompt": "x", "name": "FINE"}, "name: 'FINE' is already that of line 1"),
        ({"prompt": "\ud800"}, "prompt: expected a text"),
        ({"prompt": "x", "steps": 2.5}, "steps: expected a whole number from 1 to 1000"),
        ({"prompt": "x", "guidance": -1}, "guidance: expected a number from 0 to 30"),
        ({"prompt": "x", "missing": "noise"}, "missing: expected one of auto, "),
        ({"prompt": "x", "free": "maybe"}, "free: expected true or false"),
        ({"prompt": "x", "step": 2}, "unknown field 'step'; write 'steps'"),
        ({"prompt": "x", "target": 3}, "target"),
        ({"prompt": "x", "references": {"audio": "a"}}, "list"),
        ({"prompt": "x", "references": ["a.wav"]}, "reference 1"),
        ({"prompt": "x", "references": [{"caption": "a crow"}]}, "reference 1: audio"),
        ({"prompt": "x", "references": [{"audio": "missing.wav"}]}, "missing.wav"),
        ({"prompt": "x", "references": [{"audio": "a.wav", "caption": 1}]}, "caption"),
        ({"prompt": "x", "references": [{"audio": "a.wav", "strength": "much"}]}, "strength"),
        ({"prompt": "x", "references": [{"audio": "a.wav", "strength": 11}]}, "from 0 to 10"),
        ({"prompt": "x", "references": [{"audio": "a.wav", "gain": "nan"}]}, "gain"),
        (
            {"prompt": "x", "references": [{"audio": "a.wav", "begin": -1}]},
            "1: begin: expected a number from 0",
        ),
        (
            {"prompt": "x", "references": [{"audio": "a.wav", "begin": 2, "end": 1.5}]},
            "1: end: expected seconds after begin",
        ),
        ({"prompt": "x", "references": [{"audio": "a.wav", "start": "soon"}]}, "start"),
        ({"prompt": "x", "references": [{"audio": "a.wav", "start": "0,5"}]}, "'0.5'"),
        ({"prompt": "x", "references": [{"audio": "a.wav", "starts": 1}]}, "write 'start'"),
        ({"prompt": "x", "references": [{"audio": "a.wav", "placements": [1]}]}, "placements"),
        (
            {"prompt": "x", "references": [{"audio": "a", "placements": [{"start": 1}]}]},
            "start and duration",
        ),
        (
            {
                "prompt": "x",
                "references": [
                    {"audio": "a", "placements": [{"start": 1, "duration": 1, "gain": "loud"}]}
                ],
            },
            "reference 1: placements.gain: expected a number from -120 to 60",
        ),
        ([1], "object"),
    ],
)
def test_a_broken_row_is_named(row, word):
    fine = {"prompt": "fine", "name": "fine"}
    text = "\n".join([json.dumps(fine), json.dumps(row), '{"prompt": "cut'])
    with pytest.raises(InputError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("scenes: 2 of 3 scenes cannot be used: line 2: ")
    assert "line 3: not readable JSON" in message
    assert word in message.split("line 3")[0] and "\n" not in message


@pytest.mark.parametrize(
    "text, word",
    [
        ("", "no scenes"),
        ("prompt,seed\n", "no scenes"),
        ("[]", "no scenes"),
        ('[{"prompt": "x"}', "JSON array"),
        ("a,b\n1,2\n", "found the columns a, b"),
        ("prompt,seed,seed\nx,1,2\n", "'seed' occurs twice"),
        ("prompt,captoin1\nx,a crow\n", "unknown field 'captoin'; write 'caption'"),
        ('prompt,seed\n"a dog,1\n"a cat",2\n', "line 2: not readable CSV"),
        ('prompt,seed\nrain,1\n"a dog,1\n', "line 3: not readable CSV"),
        ("prompt,seed\n" + "x" * 200_000 + ",1\n", "not readable CSV"),
        ("prompt,seed\na dog barks, then a crow caws,1\n", "line 2: 3 cells.*quotation marks"),
        ('{"prompt": "x", "seed": ' + "9" * 5000 + "}\n{}", "line 1: "),
        ('{"prompt": "x", "a": ' + "[" * 100_000 + "}\n{}", "line 1: not readable JSON"),
    ],
)
def test_files_that_cannot_be_read_say_why(text, word):
    with pytest.raises(InputError, match=word) as error:
        parse(text)
    assert "\n" not in str(error.value)


def test_no_more_than_ten_broken_rows_are_listed():
    with pytest.raises(InputError, match="25 of 25 scenes.*and 15 more"):
        parse("prompt,seed\n" + "x,minus\n" * 25)


def test_written_scenes_are_read_back(tmp_path):
    (tmp_path / "a.flac").write_bytes(CROW.read_bytes())
    (tmp_path / "target.wav").write_bytes(b"")
    placed = SceneReference(
        tmp_path / "a.flac", "a crow", placements=(Placement(1.0, 2.0, -3.0, 0.5),), gain=-2.0
    )
    scenes = [
        Scene(
            "rain, \u2028 then",
            (placed, replace(placed, placements=None, start=(0.0,), begin=0.5, end=2.0)),
            "one",
        ),
        Scene("wind", name="two", seconds=5.0, seed=9, negative_prompt="hiss", extra={"x": [1]}),
        Scene("snow", name="three", target=tmp_path / "target.wav"),
        Scene("hail", (SceneReference(None, "hail", label="p/hail"),), "four", detail=0.5),
        Scene(
            "fog", (SceneReference(None, seconds=2.0),), "five", steps=8, expected={"counts": [1]}
        ),
    ]
    write_scenes(tmp_path / "scenes.jsonl", scenes)
    assert read_scenes(tmp_path) == read_scenes(tmp_path / "scenes.jsonl") == scenes
    first = json.loads((tmp_path / "scenes.jsonl").read_text(encoding="utf-8").split("\n")[0])
    assert first["references"][0]["audio"] == "a.flac" and "target" not in first
    assert not list(tmp_path.glob("*.part"))
    (tmp_path / "a.flac").unlink()
    with pytest.raises(InputError, match="line 1: reference 1: audio: .*a.flac does not exist"):
        read_scenes(tmp_path)


def test_files_that_are_no_text(tmp_path):
    (tmp_path / "x.csv").write_bytes("prompt\nKrähe\n".encode("latin-1"))
    with pytest.raises(InputError, match="x.csv: expected UTF-8 text"):
        read_scenes(tmp_path / "x.csv")
    with pytest.raises(InputError, match="scenes.jsonl: cannot be read"):
        read_scenes(tmp_path)


def test_references_load_at_their_times_and_gains():
    plain = SceneReference(CROW, "a crow caws")
    loaded = Scene("x", (plain, replace(plain, start=(0.5, 1.5), gain=-6.0, strength=2.0))).load()
    assert [r.caption for r in loaded] == ["a crow caws"] * 2 and loaded[1].strength == 2.0
    assert [p.start for p in loaded[1].placements] == [0.5, 1.5]
    # As `--gain` of the command line: it adds to the level of each placement.
    assert [r.gain for r in loaded] == [0.0, -6.0]
    (part,) = Scene("x", (replace(plain, begin=0.1, end=0.3),)).load()
    assert (part.source.begin, part.source.end) == (0.1, 0.3)
    places = (Placement(0.25, 0.5),)
    assert replace(plain, placements=places).load().placements == places
    with pytest.raises(InputError, match="s: reference 1: audio"):
        Scene("x", (SceneReference(None, "a crow"),), "s").load()


def test_starts():
    assert parse_starts("auto") is None and parse_starts(" ") is None
    assert parse_starts("3.2, 0.5") == (0.5, 3.2)
    for text in ("soon", "1;2", "-1", "nan", "inf", "1,,2"):
        with pytest.raises(InputError, match="start"):
            parse_starts(text)


@pytest.mark.parametrize(
    "name, count",
    [
        ("dreamaudio_core/evaluation/prompts.jsonl", 692),
        ("dreamaudio_core/evaluation/prompts_locked.jsonl", 128),
        ("recipes/mini/arranger_prompts.jsonl", 50),
        ("recipes/mini/arranger_prompts_2.jsonl", 50),
        ("recipes/mini/scenarios.jsonl", 10),
    ],
)
def test_every_list_of_prompts_is_a_scene_file(name, count):
    scenes = read_scenes(PROJECT / name)
    assert len(scenes) == count and not any(s.extra for s in scenes)
    assert not any(r.extra for s in scenes for r in s.references)
    if "prompts" in name:
        assert read_prompts(PROJECT / name)


ODD = [None, True, -1, 1.5, 10**400, float("nan"), "", "a", "0,5", "\ud800", "x\0y", [], {}, [1]]
ODD += [[None], {"a": 1}, "9" * 5000, "\u0661", "auto", "TRUE", [{"start": True, "duration": "a"}]]


def test_whatever_a_row_holds_it_is_a_scene_or_an_error_of_input():
    """What is taken is written and read back as it was."""
    draw = random.Random(0)
    taken = 0
    for _ in range(4_000):
        row = {"prompt": "x", **{draw.choice(SCENE_FIELDS): draw.choice(ODD) for _ in range(2)}}
        if draw.random() < 0.5:
            fields = {draw.choice(REFERENCE_FIELDS): draw.choice(ODD) for _ in range(2)}
            row["references"] = [{"audio": "a.wav", **fields}]
        columns = [*row, "audio1", draw.choice(["caption1", "gain 2", "Start"])]
        cells = [str(draw.choice(ODD)) for _ in columns]
        for text in (json.dumps(row), ";".join(columns) + "\n" + ";".join(cells)):
            try:
                (scene,) = parse(text)
            except InputError:
                continue
            taken += 1
            assert parse(json.dumps(to_row(scene, Path("/nowhere")))) == [scene]
    assert taken > 200
