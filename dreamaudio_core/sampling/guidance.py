"""Classifier-free guidance by prompt and references, as a linear combination of evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Sequence

from ..errors import InputError

MAX_SCALE = 30.0


@dataclass(frozen=True)
class Guidance:
    """Guidance scales.

    Parameters
    ----------
    text
        Scale of the prompt (paper: 2.0 for prompt and references together); 1 is no guidance.
    references
        Scale of the references; `None` takes the scale of the prompt, which is the paper's joint
        guidance.
    """

    text: float = 2.0
    references: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("guidance", self.text), ("reference guidance", self.references)):
            if value is not None and not 0.0 <= value <= MAX_SCALE:
                raise InputError(
                    f"{name}: expected a number from 0 to {MAX_SCALE:g}, found {value}; 1 to 3 is "
                    "usual"
                )

    @property
    def reference_scale(self) -> float:
        """Effective scale of the references."""
        return self.text if self.references is None else self.references


class Branch(NamedTuple):
    """One network evaluation: with the prompt or the negative one, these references, this
    weight.
    """

    with_prompt: bool
    references: tuple[int, ...]
    weight: float


def branches(guidance: Guidance, strengths: Sequence[float]) -> list[Branch]:
    """Linear combination of network evaluations that guidance stands for.

    With v(c, S) the velocity under prompt c (or the negative prompt, n) and the references S of all
    references A, strength s_k of reference k:

        v = v(n, {}) + w_c (v(c, {}) - v(n, {})) + w_r (v(c, A) - v(c, {}))
            + sum_k (s_k - 1) (v(c, A) - v(c, A \\ k))

    so a strength of 1 adds nothing, and equal scales give the paper's joint guidance with two
    evaluations.

    Returns
    -------
    list of Branch
        Only evaluations of non-zero weight; the full one, `(True, all, w)`, comes first.
    """
    everything = tuple(k for k, s in enumerate(strengths) if s != 0.0)
    text, reference = guidance.text, guidance.reference_scale
    extra = [(k, strengths[k] - 1.0) for k in everything if strengths[k] != 1.0]
    weights: dict[tuple[bool, tuple[int, ...]], float] = {
        (True, everything): reference + sum(s for _, s in extra)
    }

    def add(prompt: bool, references: tuple[int, ...], weight: float) -> None:
        weights[(prompt, references)] = weights.get((prompt, references), 0.0) + weight

    # Equal scales cancel this branch, and a scale of 1 the next: only what counts is evaluated.
    add(True, (), text - reference)
    add(False, (), 1.0 - text)
    for k, scale in extra:
        add(True, tuple(j for j in everything if j != k), -scale)
    full = (True, everything)
    rows = [Branch(*full, weights.pop(full))]
    return rows + [Branch(*key, weight) for key, weight in weights.items() if weight != 0.0]


def reference_sets(strengths: Sequence[float]) -> list[tuple[int, ...]]:
    """Every set of references that a branch of `branches` has, whatever the guidance."""
    everything = tuple(k for k, s in enumerate(strengths) if s != 0.0)
    fewer = [tuple(j for j in everything if j != k) for k in everything if strengths[k] != 1.0]
    return list(dict.fromkeys([everything, (), *fewer]))
