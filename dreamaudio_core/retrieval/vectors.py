"""What a search compares: the vectors of all sounds, read once for each state of a library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Vectors:
    """Vectors of one revision of a library.

    Parameters
    ----------
    revision : str
        Of the library.
    ids : np.ndarray
        Rows [N] of the sounds in the library's file.
    vectors : np.ndarray
        Their unit vectors [N, D], float32.
    """

    revision: str
    ids: np.ndarray
    vectors: np.ndarray

    def similarities(self, queries: np.ndarray) -> np.ndarray:
        """Cosines [queries, N] of unit vectors [queries, D] with all sounds."""
        found = self.vectors @ np.ascontiguousarray(queries.T, dtype=np.float32)
        return np.ascontiguousarray(found.T)
