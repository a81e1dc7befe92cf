"""Equality of results that were computed twice.

The order in which threads add up depends on the processor and on what else it does: results of
one computation agree to rounding, not to the bit, and an optimizer's steps enlarge the rest.
"""

import numpy as np
from torch import Tensor

ROUNDING = 1e-2
"""Largest difference, relative to the largest value of a tensor, after a few optimizer steps; a
run that continued with other batches, noise or moments differs by more than ten times that.
"""


def same_sound(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two sounds read from 16-bit files agree to the rounding of samples."""
    return one.shape == two.shape and float(np.abs(one - two).max()) <= 4 / 32767


def same_state(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    """Whether two states have the same keys, shapes and, but for rounding, values."""
    return one.keys() == two.keys() and all(_close(one[key], two[key]) for key in one)


def _close(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    one, two = one.double(), two.double()
    difference, largest = (one - two).abs(), two.abs()
    return not one.numel() or float(difference.max()) <= ROUNDING * float(largest.max())
