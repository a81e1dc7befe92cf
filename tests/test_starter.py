"""The starter library."""

import json

import pytest
import soundfile
import torch

from dreamaudio_core.errors import InputError
from dreamaudio_core.loading import load_model
from dreamaudio_core.scene.reference import load_reference
from dreamaudio_core.scene.starter import FOLDER, fitting_sounds, starter_sounds
from dreamaudio_core.weights.info import MODELS

FREE = {"CC0-1.0", "public domain"}
MINI = (MODELS / "mini" / "text_encoder" / "model.safetensors").exists()


def test_sounds_are_small_free_captioned_and_audible():
    sounds = starter_sounds()
    assert len(sounds) >= 60
    wordings = [text for s in sounds for text in (s.caption, *s.also)]
    assert len(set(wordings)) == len(wordings)
    on_disk = {p.name for p in FOLDER.iterdir()} - {"sounds.json", "README.md"}
    assert on_disk == {s.path.name for s in sounds}
    assert sum(s.path.stat().st_size for s in sounds) < 8e6
    for sound in sounds:
        assert sound.license in FREE, sound
        assert sound.author, sound
        if not sound.source.startswith("synthetic: "):
            assert sound.source.startswith("http"), sound
            assert len(sound.package.split()) == 2 and sound.paths, sound
            assert sound.license_stated_in, sound
        info = soundfile.info(sound.path)
        assert 0.1 < info.duration < 16.0 and info.samplerate >= 22_050
        assert load_reference(sound.path, sound.caption).seconds >= 0.09
    assert json.loads((FOLDER / "sounds.json").read_text())


# What a prompt asks for, and the file that should answer; None where nothing of the library does.
ASKED = {
    "birds are singing": "forest_birds",
    "water flows in a river": "river",
    "ticking clock": "clock",
    "the door is slammed shut": "perc_door",
    "someone knocks at the door": "knock_on_wood",
    "strong wind": "wind",
    "thunder in the distance": "thunder",
    "a police siren wails": "siren",
    "glasses clink": "glass_clink",
    "a kettle boils": "boiling",
    "people talking": "restaurant",
    "someone walks through the snow": "footsteps_snow",
    "running water": "stream",
    "a car skids": "tires",
    "something whooshes past": "perc_swoosh",
    "a dog barks": "dog",
    "a wolf howls": None,
    "crickets chirp": None,
    "rain falls": "rain",
    "heavy rain on the roof": "rain_roof",
    "a cat meows": "cat",
    "a train passes": None,
    "a car horn honks": None,
    "a baby cries": None,
    "a mouse clicks": None,
    "a phone rings": "telephone",
    "applause": "applause",
    "a sneeze": None,
    "something happens": None,
}


def words(texts):
    """Unit vectors of texts by their words."""
    rows = torch.zeros(len(texts), 4096)
    for row, text in zip(rows, texts):
        for word in text.lower().split():
            row[sum(ord(c) * 31**i for i, c in enumerate(word)) % 4096] = 1.0
    return torch.nn.functional.normalize(rows, dim=-1)


def test_only_open_parts_are_filled():
    parts = ["a bell rings", "someone burps", "qwerty zzz"]
    found = fitting_sounds(parts, [], words)
    assert [f.sound.caption for f in found] == ["a bell rings", "someone burps"]
    assert [f.part for f in found] == ["a bell rings", "someone burps"]
    found = fitting_sounds(parts, ["a bell rings"], words)
    assert [f.part for f in found] == ["someone burps"]
    assert fitting_sounds([], [], words) == []


@pytest.fixture(scope="module")
def mini():
    if not MINI:
        pytest.skip("the embedded model's weights are not here")
    return load_model("mini")


def test_fitting_sounds_are_found_and_others_are_not_stretched(mini):
    found = {f.part: f.sound.path.stem for f in fitting_sounds(list(ASKED), [], mini.embed)}
    assert found == {part: name for part, name in ASKED.items() if name}


def test_mini_prefers_the_library_where_a_sound_fits(mini):
    model = mini
    prompt = "someone burps while a bell rings"
    references, missing = model.add_library_sounds(prompt, ())
    assert [r.caption for r in references] == ["someone burps", "a bell rings"]
    assert missing == "auto"
    assert [r.name for r in references] == ["misc_burp.ogg", "perc_bell.ogg"]
    assert model.add_library_sounds(prompt, (), "generate") == ((), "generate")
    assert model.add_library_sounds("a woman says hello", ()) == ((), "auto")
    again, missing = model.add_library_sounds(prompt, references, "library")
    assert again == references and missing == "silence"
    with pytest.raises(InputError, match="library"):
        model.add_library_sounds(prompt, (), "perhaps")
    result = model.generate(prompt, seconds=5.12, steps=4)
    assert [bool(places) for places in result.timeline] == [True, True]
    assert result.sample_rate == 44_100 and not any("weak" in w for w in result.warnings)
    alone = model.generate("a woman says hello", seconds=2.56, steps=2)
    assert any("weak" in w for w in alone.warnings)
