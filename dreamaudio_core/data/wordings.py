"""Other texts for the sounds of compositions: paraphrases, captions of similar sounds, and sounds
that are clearly different.
"""

from __future__ import annotations

import numpy as np

from .arranger_items import Item, TextFeatures

# Cosine similarities of mean token features.
SIMILAR = 0.5
DIFFERENT = 0.45
MARGIN = 0.1


class Wordings:
    """Texts of each caption of some items, and captions of other sounds that mean almost the same.

    A prompt and a reference's caption need not agree as closely as two phrasings of one sentence
    do, so captions of similar sounds stand in for an event's own.

    Parameters
    ----------
    items
        The items.
    features
        Token features of their texts.
    kinds
        Kind of each label of the bank; labels that it does not have are speech.
    """

    def __init__(self, items: list[Item], features: TextFeatures, kinds: dict[str, str]):
        self.texts: dict[str, list[str]] = {}
        spoken = {}
        for item in items:
            for event in item["events"]:
                self.texts.setdefault(event["caption"], []).append(event["text"])
                spoken[event["caption"]] = kinds.get(event["label"], "speech") == "speech"
        self.captions = list(self.texts)
        self.row = {caption: row for row, caption in enumerate(self.captions)}
        self.spoken = np.array([spoken[caption] for caption in self.captions])
        means = np.stack(
            [features[self.texts[c][0]].astype(np.float32).mean(0) for c in self.captions]
        )
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        self.alike = means @ means.T

    def similar(self, caption: str, others: list[str], rng: np.random.Generator) -> str | None:
        """A text of one of the six nearest other captions that is clearly nearer to `caption` than
        to `others`; None for speech, whose captions differ by their words alone.
        """
        row = self.row[caption]
        if self.spoken[row]:
            return None
        near = [j for j in np.argsort(-self.alike[row])[:7] if j != row]
        near = [j for j in near if self.alike[row, j] > SIMILAR and not self.spoken[j]]
        rivals = [self.row[other] for other in others if other != caption]
        near = [
            j
            for j in near
            if all(self.alike[j, rival] < self.alike[j, row] - MARGIN for rival in rivals)
        ]
        return self.draw(self.captions[near[rng.integers(len(near))]], rng) if near else None

    def draw(self, caption: str, rng: np.random.Generator) -> str:
        """One of the texts of a caption."""
        return self.texts[caption][rng.integers(len(self.texts[caption]))]

    def differs(self, caption: str, others: list[str]) -> bool:
        """Whether a sound is unlike all of `others`; two utterances differ by their words."""
        row = self.row[caption]
        return caption not in others and all(
            self.alike[row, self.row[other]] < DIFFERENT
            or (self.spoken[row] and self.spoken[self.row[other]])
            for other in others
        )


def with_similar_captions(
    items: list[Item], features: TextFeatures, kinds: dict[str, str]
) -> list[Item]:
    """The items with references that fit only roughly: captioned as a similar sound wherever there
    is one.
    """
    wordings, rng = Wordings(items, features, kinds), np.random.default_rng(4)
    changed = []
    for item in items:
        captions = [event["caption"] for event in item["events"]]
        events = [
            {**event, "text": wordings.similar(event["caption"], captions, rng) or event["text"]}
            for event in item["events"]
        ]
        changed.append({**item, "events": events})
    return changed
