import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dreamaudio_core
from dreamaudio_core.audio.decode import read_audio
from dreamaudio_core.data.bank import Bank, BankWriter
from dreamaudio_core.data.compose import timing
from dreamaudio_core.data.compose.composer import Composer
from dreamaudio_core.data.compose.config import ComposerConfig
from dreamaudio_core.data.compose.timing import Timing
from dreamaudio_core.errors import InputError

SAMPLE_RATE = 16_000
ROOT = Path(list(dreamaudio_core.__path__)[0])
NOUNS = "frog dog cat cow pig horse donkey duck hen rooster crow owl lion bear wolf elephant bull whale goat mouse".split()
FIELDS = dict(split="train", source="p", license="CC0")
GRID = 0.08


def write_bank(folder):
    """Twenty events of one tone each (so that each is known by its frequency), the real crow, and
    two bases.
    """
    time = np.arange(int(1.5 * SAMPLE_RATE)) / SAMPLE_RATE
    from dreamaudio_core.language.captions import caption_from_label

    with BankWriter(folder) as writer:
        for number, noun in enumerate(NOUNS):
            length = int((0.3 + 0.06 * number) * SAMPLE_RATE)
            tone = (
                0.4 * np.sin(2 * np.pi * (300 + 180 * number) * time[:length]) * np.hanning(length)
            )
            writer.add(
                tone,
                path=noun,
                caption=caption_from_label(noun),
                label=f"p/{noun}",
                kind="event",
                **FIELDS,
            )
            writer.add(
                tone,
                path=noun,
                caption=f"a {noun} vanishes",
                label=f"p/{noun}-held-out",
                kind="event",
                **{**FIELDS, "split": "test"},
            )
        crow = read_audio(ROOT / "examples" / "crow.flac")
        writer.add(
            crow.numpy(),
            path="crow",
            caption="a crow calls",
            label="p/real-crow",
            kind="event",
            **FIELDS,
        )
        noise = np.random.default_rng(0).standard_normal(12 * SAMPLE_RATE).astype(np.float32)
        writer.add(
            0.1 * noise,
            path="rain",
            caption="rain falls",
            label="p/rain",
            kind="ambience",
            **FIELDS,
        )
        writer.add(
            0.1 * np.cumsum(noise - noise.mean()) / 100,
            path="music",
            caption="music plays",
            label="p/music",
            kind="music",
            **FIELDS,
        )
    return folder / "manifest.jsonl"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("bank"))


def composer(manifest, split="train", **changes):
    return Composer(Bank(manifest), ComposerConfig(**changes), split=split)


def facts(item):
    """What an item says, and which events it has."""
    return item.prompt + "".join(
        f"|{event.index}{event.reference_caption}{len(event.placements)}{event.has_reference}"
        for event in item.events
    )


def sounds(item):
    """Its waveforms, the target first, and what was computed of its placements."""
    places = [[p.start, p.duration, p.gain] for e in item.events for p in e.placements]
    return [item.target, *(e.reference for e in item.events), torch.tensor(places)]


def in_time(item):
    """Asked events by their first start."""
    return sorted((e for e in item.events if e.asked), key=lambda e: e.placements[0].start)


def test_the_same_item_in_another_process(manifest, tmp_path):
    """Texts to the letter; sounds and levels to rounding, which threads and kernels decide."""
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT.parent)!r}, {str(Path(__file__).parent)!r}]\n"
        "import torch\nfrom test_composer import composer, facts, sounds\n"
        f"c = composer({str(manifest)!r})\nitems = [c.item(7, i) for i in (11, 5, 0)]\n"
        "torch.save([(facts(i), sounds(i)) for i in items], sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there.pt")], check=True)
    there = torch.load(tmp_path / "there.pt")
    here = [composer(manifest).item(7, index) for index in (11, 5, 0)]
    assert len({facts(item) for item in here}) == 3
    for item, (told, heard) in zip(here, there, strict=True):
        assert facts(item) == told
        torch.testing.assert_close(sounds(item), heard)


def test_the_target_is_the_sum_of_the_references_at_their_placements(manifest):
    made = composer(manifest, level_db=6.0)
    for index in range(60):
        item = made.item(1, index)
        total = torch.zeros_like(item.target)
        for event in item.events:
            for place in event.placements:
                begin, offset = round(place.start * SAMPLE_RATE), round(place.offset * SAMPLE_RATE)
                length = round(place.duration * SAMPLE_RATE)
                part = event.reference[offset : offset + length] * 10 ** (place.gain / 20)
                part = part[: len(total) - begin]
                total[begin : begin + len(part)] += part
        # A stretch cut out of a reference has ramps of 5 ms, a whole reference none.
        error = (total - item.target).abs()
        assert error.mean() < 1e-3, item.prompt
        if all(
            round(p.duration * SAMPLE_RATE) >= len(e.reference)
            for e in item.events
            for p in e.placements
        ):
            assert error.max() < 1e-4, item.prompt
        assert abs(item.target.abs().max().item() - 0.5) < 1e-5
        assert len(item.target) == round(item.seconds * SAMPLE_RATE)


def test_each_event_sounds_where_its_placement_says(manifest):
    made = composer(manifest, kinds={"sequence": 1.0}, long_reference=0.0, level_db=0.0, adverb=0.0)
    for index in range(40):
        item = made.item(2, index)
        silent = torch.ones(len(item.target), dtype=torch.bool)
        for event in item.events:
            for place in event.placements:
                begin, length = (
                    round(place.start * SAMPLE_RATE),
                    round(place.duration * SAMPLE_RATE),
                )
                cut = item.target[begin : begin + length]
                reference = event.reference[:length]
                assert torch.nn.functional.cosine_similarity(cut, reference, dim=0) > 0.999
                silent[begin : begin + length] = False
        assert item.target[silent].abs().max() == 0


@pytest.mark.parametrize(
    "kind", ["sequence", "together", "background", "repeat", "end", "halves", "clock"]
)
def test_placements_lie_on_the_grid_within_target_and_reference(manifest, kind):
    made = composer(manifest, kinds={kind: 1.0}, short_probability=0.4)
    for index in range(60):
        item = made.item(3, index)
        assert item.kind == kind and item.seconds in (5.12, 10.24)
        for event in item.events:
            assert bool(event.placements) == event.asked == (event.phrase is not None)
            assert event.asked or event.has_reference
            for place in event.placements:
                assert abs(place.start / GRID - round(place.start / GRID)) < 1e-6
                assert place.start + place.duration <= item.seconds + 1e-6
                assert place.offset + place.duration <= len(event.reference) / SAMPLE_RATE + 1e-6


ORDER = [
    (
        re.compile(
            r"^(.+?),? (?:and after a while|and a little later|and later on|whereupon|leads "
            r"to|gives way to) (.+)$"
        ),
        (0, 1),
    ),
    (
        re.compile(r"^(.+?), (?:which comes after|which is heard after|though not before) (.+)$"),
        (1, 0),
    ),
    (re.compile(r"^having heard (.+?), we hear (.+)$"), (0, 1)),
    (re.compile(r"^only after (.+?) do we hear (.+)$"), (0, 1)),
    (re.compile(r"^following (.+?), (.+)$"), (0, 1)),
    (
        re.compile(
            r"^(.+?) (?:only comes after|does not come until after|in answer "
            r"to|answers|following) (.+)$"
        ),
        (1, 0),
    ),
    (re.compile(r"^before (?:we hear )?(.+?), (.+)$"), (1, 0)),
    (re.compile(r"^before (.+?) we hear (.+)$"), (1, 0)),
    (re.compile(r"^prior to (.+?) there is (.+)$"), (1, 0)),
    (re.compile(r"^(?:before|prior to) (.+?), (.+)$"), (1, 0)),
    (re.compile(r"^(?:after|once|as soon as|when) (.+?), (.+)$"), (0, 1)),
    (
        re.compile(
            r"^(.+?),? (?:after|follows|comes after|is preceded by|preceded by|once|as soon "
            r"as|when) (.+)$"
        ),
        (1, 0),
    ),
    (
        re.compile(
            r"^(.+?),? (?:before|then|and then|precedes|followed by|until|next|afterwards) (.+)$"
        ),
        (0, 1),
    ),
]
UNREAD = re.compile(r"afterwards|\bbut\b|[.;] |after which|after that|pause|silence|last")


def test_wording_agrees_with_the_order_in_time(manifest):
    """Read the prompts of two events by an independent grammar of the connectives."""
    made = composer(
        manifest,
        kinds={"sequence": 1.0},
        counts=(0.0, 1.0),
        distractor=0.0,
        long_reference=0.0,
        adverb=0.0,
    )
    read = {0: 0, 1: 0}
    for index in range(400):
        item = made.item(4, index)
        events = in_time(item)
        if len(events) != 2:
            continue
        text = item.prompt.lower().rstrip(".")
        # Where each event is mentioned; its noun has no synonym in this bank but the horse and the
        # dog.
        nouns = [e.label.removeprefix("p/").replace("real-crow", "crow") for e in events]
        nouns = [{"dog": "(?:dog|hound)", "horse": "(?:horse|stallion)"}.get(n, n) for n in nouns]
        if nouns[0] == nouns[1]:
            continue
        mentioned = [re.search(rf"\b{noun}\b", text).start() for noun in nouns]
        for pattern, meaning in ORDER:
            match = pattern.match(text)
            if match and not UNREAD.search(text):
                expected_inverted = meaning == (1, 0)
                assert (mentioned[0] > mentioned[1]) == expected_inverted, item.prompt
                read[int(expected_inverted)] += 1
                break
        assert events[0].placements[0].start == pytest.approx(GRID)
        gap = (
            events[1].placements[0].start
            - events[0].placements[0].start
            - events[0].placements[0].duration
        )
        assert (
            0.0 < gap < 0.45
            or "pause" in text
            or "silence" in text
            or "moment" in text
            or "while later" in text
        )
    assert read[0] > 60 and read[1] > 60


def test_timing_rules_of_the_other_kinds(manifest):
    options = dict(distractor=0.0, long_reference=0.0, short_probability=0.0, unreferenced=0.0)
    for index in range(40):
        item = composer(manifest, kinds={"end": 1.0}, **options).item(5, index)
        last = in_time(item)[-1].placements[-1]
        assert item.seconds - GRID <= last.start + last.duration <= item.seconds
        item = composer(manifest, kinds={"together": 1.0}, **options).item(5, index)
        assert len({e.placements[0].start for e in item.events}) == 1
        item = composer(manifest, kinds={"background": 1.0}, **options).item(5, index)
        base = next(e for e in item.events if e.background)
        assert base.placements[0].start == 0.0 and base.placements[0].duration == item.seconds
        front = [p for e in item.events if not e.background for p in e.placements]
        middle = (min(p.start for p in front) + max(p.start + p.duration for p in front)) / 2
        assert abs(middle - item.seconds / 2) < 0.1
        item = composer(manifest, kinds={"repeat": 1.0}, **options).item(5, index)
        for words, count in (
            (("twice", "two times"), 2),
            (("three times", "repeatedly"), 3),
            (("four times", "again and again"), 4),
        ):
            if any(word in item.prompt for word in words):
                assert max(len(e.placements) for e in item.events) == count, item.prompt


def test_the_signal_to_noise_ratio_of_an_overlay_is_kept(manifest):
    made = composer(
        manifest, kinds={"background": 1.0}, snr_db=(3.0, 3.0), distractor=0.0, long_reference=0.0
    )
    for index in range(20):
        item = made.item(6, index)
        base = next(e for e in item.events if e.background)
        for event in item.events:
            if event is base:
                continue
            levels = [
                10 * np.log10((e.reference**2).mean().item()) + e.placements[0].gain
                for e in (event, base)
            ]
            assert levels[0] - levels[1] == pytest.approx(3.0, abs=0.01)


def test_references_are_captioned_in_other_words_and_shuffled(manifest):
    made = composer(manifest, kinds={"sequence": 1.0}, counts=(0.0, 0.0, 1.0))
    first = []
    for index in range(80):
        item = made.item(8, index)
        for event in item.events:
            if event.asked:
                assert event.phrase.lower() in item.prompt.lower()
                assert event.reference_caption.lower() not in item.prompt.lower()
        if len(item.references) == 3:
            first.append(
                item.references[0].placements[0].start if item.references[0].placements else None
            )
    assert len(set(first)) > 5 and first.count(GRID) < 0.6 * len(first)


def test_a_reference_longer_than_its_part_gives_an_equal_share_at_its_loudest(manifest):
    made = composer(
        manifest,
        kinds={"sequence": 1.0},
        counts=(0.0, 0.0, 1.0),
        long_reference=1.0,
        distractor=0.0,
    )
    for index in range(10):
        item = made.item(9, index)
        durations = [e.placements[0].duration for e in item.events]
        assert max(durations) - min(durations) < 1e-6 and all(
            len(e.reference) >= 6 * SAMPLE_RATE - 1 for e in item.events
        )
        if len(durations) == 3:
            assert 2.8 < durations[0] < 3.4
        for event in item.events:
            place = event.placements[0]
            begin, length = round(place.offset * SAMPLE_RATE), round(place.duration * SAMPLE_RATE)
            energy = (event.reference[begin : begin + length] ** 2).sum()
            for other in range(0, len(event.reference) - length, SAMPLE_RATE // 4):
                assert (event.reference[other : other + length] ** 2).sum() <= energy * 1.0001


def test_splits_do_not_share_labels(manifest):
    with pytest.raises(InputError, match="music or ambience"):
        composer(manifest, split="test")
    train = composer(manifest)
    labels = {e.label for index in range(60) for e in train.item(0, index).events}
    assert labels and not any(label.endswith("held-out") for label in labels)
    held_out = Bank(manifest)
    held_out.entries = [e for e in held_out.entries if e.split == "test" or e.kind != "event"]
    test = Composer(held_out, ComposerConfig(kinds={"sequence": 1.0}, distractor=0.0), split=None)
    assert all(
        e.label.endswith("held-out") for index in range(20) for e in test.item(0, index).events
    )


def test_share_of_missing_and_unasked_references(manifest):
    made = composer(manifest, unreferenced=0.3, distractor=0.5)
    events = [e for index in range(200) for e in made.item(10, index).events]
    asked = [e for e in events if e.asked]
    assert 0.2 < np.mean([not e.has_reference for e in asked]) < 0.4
    assert 0.1 < np.mean([not e.asked for e in events]) < 0.4


def test_timing_rules_are_plain_functions():
    rules = Timing(grid=0.1, lead=0.1, gap=0.2)
    assert timing.sequence([1.05, 2.0], [0.2], 10.0, rules) == [(0.1, 1.05), (1.4, 2.0)]
    assert timing.sequence([1.0], [], 10.0, rules, centred=True) == [(4.5, 1.0)]
    # Two long parts share what the short one leaves, down to the grid.
    shared = timing.sequence([None, 1.0, None], [0.2, 0.2], 10.0, rules)
    assert [duration for _, duration in shared] == [4.1, 1.0, 4.1]
    assert shared[-1][0] + shared[-1][1] <= 10.0
    # A part never lasts beyond the target.
    assert timing.sequence([6.0, 6.0], [0.2], 10.0, rules)[1] == (6.3, pytest.approx(3.7))
    assert timing.together([1.0, None], 10.0, rules) == [(0.1, 1.0), (0.1, 4.8)]
    assert timing.together([1.0, 3.0], 10.0, rules, centred=True) == [(3.5, 1.0), (3.5, 3.0)]
    assert rules.up(0.11) == 0.2 and rules.down(0.19) == 0.1 and rules.up(0.2) == 0.2
    assert rules.gap_of("short") == 1.2 and rules.gap_of("", -1) == pytest.approx(0.1)


def test_single_events_without_references(manifest):
    for seconds in (5.12, 2.56):
        made = Composer(Bank(manifest), ComposerConfig.text_only(seconds))
        items = [made.item(0, index) for index in range(20)]
        assert all(len(i.events) == 1 and not i.references for i in items)
        assert {i.seconds for i in items} == {seconds}
        assert max(i.events[0].placements[0].duration for i in items) <= 2.5


def test_unknown_kind_and_too_small_bank(manifest):
    with pytest.raises(InputError, match="duet"):
        composer(manifest, kinds={"duet": 1.0})
    with pytest.raises(InputError, match="at least 6 events"):
        Composer(Bank(manifest, kinds=["music"]))
