"""A new reading of the prompt leaves pinned placements where they are."""

from dreamaudio_core.scene.pinned import keep_pinned
from dreamaudio_core.scene.timeline import ArrangedReference, Arrangement, Placement


def arrangement(*references):
    return Arrangement(10.0, tuple(ArrangedReference("x", *r) for r in references))


def starts(found, k=0):
    return [p.start for p in found.references[k].placements]


def test_a_pinned_placement_takes_the_nearest_part():
    reading = arrangement((True, (Placement(0, 1), Placement(4, 1), Placement(8, 1))))
    given = arrangement((True, (Placement(1, 1), Placement(5, 0.5, -6.0, pinned=True))))
    found = keep_pinned(reading, given)
    assert starts(found) == [0, 5, 8]
    assert found.references[0].placements[1] == Placement(5, 0.5, -6.0, pinned=True)


def test_what_is_pinned_beyond_the_reading_stays():
    given = arrangement((True, (Placement(2, 1, pinned=True), Placement(6, 1, pinned=True))))
    assert starts(keep_pinned(arrangement((True, (Placement(0, 1),))), given)) == [2, 6]
    assert starts(keep_pinned(arrangement((False, ())), given)) == [2, 6]


def test_muted_stays_muted_and_new_references_are_read():
    reading = arrangement((True, (Placement(0, 1),)), (True, (Placement(3, 1),)))
    found = keep_pinned(reading, arrangement((False, (Placement(1, 1),))))
    assert not found.references[0].used and starts(found) == [0]
    assert found.references[1] == reading.references[1]
