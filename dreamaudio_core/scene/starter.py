"""The starter library: sounds of everyday events that ship with the package."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Callable, NamedTuple, Sequence

from torch import Tensor

from ..json_text import parse_json

FOLDER = Path(__file__).parents[1] / "library_sounds"
# Cosine similarities of mean token features. A part of the prompt is covered by a reference whose
# caption comes so near, and a sound of the library fits from the higher one on.
COVERED = 0.5
FITS = 0.66


@dataclass(frozen=True)
class StarterSound:
    """One sound of the library, with what `sounds.json` says of it.

    `package` is the Debian package and its version, `paths` its files in there (`ARCHIVE!MEMBER`
    where they lie in an archive), `license_stated_in` the file of the package that names their
    licence, and `source` the page where the author published the sound. A sound that the library's
    recipe made itself has a source that begins with `synthetic: `, and no package. `also` holds
    other wordings of the caption that prompts use.
    """

    path: Path
    caption: str
    license: str
    author: str
    source: str
    package: str = ""
    paths: tuple[str, ...] = ()
    license_stated_in: str = ""
    also: tuple[str, ...] = ()


class Fit(NamedTuple):
    """A part of a prompt, the sound that fits it, and their similarity."""

    part: str
    sound: StarterSound
    score: float


@lru_cache(maxsize=1)
def starter_sounds() -> tuple[StarterSound, ...]:
    """All sounds of the library, by caption."""
    rows = parse_json((FOLDER / "sounds.json").read_text(encoding="utf-8"))
    for row in rows:
        row["path"] = FOLDER / row.pop("file")
        row.update({name: tuple(row.get(name, ())) for name in ("paths", "also")})
    return tuple(StarterSound(**row) for row in rows)


def fitting_sounds(
    parts: Sequence[str], captions: Sequence[str], embed: Callable[[Sequence[str]], Tensor]
) -> list[Fit]:
    """Sounds for the parts of a prompt that no reference stands for.

    Parameters
    ----------
    parts
        One phrase for each event (`language.events.split_events`).
    captions
        Captions of the references at hand.
    embed
        From texts to unit vectors [len(texts), D].

    Returns
    -------
    list of Fit
        At most one for each part, in the prompt's order; parts without a fitting sound are left
        out.
    """
    if not parts:
        return []
    features = embed(parts)
    open_parts = list(range(len(parts)))
    if captions:
        nearest = (features @ embed(captions).T).amax(1)
        open_parts = [i for i in open_parts if float(nearest[i]) < COVERED]
    if not open_parts:
        return []
    wordings = [(text, s) for s in starter_sounds() for text in (s.caption, *s.also)]
    scores = features[open_parts] @ embed([text for text, _ in wordings]).T
    found = []
    for row, i in zip(scores, open_parts):
        best = int(row.argmax())
        if float(row[best]) >= FITS:
            found.append(Fit(parts[i], wordings[best][1], float(row[best])))
    return found
