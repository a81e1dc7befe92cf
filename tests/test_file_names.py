"""Names that one system takes and another one does not."""

import json
import re

import pytest

from dreamaudio_core.errors import InputError
from dreamaudio_core.file_names import name_problem
from dreamaudio_core.scene.scene_files import parse_scenes

BAD = {
    "": "is empty",
    "CON": "device",
    "nul.txt": "device",
    "com¹": "device",
    "aux .x": "device",
    "LPT9.tar.gz": "device",
    "conin$": "device",
    "rain.": "dot",
    "rain ": "space",
    " rain": "space",
    "rain. . ": "space",
    "a:b": "has :",
    "a?b*": "has \\* \\?",
    "a\\b": "has",
    "a\nb": "printed",
    "a\x00": "printed",
    "a\u202eb": "printed",
}
GOOD = [
    "rain",
    "com10",
    "console",
    "nulls.x",
    "a.b",
    "ü 1",
    "雨",
    "com",
    "lpt",
    "...x",
    "auxiliary",
]


@pytest.mark.parametrize("name", BAD)
def test_names_that_some_system_does_not_take(name):
    assert re.search(BAD[name], name_problem(name))
    if name:
        scenes = json.dumps({"prompt": "x", "name": name}) + "\n"
        with pytest.raises(InputError, match="name: expected a plain file name"):
            parse_scenes(scenes, lambda *_: None)


@pytest.mark.parametrize("name", GOOD)
def test_names_that_all_take(name):
    assert name_problem(name) == ""
