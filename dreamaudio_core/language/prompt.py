"""The reader: what a prompt states about each of its sounds.

A prompt is cut into parts at punctuation and connectives, each part is matched to a caption
(`parts`), and cues (numbers, times, intervals, order) are given to the part that they stand with
(`event_builder`).
"""

from __future__ import annotations

from collections.abc import Sequence

from .ellipsis import fill_in
from .event_builder import EventBuilder
from .mentions import Matcher, Similarity, caption_from_name
from .parts import PromptParts
from .reading import Reading

_LEFT_OVER = 0.14


def _groups(captions: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """Different captions with the references of each; an empty one takes its file's name."""
    found: dict[str, list[int]] = {}
    for k, caption in enumerate(captions):
        text = " ".join(caption.split()) or caption_from_name(names[k] if k < len(names) else "")
        found.setdefault(text.lower() or f"\0{k}", []).append(k)
    return ["" if c.startswith("\0") else c for c in found], list(found.values())


def read_prompt(
    prompt: str,
    captions: Sequence[str],
    seconds: float,
    similarity: Similarity,
    names: Sequence[str] = (),
    asked: Sequence[bool] | None = None,
) -> Reading:
    """Read what a prompt states of the sounds of some captions.

    Parameters
    ----------
    prompt
        English text; of others the order of clauses, figures and marks count.
    captions
        One a reference; an empty one is filled from its file's name.
    seconds
        Length of the target.
    similarity
        Cosines of texts by the caller's encoder, [len(a), len(b)].
    names
        File names of the references.
    asked
        Whether the network takes each reference to be asked for; where it does not, a part that
        names no reference clearly is not taken for it.
    """
    groups, members = _groups(captions, names)
    matcher = Matcher(groups, similarity)
    wanted = [asked is None or any(asked[k] for k in m) for m in members]
    reader = PromptParts(prompt, matcher, seconds, wanted)
    reader.label()
    reader.denied()
    language = reader.language
    _share_out(reader, groups, wanted, language is not None)
    reading = Reading(groups, members, [], set(), [], [], seconds)
    if language is not None:
        named = "is in" if " " in language else "seems to be"
        reading.warnings.append(
            f"the prompt {named} {language}: only the order of its clauses, figures and marks were "
            "read; write prompt and captions in English"
        )
    fill_in(reader)
    EventBuilder(reader, reading).build()
    reading.terse = reader.is_terse()
    used = {e.group for e in reading.events}
    reading.denied = {
        p.group for p in reader.parts if p.denied and p.group is not None and p.group not in used
    }
    reading.leftover = [k for k in range(len(groups)) if k not in used and k not in reading.denied]
    return reading


def _share_out(
    reader: PromptParts, groups: Sequence[str], wanted: Sequence[bool], foreign: bool
) -> None:
    """Give references that no part names the parts that fit them best, nameless ones the rest, and
    to a foreign prompt's parts the references in their order.
    """
    positive = [p for p in reader.parts if not p.denied]
    taken = {p.group for p in reader.parts if p.group is not None}
    rows = {id(p): row for p, row in zip(reader.parts, reader.rows)}
    for k in (k for k in range(len(groups)) if k not in taken and groups[k] and wanted[k]):
        best, value = None, 0.0
        for part in positive:
            if not part.words:
                continue
            score, lexical, _ = rows[id(part)][k]
            if part.group is not None:
                rival = rows[id(part)][part.group][0]
                others = sum(p.group == part.group for p in positive)
                # A part that another reference can spare.
                if others < 2 or score < 0.6 * rival or lexical < 0.2:
                    continue
            if score > value:
                best, value = part, score
        if best is not None and value >= _LEFT_OVER:
            best.group, best.score = k, value
            taken.add(k)
    nameless = [k for k in range(len(groups)) if k not in taken]
    free = [p for p in positive if p.group is None and p.words]
    foreign = foreign or not any(p.group is not None for p in positive)
    if nameless and free and (foreign or all(not groups[k] for k in nameless)):
        if len(free) >= len(nameless):
            for k, part in zip(nameless, free):
                part.group, part.score = k, _LEFT_OVER
