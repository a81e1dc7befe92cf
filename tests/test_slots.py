"""References that overlap share a slot of the network."""

import pytest
import torch

from dreamaudio_core import load_model, load_reference
from dreamaudio_core.rendering.events import Event, network_mix, render_events
from dreamaudio_core.rendering.slots import mix_overlaps, plan_slots
from dreamaudio_core.sampling.guidance import Guidance, branches, reference_sets
from dreamaudio_core.scene.reference import Reference
from dreamaudio_core.weights.info import MODELS

EXAMPLES = MODELS.parent / "examples"
FRAME = 0.08


def event(start, seconds):
    waveform = torch.ones(1, round(seconds * 16_000))
    return Event(start, waveform, Reference(waveform[0], "a tone").source, 0.0, 0.0)


def members_of(events):
    return [slot.members for slot in mix_overlaps(events, FRAME)]


def test_references_that_do_not_overlap_keep_slots_of_their_own():
    assert members_of({0: [event(0.0, 1.0)], 1: [event(1.0, 1.0)]}) == [(0,), (1,)]
    # Less than a latent frame in common.
    assert members_of({0: [event(0.0, 1.0)], 1: [event(0.95, 1.0)]}) == [(0,), (1,)]
    assert members_of({0: [event(0.0, 1.0), event(0.5, 1.0)]}) == [(0,)]
    assert members_of({}) == []


def test_references_that_overlap_share_a_slot():
    assert members_of({0: [event(0.0, 1.0)], 1: [event(0.5, 1.0)]}) == [(0, 1)]
    # A click within a bed, shorter than a frame.
    assert members_of({1: [event(0.0, 4.0)], 0: [event(3.0, 0.02)]}) == [(0, 1)]
    # 0 under 2 over 1: a chain.
    chain = {0: [event(0.0, 1.0)], 1: [event(1.5, 1.0)], 2: [event(0.5, 1.5)]}
    assert members_of(chain) == [(0, 1, 2)]


def test_a_reference_is_mixed_only_where_it_overlaps():
    alone, under, over = event(0.0, 1.0), event(3.0, 1.0), event(3.5, 1.0)
    slots = mix_overlaps({0: [alone, under], 1: [over]}, FRAME)
    assert [slot.members for slot in slots] == [(0,), (0, 1)]
    assert [list(slot.events) for slot in slots] == [[alone], [under, over]]


def test_every_branch_of_guidance_finds_its_slots():
    events = [[event(0.0, 1.0)], [event(0.5, 1.0)], None, []]
    strengths = [1.0, 1.5, 1.0, 2.0]
    sets = reference_sets(strengths)
    for guidance in (Guidance(1.0, 1.5), Guidance(2.0, 0.5), Guidance(1.0, 1.0)):
        assert {branch.references for branch in branches(guidance, strengths)} <= set(sets)
    slots, choices = plan_slots(events, sets, FRAME, mix=True)
    held = {used: sorted(slots[i].members for i in chosen) for used, chosen in choices.items()}
    # The fourth does not sound, so leaving it out changes nothing.
    assert held == {(0, 1, 2): [(0, 1), (2,)], (0, 2): [(0,), (2,)], (): []}
    assert len(slots) == 3
    slots, choices = plan_slots(events, sets, FRAME, mix=False)
    assert [slots[i].members for i in choices[0, 1, 2]] == [(0,), (1,), (2,)]


@pytest.fixture(scope="module")
def mini():
    return load_model("mini")


def test_the_network_renders_two_sounds_at_once(mini):
    given = (("guitar", "someone plays guitar", 0.2), ("crow", "a crow caws", 0.5))
    references = [
        load_reference(EXAMPLES / f"{name}.flac", caption, starts=[start])
        for name, caption, start in given
    ]
    conditioning = mini.condition("someone plays guitar while a crow caws", references)
    arrangement = mini.arrange(conditioning, 2.56)
    mel = mini.decode(mini.sample(conditioning, arrangement, [0]))[0, 0]
    placed = zip(references, arrangement.timeline)
    events = [event for r, places in placed for event in render_events(r, places)]
    wanted = mini.log_mel(network_mix(events, round(2.56 * 16_000), 16_000)[None])[0, 0]
    both = slice(50, 90)
    assert (mel[both] - wanted[both]).abs().mean() < 0.4
