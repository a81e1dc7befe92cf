"""The composer: training items with timelines, from a bank and a configuration."""

from __future__ import annotations

import numpy as np

from ...audio.edit import loudest_stretch
from ...errors import InputError
from ...language import wording
from ...scene.timeline import Placement
from ..bank import Bank
from .composition import Composition, Event, ReferenceGroup
from .config import ComposerConfig
from .draw import Draw, Part, Pools
from .layouts import LAYOUTS
from .render import mix


class Composer:
    """Composes items: references, a target mixed from them, and a prompt that says how.

    An item is a function of (seed, index) alone, so every worker and machine composes the same.

    Parameters
    ----------
    bank
        Events (speech among them) and backgrounds; only entries of `split` are used.
    config
        What is drawn.
    split
        `"train"`, `"test"` or None for all.

    Raises
    ------
    InputError
        If a kind is unknown, there are fewer than six usable events with different captions, or no
        background.
    """

    def __init__(
        self, bank: Bank, config: ComposerConfig | None = None, split: str | None = "train"
    ):
        self.bank, self.config = bank, config or ComposerConfig()
        unknown = sorted(set(self.config.kinds) - set(LAYOUTS))
        if unknown:
            raise InputError(
                f"kinds: {unknown[0]!r} is not a kind of composition; choose from "
                f"{', '.join(LAYOUTS)}"
            )
        self._pools = Pools(bank, self.config, split)

    def item(self, seed: int, index: int) -> Composition:
        """Item `index` of the stream that `seed` names."""
        config, rng = self.config, np.random.default_rng((seed, index))
        short = rng.random() < config.short_probability
        seconds = config.short_seconds if short else config.seconds
        names, weights = list(config.kinds), np.array(list(config.kinds.values()))
        kind = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        while True:
            draw = Draw(self._pools, config, rng, seconds)
            parts, text = LAYOUTS[kind](draw)
            if len(text.split()) <= config.max_words:
                break
        extra = self._distractors(draw)
        if extra and draw.happens(config.denial):
            text = wording.deny_text(rng, text, wording.draw_phrase(rng, extra[0].caption))
        prompt = wording.finish(rng, text)
        events = [self._event(draw, part, prompt) for part in (*parts, *extra)]
        target, events = mix(events, seconds, self.bank.sample_rate)
        events = [events[i] for i in rng.permutation(len(events))]
        groups = tuple(ReferenceGroup((event,)) for event in events if event.has_reference)
        return Composition(prompt, seconds, target, tuple(events), groups, kind)

    def _distractors(self, draw: Draw) -> list[Part]:
        """Parts that the prompt does not ask for."""
        if not draw.happens(self.config.distractor):
            return []
        return [
            draw.base() if draw.happens(draw.chances.distractor_base) else draw.part()
            for _ in range(draw.count((1.0, 1.0)))
        ]

    def _event(self, draw: Draw, part: Part, prompt: str) -> Event:
        rng, asked = draw.rng, part.phrase is not None
        phrase = part.phrase or wording.draw_phrase(rng, part.caption)
        forms = (phrase.clause, phrase.noun, phrase.perfect, phrase.plain)
        words = next((form for form in forms if form.lower() in prompt.lower()), phrase.plain)
        return Event(
            index=part.index,
            label=part.label,
            caption=part.caption,
            reference=part.sound,
            reference_caption=wording.draw_reference_caption(rng, phrase, prompt),
            phrase=words if asked else None,
            placements=self._placements(part),
            background=part.background,
            has_reference=not asked or not draw.happens(self.config.unreferenced),
        )

    def _placements(self, part: Part) -> tuple[Placement, ...]:
        rate, placements = self.bank.sample_rate, []
        for start, duration in sorted(part.places):
            length = round(duration * rate)
            offset = loudest_stretch(part.sound, length) / rate  # 0 where it is used whole.
            placements.append(Placement(start, duration, part.level, offset))
        return tuple(placements)
