"""The stages that read texts: encoding them, and deciding where each reference sounds.

They need two small parts of a model, so that a timeline is at hand long before the rest is loaded.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .arranging import Tokens, arrange_references, check_missing
from .config import ModelConfig
from .errors import InputError
from .language.events import split_events
from .language.mentions import Similarity
from .networks.arranger import Arranger
from .networks.fusion import fusion_of
from .networks.text_encoder import TextEncoder
from .scene.reference import Reference, load_reference
from .scene.starter import fitting_sounds
from .scene.timeline import MISSING_CHOICES, ArrangedReference, Arrangement

log = logging.getLogger(__name__)
SECONDS_RANGE = (0.3, 120.0)


@dataclass
class Conditioning:
    """Encoded texts and the references that they belong to.

    Parameters
    ----------
    prompt, references
        As given.
    prompt_tokens, negative_tokens
        C of the paper for the prompt and for the negative prompt, [n L, D]: n windows of L tokens,
        one for most texts.
    empty_tokens
        C for no text, [L, D].
    caption_tokens
        E of the paper, [K, L, D].
    warnings
        What was not used of the captions, one sentence each.
    """

    prompt: str
    references: tuple[Reference, ...]
    prompt_tokens: Tokens
    negative_tokens: Tokens
    empty_tokens: Tokens
    caption_tokens: Tokens
    warnings: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> Conditioning:
        """The same with its tensors on `device`."""

        def moved(tokens: Tokens) -> Tokens:
            return Tokens(*(x.to(device) for x in tokens))

        return Conditioning(
            self.prompt,
            self.references,
            moved(self.prompt_tokens),
            moved(self.negative_tokens),
            moved(self.empty_tokens),
            moved(self.caption_tokens),
            self.warnings,
        )

    def joined_captions(self, members: Sequence[Sequence[int]]) -> Tokens:
        """Tokens [S + 1, L, D] of the captions of several references one after the other, for each
        of S sets; the empty text for an empty set, and last of all.
        """
        rows = []
        for numbers in (*members, ()):
            given = [Tokens(*(x[k] for x in self.caption_tokens)) for k in numbers]
            if len(given) > 1:
                # Without the padding in between.
                given = [Tokens(t.features[t.mask], t.mask[t.mask]) for t in given]
            rows.append(Tokens(*map(torch.cat, zip(*(given or [self.empty_tokens])))))
        longest = max(len(row.mask) for row in rows)
        padded = [pad_tokens(row, longest) for row in rows]
        return Tokens(*map(torch.stack, zip(*padded)))


def pad_tokens(tokens: Tokens, length: int) -> Tokens:
    """Tokens [L, D] padded with masked zeros to [length, D]."""
    more = length - len(tokens.mask)
    return Tokens(F.pad(tokens.features, (0, 0, 0, more)), F.pad(tokens.mask, (0, more)))


@dataclass
class TextStages:
    """The parts of a model that read texts, with a method for each of their stages.

    Parameters
    ----------
    config
        Sizes, objective and recommended sampling.
    text_encoder, arranger
        The parts; without an arranger only the rules of `language` read the prompt.
    device
        Where the stages compute; parts are expected there.
    """

    config: ModelConfig
    text_encoder: TextEncoder
    arranger: Arranger | None = None
    device: torch.device | str = "cpu"

    @property
    def max_references(self) -> int:
        """How many references one generation takes."""
        return self.config.mrc.max_references

    @torch.inference_mode()
    def condition(
        self, prompt: str, references: Sequence[Reference] = (), negative_prompt: str = ""
    ) -> Conditioning:
        """Encode the prompt and the captions.

        Raises
        ------
        InputError
            If there are more references than the model takes, or one has another sample rate.
        """
        references, rate = tuple(references), self.config.audio.sample_rate
        if len(references) > self.max_references:
            raise InputError(
                f"references: this model takes at most {self.max_references}, found "
                f"{len(references)}; leave out {len(references) - self.max_references}"
            )
        for k, reference in enumerate(references):
            if reference.sample_rate != rate:
                raise InputError(
                    f"reference {k + 1}: prepared at {reference.sample_rate} Hz, the model works "
                    f"at {rate}; prepare it at that rate"
                )
        wanted, unwanted = self._encode_windows([prompt or "", negative_prompt or ""])
        # One text at a time: padding another would change the result in its last digits.
        rows = [
            self.text_encoder.encode([t], self.device)
            for t in ["", *(r.caption for r in references)]
        ]
        features = torch.cat([tokens for tokens, _ in rows])
        mask = torch.cat([mask for _, mask in rows])
        empty, captions = Tokens(features[0], mask[0]), Tokens(features[1:], mask[1:])
        warnings = self._cut_captions(references)
        return Conditioning(prompt or "", references, wanted, unwanted, empty, captions, warnings)

    def _encode_windows(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of texts of any length: their windows one after the other, all padded alike."""
        most, size = 1, self.text_encoder.config.max_tokens
        found = []
        for text in texts:
            rows = [
                self.text_encoder.encode([window], self.device)
                for window in self.text_encoder.windows(text)
            ]
            found.append(Tokens(*(torch.cat(x, dim=1)[0] for x in zip(*rows))))
            most = max(most, len(rows))
        return [pad_tokens(tokens, most * size) for tokens in found]

    def _cut_captions(self, references: Sequence[Reference]) -> tuple[str, ...]:
        warnings = []
        for k, reference in enumerate(references, 1):
            if self.text_encoder.is_cut(reference.caption):
                most = self.text_encoder.config.max_tokens
                warnings.append(
                    f"reference {k}: only the first {most} tokens of its caption are used; shorten "
                    "it"
                )
                log.warning(warnings[-1])
        return tuple(warnings)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [len(texts), D] of texts: their mean token features."""
        return self.text_encoder.embed(texts, self.device)

    def add_library_sounds(
        self, prompt: str, references: Sequence[Reference], missing: str = "auto"
    ) -> tuple[tuple[Reference, ...], str]:
        """Take sounds of the starter library for parts of the prompt that no reference stands for,
        before `condition`.

        Parameters
        ----------
        missing
            One of `scene.timeline.MISSING_CHOICES`.

        Returns
        -------
        tuple
            References, those of the library after the given ones and named after their files; and
            `missing` for `arrange`.
        """
        if missing not in MISSING_CHOICES:
            raise InputError(
                f"missing: expected one of {', '.join(MISSING_CHOICES)}, found {missing!r}"
            )
        given = tuple(references)
        wanted = missing == "library" or (missing == "auto" and self.config.sampling.library)
        room = self.max_references - len(given)
        if not wanted or not (prompt or "").strip() or room <= 0:
            return given, "silence" if missing == "library" else missing
        captions = [r.caption for r in given if r.caption.strip()]
        # A reference without a caption may stand for anything.
        parts = split_events(prompt) if len(captions) == len(given) else []
        fits = fitting_sounds(parts, captions, self.embed)
        added = tuple(load_reference(fit.sound.path, fit.part) for fit in fits[:room])
        return given + added, "silence" if missing == "library" else missing

    def extend(self, conditioning: Conditioning, references: Sequence[Reference]) -> Conditioning:
        """Conditioning with further references after its own, such as those of
        `add_library_sounds`.
        """
        if not references:
            return conditioning
        added = self.condition("", references)
        captions = zip(conditioning.caption_tokens, added.caption_tokens)
        return replace(
            conditioning,
            references=conditioning.references + added.references,
            caption_tokens=Tokens(*(torch.cat([old, new.to(old)]) for old, new in captions)),
            warnings=conditioning.warnings + added.warnings,
        )

    @torch.inference_mode()
    def arrange(
        self,
        conditioning: Conditioning,
        seconds: float | None = None,
        *,
        missing: str = "auto",
        free: bool = False,
    ) -> Arrangement:
        """Decide where each reference sounds; a plain value, to be printed, edited or kept.

        Parameters
        ----------
        seconds
            Length of the target; the model's own by default.
        missing
            What becomes of parts of the prompt that no reference stands for, one of
            `scene.timeline.MISSING`.
        free
            Leave every reference to the network (the paper's mode), whatever the prompt or the
            references' own placements say.
        """
        seconds = self._check_seconds(seconds)
        check_missing(missing)
        references = conditioning.references
        if free or not fusion_of(self.config.mrc).uses_timeline:
            arranged = tuple(
                ArrangedReference(r.caption, r.active, None, "placed by the network")
                for r in references
            )
            ignored = [
                f"reference {k + 1}: its times are not used, because this network places references"
                for k, r in enumerate(references)
                if r.placements is not None and not free
            ]
            if missing == "silence":
                ignored.append(
                    "missing: silence is not kept, because this network places references and "
                    "makes what they lack"
                )
            return Arrangement(seconds, arranged, "generate", tuple(ignored))
        prompt = conditioning.prompt_tokens if conditioning.prompt.strip() else None
        return arrange_references(
            references,
            seconds,
            missing,
            self.config.frame_seconds,
            prompt,
            conditioning.caption_tokens,
            self.arranger,
            conditioning.prompt,
            self._similarity() if prompt is not None else None,
        )

    def _similarity(self) -> Similarity:
        """Cosines of texts by `embed`, each text encoded once."""
        known: dict[str, Tensor] = {}

        def vectors(texts: Sequence[str]) -> Tensor:
            unknown = [t for t in dict.fromkeys(texts) if t not in known]
            if unknown:
                known.update(zip(unknown, self.embed(unknown)))
            return torch.stack([known[t] for t in texts])

        return lambda a, b: (vectors(a) @ vectors(b).T).tolist()

    def _check_seconds(self, seconds: float | None) -> float:
        low, high = SECONDS_RANGE
        seconds = self.config.seconds if seconds is None else float(seconds)
        if not low <= seconds <= high:
            raise InputError(
                f"seconds: expected a length from {low:g} to {high:g}, found {seconds:g}; the "
                f"model was trained on {self.config.seconds:g}"
            )
        return seconds
