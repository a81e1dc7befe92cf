"""How well an arranger reads prompts: on compositions, whose timelines are known, and on prompts
written by hand, of which the order of the events is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ..data.arranger_items import Item, TextFeatures, is_complete
from ..networks.arranger import Arranger, predict
from ..networks.arranger_timeline import decode_timeline, nothing_missing
from ..scene.scenes import Scene
from ..scene.timeline import Placement
from .timelines import lengths

# Seconds within which a start or a duration counts as right.
START_WITHIN, DURATION_WITHIN = 0.5, 0.25

Timeline = list[tuple[Placement, ...]]


@dataclass
class Reading:
    """The arranger's answers for one prompt: a timeline, and whether the references are everything
    that it asks for.
    """

    timeline: Timeline
    complete: bool


class Reader:
    """Reads prompts with an arranger.

    Parameters
    ----------
    arranger
        The network, in evaluation mode.
    features
        Token features of all texts.
    grid
        Starts are whole multiples of this, in seconds.
    """

    def __init__(self, arranger: Arranger, features: TextFeatures, grid: float):
        self.arranger, self.features, self.grid = arranger, features, grid

    def __call__(
        self, prompt: str, captions: list[str], lengths: list[float], seconds: float
    ) -> Reading:
        if not captions:
            return Reading([], False)
        device = next(self.arranger.parameters()).device
        tokens, mask = (x[0].to(device) for x in self.features.pad([prompt]))
        words, words_mask = (x.to(device) for x in self.features.pad(captions))
        out = predict(self.arranger, tokens, mask, words, words_mask, lengths, seconds)
        return Reading(decode_timeline(out, lengths, seconds, self.grid), nothing_missing(out))

    def read(self, item: Item, events: list[Item]) -> Reading:
        """Reading of a composition's prompt with `events` as references."""
        captions, lengths = [e["text"] for e in events], [e["seconds"] for e in events]
        return self(item["prompt"], captions, lengths, item["seconds"])


def percent(values: list[bool]) -> float:
    """Share of true values in percent."""
    return round(100 * sum(values) / max(1, len(values)), 1)


@dataclass
class _Votes:
    order: list[bool] = field(default_factory=list)
    start: list[bool] = field(default_factory=list)
    start_each: list[bool] = field(default_factory=list)
    start_any: list[bool] = field(default_factory=list)
    asked: list[bool] = field(default_factory=list)
    count: list[bool] = field(default_factory=list)
    duration: list[bool] = field(default_factory=list)
    complete: list[bool] = field(default_factory=list)
    incomplete: list[bool] = field(default_factory=list)


@torch.inference_mode()
def measure_compositions(
    arranger: Arranger, features: TextFeatures, items: list[Item], grid: float
) -> dict[str, float]:
    """Shares in percent over compositions.

    Returns
    -------
    dict[str, float]
        `order`: all pairs of events that do not overlap are in the right order, in items with such
        a pair. `start`: all starts of a sequence whose events all have references are within 0.5 s;
        `start_each` and `start_any`: single starts of these and of all items. `asked`, `count`,
        `duration`: over references. `complete`: the answer whether the references are everything
        that is asked for is right; `incomplete`: the same after one of them was taken away.
        `all_starts_KIND`: all starts, by kind of composition.
    """
    reader, votes = Reader(arranger, features, grid), _Votes()
    kinds: dict[str, list[bool]] = {}
    for item in items:
        events = [event for event in item["events"] if event["has_reference"]]
        if not events:
            continue
        reading = reader.read(item, events)
        votes.complete.append(reading.complete == is_complete(item, events))
        gone = next((k for k, event in enumerate(events) if event["asked"]), None)
        if len(events) > 1 and gone is not None:
            rest = events[:gone] + events[gone + 1 :]
            votes.incomplete.append(not reader.read(item, rest).complete)
        votes.asked += [bool(p) == e["asked"] for e, p in zip(events, reading.timeline)]
        wanted = [(e, p) for e, p in zip(events, reading.timeline) if e["asked"]]
        near = [vote for event, places in wanted for vote in _starts(event, places, votes)]
        ordered = _ordered(wanted, grid / 2)
        if ordered:
            votes.order.append(all(ordered))
        if near:
            votes.start_any += near
            kinds.setdefault(item["kind"], []).append(all(near))
            if _is_whole_sequence(item):
                votes.start.append(all(near))
                votes.start_each += near
    found = {name: percent(values) for name, values in vars(votes).items()}
    by_kind = {f"all_starts_{kind}": percent(values) for kind, values in sorted(kinds.items())}
    return found | by_kind


def _starts(event: Item, places: tuple[Placement, ...], votes: _Votes) -> list[bool]:
    """Whether each start of an event is right; votes on its number and durations."""
    votes.count.append(len(places) == len(event["places"]))
    pairs = list(zip(places, event["places"]))
    votes.duration += [abs(p.duration - true[1]) <= DURATION_WITHIN for p, true in pairs]
    if not places:
        return [False]
    return [votes.count[-1] and abs(p.start - true[0]) <= START_WITHIN for p, true in pairs]


def _ordered(wanted: list[tuple[Item, tuple[Placement, ...]]], tolerance: float) -> list[bool]:
    """For each pair of events of which one ends before the other starts, whether it is so."""
    pairs = []
    for event, places in wanted:
        for other, others in wanted:
            if event["background"] or other["background"]:
                continue
            start, duration, _ = event["places"][0]
            if start + duration <= other["places"][0][0] + tolerance:
                pairs.append(bool(places and others) and places[0].start < others[0].start)
    return pairs


def _is_whole_sequence(item: Item) -> bool:
    """Whether an item is a sequence of events that all have references."""
    asked = [event for event in item["events"] if event["asked"]]
    referenced = all(event["has_reference"] for event in asked)
    return item["kind"] == "sequence" and len(asked) > 1 and referenced


def prompt_texts(scenes: list[Scene]) -> list[str]:
    """Prompts and captions of scenes, each once."""
    texts = [scene.prompt for scene in scenes]
    texts += [reference.caption for scene in scenes for reference in scene.references]
    return list(dict.fromkeys(texts))


@torch.inference_mode()
def measure_prompts(
    arranger: Arranger, features: TextFeatures, scenes: list[Scene], grid: float
) -> dict[str, float | list[str]]:
    """Shares in percent over prompts written by hand.

    Parameters
    ----------
    scenes
        Of `timelines.read_prompts`; what they expect are `counts` (0 where a reference is not asked
        for), `order` and `overlap`.

    Returns
    -------
    dict[str, float | list[str]]
        `order`: all pairs are in the right order; `asked`: over references; `together`: events that
        are to overlap do; `whole`: everything of a prompt is right; `complete`: it is
        known that the references are all that is asked for, and `incomplete`: that they are not,
        after any one of them was taken away. `wrong` lists the prompts that are not `whole`, with
        the timeline found.
    """
    reader = Reader(arranger, features, grid)
    votes: dict[str, list[bool]] = {
        name: [] for name in ("order", "asked", "together", "whole", "complete", "incomplete")
    }
    wrong = []
    for scene in scenes:
        captions, seconds = [r.caption for r in scene.references], scene.seconds or 0.0
        expected, durations = scene.expected or {}, lengths(scene)
        wanted = [count != 0 for count in expected.get("counts", [None] * len(captions))]
        reading = reader(scene.prompt, captions, durations, seconds)
        votes["complete"].append(reading.complete)
        for k in range(len(captions)):
            if wanted[k] and len(captions) > 1:
                fewer = captions[:k] + captions[k + 1 :], durations[:k] + durations[k + 1 :]
                votes["incomplete"].append(not reader(scene.prompt, *fewer, seconds).complete)
        asked = [bool(places) == want for places, want in zip(reading.timeline, wanted)]

        def pairs(name: str) -> list[Timeline]:
            return [[reading.timeline[k - 1] for k in pair] for pair in expected.get(name, [])]

        order = [bool(a and b) and a[0].start < b[0].start for a, b in pairs("order")]
        votes["together"] += [bool(a and b) and _overlap(a[0], b[0]) for a, b in pairs("overlap")]
        votes["asked"] += asked
        if order:
            votes["order"].append(all(order))
        votes["whole"].append(all(asked) and all(order))
        if not votes["whole"][-1]:
            wrong.append(f"{scene.prompt}: {_shown(captions, reading.timeline)}")
    return {**{name: percent(values) for name, values in votes.items()}, "wrong": wrong}


def _overlap(a: Placement, b: Placement) -> bool:
    return a.start < b.start + b.duration and b.start < a.start + a.duration


def _shown(captions: list[str], timeline: Timeline) -> str:
    return "; ".join(
        f"{caption} {', '.join(f'{p.start:.2f}+{p.duration:.2f}' for p in places) or '-'}"
        for caption, places in zip(captions, timeline)
    )
