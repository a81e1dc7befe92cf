"""The reader of prompts and its solver: the right values of reported misreadings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dreamaudio_core
from dreamaudio_core.cli import main
from dreamaudio_core.config import TextConfig
from dreamaudio_core.evaluation.timelines import (
    evaluate_prompts,
    faults,
    lengths,
    read_prompts,
)
from dreamaudio_core.language.layout import lay_out
from dreamaudio_core.language.merge import merge
from dreamaudio_core.language.numbers import tokenize
from dreamaudio_core.language.prompt import read_prompt
from dreamaudio_core.networks.text_encoder import load_text_encoder
from dreamaudio_core.scene.scenes import Scene
from dreamaudio_core.scene.timeline import Placement
from dreamaudio_core.weights.folder import model_folder, read_config

PACKAGE = Path(dreamaudio_core.__file__).parent
DOG, CROW = ("a dog barks", 0.9), ("a crow caws", 0.7)
REGISTER, GUITAR = ("a cash register rings", 1.3), ("a guitar plays soft harmonics", 6.0)


@pytest.fixture(scope="module")
def similarity():
    folder = model_folder("mini")
    text: TextConfig = read_config(folder).text
    encoder = load_text_encoder(folder / text.source, text)
    known: dict[str, torch.Tensor] = {}

    def vectors(texts):
        for t in texts:
            if t not in known:
                tokens, mask = encoder.encode([t])
                mean = tokens[0][mask[0]].float().mean(0)
                known[t] = torch.nn.functional.normalize(mean, dim=0)
        return torch.stack([known[t] for t in texts])

    return lambda a, b: (vectors(a) @ vectors(b).T).tolist()


@pytest.fixture
def arrange(similarity):
    def run(prompt, *references, seconds=10.24, names=(), network=None):
        captions, lengths = [c for c, _ in references], [s for _, s in references]
        reading = read_prompt(prompt, captions, seconds, similarity, names)
        return merge(reading, lay_out(reading, lengths), network, lengths)

    return run


def starts(layout, k=0):
    return [round(p.start, 2) for p in layout.places[k]]


@pytest.mark.parametrize(
    "text, words",
    [
        ("Twenty-four claps at 0:03", ["24", "claps", "at", "@", "3", "s"]),
        ("two and a half seconds", ["2.5", "s"]),
        ("x3 and 4x", ["3", "times", "and", "4", "times"]),
        ("250ms", ["0.25", "s"]),
        ("once the door shuts, twice", ["once", "the", "door", "shuts", ",", "2", "times"]),
    ],
)
def test_numbers_are_written_one_way(text, words):
    assert [t.text for t in tokenize(text)] == words


@pytest.mark.parametrize(
    "prompt, count",
    [
        ("a dog barks five times", 5),
        ("a dog barks six times", 6),
        ("three dog barks", 3),
        ("a dog barks and barks and barks", 3),
        ("a dog barks thirty-two times", 32),
        ("a dog barks not once but twice", 2),
    ],
)
def test_counts(arrange, prompt, count):
    layout = arrange(prompt, DOG, seconds=40.0)
    assert len(layout.places[0]) == count
    for earlier, later in zip(layout.places[0], layout.places[0][1:]):
        assert later.start >= earlier.start + earlier.duration


@pytest.mark.parametrize(
    "prompt, wanted",
    [
        ("a dog barks at 2 seconds and again at 6 seconds", [2.0, 6.0]),
        ("a dog barks at 1, 3 and 5 seconds", [1.0, 3.0, 5.0]),
        ("after three seconds of silence a dog barks", [3.0]),
        ("[2s] dog [4s] dog", [2.0, 4.0]),
        ("a dog barks at 0:03", [3.0]),
    ],
)
def test_times_are_exact(arrange, prompt, wanted):
    layout = arrange(prompt, DOG)
    assert starts(layout) == wanted


def test_times_of_two_references_and_their_reasons(arrange):
    layout = arrange("a dog barks at 3 s, a crow caws at 7 s", DOG, CROW)
    assert starts(layout, 0) == [3.0] and starts(layout, 1) == [7.0]
    assert '"at 3 s" -> 3.00' in layout.reasons[0]


def test_gap_duration_and_end(arrange):
    layout = arrange("a dog barks, then two seconds of silence, then a crow caws", DOG, CROW)
    dog, crow = layout.places[0][0], layout.places[1][0]
    assert crow.start - dog.start - dog.duration == pytest.approx(2.0, abs=1e-3)
    (guitar,) = arrange("a guitar plays soft harmonics for one second", GUITAR).places[0]
    assert guitar.duration == 1.0 and guitar.start < 0.2
    last = arrange("at the very end the dog barks again", DOG, seconds=60.0).places[0][-1]
    assert last.start + last.duration == pytest.approx(60.0)
    (first,) = arrange("at the beginning a dog barks", DOG).places[0]
    assert first.start <= 0.08


def test_beds_and_repeats_over_them(arrange):
    prompt = "a dog barks three times over guitar harmonics in the background"
    layout = arrange(prompt, DOG, GUITAR)
    (bed,) = layout.places[1]
    assert len(layout.places[0]) == 3 and (bed.start, bed.duration) == (0.0, 10.24)


def test_intervals(arrange):
    assert starts(arrange("a dog barks every two seconds", DOG)) == [0, 2, 4, 6, 8]


def test_levels_and_sides(arrange):
    layout = arrange("a dog barks quietly on the left, a crow caws in the distance", DOG, CROW)
    assert layout.places[0][0].gain < 0 and layout.places[0][0].pan < 0
    assert layout.places[1][0].gain < 0


def test_what_is_denied_is_told(arrange):
    layout = arrange("a dog barks, no crow", DOG, CROW)
    assert layout.places[1] == []
    assert layout.warnings == ["reference 2: not used, because the prompt excludes it"]


def test_references_of_one_caption_take_turns(arrange):
    layout = arrange("a dog barks four times", DOG, DOG)
    order = sorted((p.start, k) for k in (0, 1) for p in layout.places[k])
    assert [k for _, k in order] == [0, 1, 0, 1]


def test_an_empty_caption_takes_the_name_of_its_file_and_is_used_at_any_rate(arrange):
    named = arrange(
        "a crow caws, then a dog", ("", 0.9), ("", 0.7), names=["dog.wav", "Crow_02.wav"]
    )
    assert named.places[0][0].start > named.places[1][0].start
    assert len(arrange("a dog barks", ("", 0.9), names=["REC_01.wav"]).places[0]) == 1
    assert len(arrange("", DOG).places[0]) == 1


def test_other_languages_are_told(arrange):
    layout = arrange("乌鸦叫，然后收银机响", ("乌鸦叫", 0.7), ("收银机响", 1.3))
    assert layout.places[0][0].start < layout.places[1][0].start
    assert "English" in layout.warnings[0]


def test_too_much_for_the_target_is_shortened_and_told(arrange):
    layout = arrange("a dog barks ten times", ("a dog barks", 1.5))
    assert len(layout.places[0]) == 10
    assert any("shortened" in w for w in layout.warnings)
    beyond = arrange("a dog barks at 12 seconds", DOG)
    assert beyond.places[0] == [] and "beyond the end" in beyond.warnings[0]


def test_the_network_fills_what_the_prompt_leaves_open(arrange):
    network = [[Placement(0.4, 0.9)], [Placement(5.0, 0.7)]]
    layout = arrange("a dog barks, then a crow caws", DOG, CROW, network=network)
    assert starts(layout, 0) == [0.4] and starts(layout, 1) == [5.0]
    reversed_ = [[Placement(5.0, 0.9)], [Placement(0.4, 0.7)]]
    layout = arrange("a dog barks, then a crow caws", DOG, CROW, network=reversed_)
    assert starts(layout, 0) < starts(layout, 1)


def test_faults_are_found():
    item = Scene("", seconds=10.0, expected={"starts": {"1": [2]}})
    right = [[Placement(2.0, 1.0)], [Placement(4.0, 1.0)]]
    assert faults(item, right, []) == []
    assert faults(item, [[Placement(3.0, 1.0)], [Placement(4.0, 1.0)]], [])
    assert faults(item, [right[0], []], [])
    assert faults(item, [right[0], [Placement(4.0, 1.0), Placement(4.5, 1.0)]], [])


def test_the_open_set_of_prompts(similarity):
    items = read_prompts(PACKAGE / "evaluation/prompts.jsonl")
    assert len(items) >= 200

    def run(item):
        captions, names = zip(*((r.caption, r.name) for r in item.references))
        reading = read_prompt(item.prompt, captions, item.seconds, similarity, names)
        layout = merge(reading, lay_out(reading, lengths(item)), None, lengths(item))
        return layout.places, layout.warnings

    assert evaluate_prompts(items, run)["right"] >= 95.0


def test_evaluate_arranger_counts_prompts(tmp_path, capsys):
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '{"prompt": "a dog barks at 2 s", "seconds": 5, "references": [{"caption": "a dog barks", '
        '"seconds": 0.5}], "expected": {"starts": {"1": [2]}}}\n'
        '{"prompt": "a dog barks", "seconds": 5, "references": [{"caption": "a dog barks", '
        '"seconds": 0.5}], "expected": {"starts": {"1": [4]}}}\n'
    )
    assert main(["evaluate", "arranger", "--prompts", str(path), "--faults"]) == 0
    shown = capsys.readouterr().out
    assert "50.0 % of 2 prompts" in shown and "expected [4]" in shown


def test_words_of_a_caption_are_no_pause(arrange):
    prompt = "A tom is hit, almost drowned out by a drum kit playing a long break beat."
    drums, tom = ("a drum kit plays a long break beat", 5.0), ("a tom is hit", 0.3)
    found = arrange(prompt, drums, tom)
    assert len(found.places[0]) >= 1 and found.places[0][0].start < 0.2
    assert not any("silence" in reason for reason in found.reasons)
    # The same words outside of a caption are one.
    paused = arrange("A dog barks. After a long break a crow caws.", DOG, CROW)
    assert paused.places[1][0].start - paused.places[0][-1].start > 2.0


@pytest.mark.parametrize(
    "prompt, language, count",
    [
        ("un chien aboie trois fois, puis une porte claque", "French", 3),
        ("Ein Hund bellt zweimal, dann klingelt das Telefon", "German", 2),
        ("un perro ladra dos veces y luego suena un teléfono", "Spanish", 2),
        ("il cane abbaia, poi il telefono", "Italian", 1),
        ("een hond blaft en daarna gaat de telefoon", "Dutch", 1),
        ("狗叫两次，然后下雨", "another script", 2),
    ],
)
def test_prompts_in_other_languages_are_told(arrange, prompt, language, count):
    layout = arrange(prompt, DOG, ("a phone rings", 1.2))
    assert language in layout.warnings[0] and "English" in layout.warnings[0]
    assert len(layout.places[0]) == count
    assert starts(layout, 0)[-1] < starts(layout, 1)[0]


def test_english_is_not_taken_for_another_language(arrange):
    for prompt in ("a dog barks as the bell is rung", "dog on the left, phone", "dog phone", ""):
        assert not any("English" in w for w in arrange(prompt, DOG).warnings), prompt


def test_movement_across_the_stereo_image(arrange):
    for prompt, side in (
        ("a car passes by from left to right", 1),
        ("a car approaches from the left and leaves to the right", 1),
        ("a car drives past from right to left", -1),
    ):
        (place,) = arrange(prompt, ("a car drives past", 4.0)).places[0]
        assert side * place.pan < -0.5 and side * place.pan_end > 0.5


def test_misspelt_words_of_time_and_repeated_words(arrange):
    layout = arrange("dog barks tweice in the distence", DOG)
    assert len(layout.places[0]) == 2 and layout.places[0][0].gain < 0
    layout = arrange("beep beep beep BOOM", ("a beep", 0.2), ("an explosion", 2.0))
    assert len(layout.places[0]) == 3 and len(layout.places[1]) == 1


@pytest.mark.parametrize(
    "prompt",
    [
        "a dog barks, a crow caws and a cash register rings at the same time",
        "a dog barks, a crow caws, a cash register rings, all at once",
        "a dog barks while a crow caws and a cash register rings",
        "a dog barks, a crow caws and a cash register rings together",
    ],
)
def test_lists_sound_together(arrange, prompt):
    layout = arrange(prompt, DOG, CROW, REGISTER)
    assert len({places[0].start for places in layout.places}) == 1


def test_of_a_sequence_the_last_two_sound_together(arrange):
    prompt = "a cash register rings, then a dog barks and a crow caws at the same time"
    layout = arrange(prompt, DOG, CROW, REGISTER)
    assert starts(layout, 0) == starts(layout, 1)
    assert starts(layout, 2)[0] < starts(layout, 0)[0]


def test_with_may_belong_to_a_caption(arrange):
    prompt = "a princess is dying with a cry and a scythe is mowing grass"
    layout = arrange(prompt, ("a princess dies with a cry", 1.3), ("a scythe mows grass", 2.0))
    assert starts(layout, 0)[0] + 1.3 <= starts(layout, 1)[0]


@pytest.mark.parametrize(
    "prompt, order",
    [
        ("alternate between a dog bark and a crow caw", "dcdcdc"),
        ("a dog and a crow take turns, twice each", "dcdc"),
        ("a dog barks on either side of the crow", "dcd"),
        ("a dog barks before and after the crow", "dcd"),
        ("a crow caws right after the dog barks", "dc"),
        ("a dog barks. Right after, a crow caws", "dc"),
        (
            "one dog bark at the start, a crow, another bark in the middle, a last one at the end",
            "dcdd",
        ),
        ("a crow, then a quick double bark of the dog", "cdd"),
        ("everything but the dog: a crow caws", "c"),
        ("only the crow, cawing three times", "ccc"),
    ],
)
def test_turns_and_sides(arrange, prompt, order):
    layout = arrange(prompt, DOG, CROW)
    found = sorted(
        (p.start, letter) for letter, places in zip("dc", layout.places) for p in places or ()
    )
    assert "".join(letter for _, letter in found) == order


@pytest.mark.parametrize(
    "prompt, wanted",
    [
        ("at the quarter mark a dog barks", [2.56]),
        ("a dog barks three quarters of the way through", [7.68]),
        ("a dog barks two thirds of the way through the clip", [6.83]),
        ("three seconds before the end a dog barks", [7.24]),
        ("the dog, 4 barks, 1.5 s apart, starting at 2 s", [2.0, 3.5, 5.0, 6.5]),
        ("silence for the first 4 seconds, then a dog barks", [4.0]),
        ("a dog barks every other second from 1 s to 8 s", [1.0, 3.0, 5.0, 7.0]),
        ("a dog barks three times, with a two second pause between each bark", [0.08, 2.98, 5.88]),
    ],
)
def test_shares_of_the_length_and_intervals_in_words(arrange, prompt, wanted):
    assert starts(arrange(prompt, DOG, CROW)) == pytest.approx(wanted, abs=0.03)


@pytest.mark.parametrize(
    "prompt",
    [
        "a dog barks, then a guitar plays for the rest of the clip",
        "a dog barks, then a guitar plays and keeps going until the end",
        "a dog barks and it ends on a guitar",
    ],
)
def test_what_lasts_to_the_end(arrange, prompt):
    place = arrange(prompt, DOG, GUITAR).places[1][-1]
    assert place.start + place.duration == pytest.approx(10.24, abs=0.1)


@pytest.mark.parametrize(
    "prompt, wanted",
    [
        ("at the quarter mark a dog barks", [2.56]),
        ("a dog barks at the quarter, half and three-quarter mark", [2.56, 5.12, 7.68]),
        ("three quarters of the way through, a dog barks", [7.68]),
        ("at 25% a dog barks", [2.56]),
        ("three seconds before the end a dog barks", [7.24]),
        ("with two seconds left a dog barks", [8.24]),
        ("a dog barks at 25%, 50% and 75% of the clip", [2.56, 5.12, 7.68]),
        ("silence until 6 seconds, then a dog barks", [6.0]),
        ("a dog barks every other second", [0, 2, 4, 6, 8]),
        ("silence for the first 4 seconds, then a dog barks", [4.0]),
        ("from the 3 second mark onward, a dog barks every 3 seconds", [3.0, 6.0, 9.0]),
    ],
)
def test_times_as_shares_of_the_whole_and_from_its_end(arrange, prompt, wanted):
    assert starts(arrange(prompt, DOG)) == wanted


@pytest.mark.parametrize(
    "prompt, order",
    [
        ("a dog barks on either side of the crow", [0, 1, 0]),
        ("before and after the crow a dog barks", [0, 1, 0]),
        ("a dog and a crow take turns, three times each", [0, 1] * 3),
        ("alternate between a dog and a crow", [0, 1] * 3),
        ("a dog barks right after the crow", [1, 0]),
        ("a dog barks and right after a crow caws", [0, 1]),
        ("shortly after the crow, a dog barks", [1, 0]),
        ("everything but the dog: the crow twice", [1, 1]),
        ("a double dog bark, then a crow", [0, 0, 1]),
    ],
)
def test_order_in_other_words(arrange, prompt, order):
    layout = arrange(prompt, DOG, CROW)
    events = sorted((p.start, k) for k in (0, 1) for p in layout.places[k])
    assert [k for _, k in events] == order


def test_how_loud_is_not_how_often(arrange):
    layout = arrange("a dog barks, then a crow twice as loud", DOG, CROW)
    (crow,) = layout.places[1]
    assert crow.gain > 0
    ramp = arrange("a dog barks four times, each one louder than the last", DOG).places[0]
    gains = [p.gain for p in ramp]
    assert len(gains) == 4 and gains == sorted(gains) and gains[0] < gains[-1]


def test_words_of_manner_are_no_sound(arrange):
    layout = arrange("a dog barks, slowly and steadily, over and over", DOG)
    assert not layout.warnings


def test_the_network_does_not_move_what_is_said_to_be_at_the_beginning_and_the_end(arrange):
    network = [[Placement(2.0, 0.9)], [Placement(5.0, 0.7)]]
    prompt = "a dog barks at the beginning and a crow caws at the end"
    layout = arrange(prompt, DOG, CROW, network=network)
    assert starts(layout)[0] <= 0.1 and starts(layout, 1) == [9.54]


@pytest.mark.parametrize(
    "prompt, order",
    [
        ("a dog barks twice before the crow caws and once after", [0, 0, 1, 0]),
        ("a dog barks once before the crow and three times after it", [0, 1, 0, 0, 0]),
        ("a dog barks twice before and once after the crow caws", [0, 0, 1, 0]),
        ("dog dog crow dog", [0, 0, 1, 0]),
        ("a dog barks four times, stops, and barks two more", [0] * 6),
        ("a dog barks, a crow caws, and they both go again", [0, 1, 0, 1]),
        ("a dog barks, then a crow caws. This happens three times.", [0, 1] * 3),
        ("between two crow caws a dog barks", [1, 0, 1]),
        ("a dog barks, flanked by crow caws", [1, 0, 1]),
        ("a dog barks in the distance, then a closer one answers", [0, 0]),
        ("a crow caws. One second later a second caw. One second later a third.", [1, 1, 1]),
        ("a crow caws at first and again in the end", [1, 1]),
        ("a dog and a crow, then both together", [0, 1, 0, 1]),
        ("a dog barks twice in the first half and once in the second half", [0, 0, 0]),
        ("every time the crow caws (twice), the dog barks", [1, 0, 1, 0]),
        ("a crow caws; before it, dog barks, three of them", [0, 0, 0, 1]),
        ("a dog barks at the start, at the midpoint and at the end", [0, 0, 0]),
    ],
)
def test_what_is_left_out_because_it_was_said_before(arrange, prompt, order):
    layout = arrange(prompt, DOG, CROW)
    events = sorted((p.start, k) for k in (0, 1) for p in layout.places[k] or ())
    assert [k for _, k in events] == order


@pytest.mark.parametrize(
    "prompt, share",
    [
        ("a dog barks, overlapping the tail of the guitar", 0.9),
        ("a guitar, with a dog bark overlapping its tail", 0.9),
        ("halfway through the guitar a dog barks", 0.5),
        ("a dog barks halfway through the guitar", 0.5),
        ("in the middle of the guitar a dog barks", 0.5),
        ("a guitar plays. In the middle of it, a dog barks.", 0.5),
        ("a third of the way through the guitar a dog barks", 1 / 3),
        ("a dog barks just before the guitar stops", 0.9),
    ],
)
def test_a_sound_within_another_one(arrange, prompt, share):
    layout = arrange(prompt, DOG, GUITAR)
    (dog,), (guitar,) = layout.places
    assert (dog.start - guitar.start) / guitar.duration == pytest.approx(share, abs=0.06)


def test_seconds_into_another_sound(arrange):
    (dog,), (guitar,) = arrange("two seconds into the guitar a dog barks", DOG, GUITAR).places
    assert dog.start - guitar.start == pytest.approx(2.0)


@pytest.mark.parametrize(
    "prompt, dog, crow",
    [
        ("at 120 bpm: dog, crow, dog, crow", [0.0, 1.0], [0.5, 1.5]),
        ("a guitar plays until 5 s when the crow caws, then a dog", None, [5.0]),
        ("a dog barks at 4 s, and half a second before that a crow caws", [4.0], [3.5]),
        ("a dog barks, and three seconds in, a crow caws", [0.08], [3.0]),
        ("a dog barks every second and a half", [0.0, 1.5, 3.0, 4.5, 6.0, 7.5, 9.0], None),
        ("a dog barks exactly four times, starting at the two second mark", None, None),
    ],
)
def test_times_in_other_words(arrange, prompt, dog, crow):
    layout = arrange(prompt, ("a dog barks", 0.4), ("a crow caws", 0.3), GUITAR)
    for k, wanted in enumerate((dog, crow)):
        if wanted is not None:
            assert starts(layout, k) == wanted
    if "four times" in prompt:
        assert len(layout.places[0]) == 4 and starts(layout)[0] == 2.0


@pytest.mark.parametrize(
    "prompt, gap",
    [
        ("a dog barks, a crow caws half a second after", 0.5),
        ("a dog barks and, two seconds after, a crow caws", 2.0),
        ("dog, three seconds, crow", 3.0),
        ("dog -> two seconds -> crow", 2.0),
    ],
)
def test_pauses_in_other_words(arrange, prompt, gap):
    (dog,), (crow,) = arrange(prompt, DOG, CROW).places
    assert crow.start - dog.start - dog.duration == pytest.approx(gap, abs=1e-3)


def test_levels_one_by_one_and_sounds_that_come_nearer(arrange):
    layout = arrange("softly at first, then much louder: a dog barks twice", DOG)
    assert [p.gain < 0 for p in layout.places[0]] == [True, False]
    for prompt in ("a guitar gets closer and closer", "a guitar gradually builds up"):
        assert arrange(prompt, GUITAR).places[0][0].fade_in > 0.3, prompt
    assert arrange("a guitar plays, then dies away", GUITAR).places[0][0].fade_out > 0.3
