"""What a search compares: the vectors of all sounds, read once for each state of a library. All are
compared coarsely, and those that may be the best exactly.

A search of a million vectors spends its time on reading them. As codes of eight bits they are a
quarter as long. How far off such a cosine may be is known, so it is known too which vectors could
be among the best; only these are compared in full, and the result is that of a full comparison.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

_MANY = 20_000
"""Fewer vectors are compared in full in no time."""
_ROWS = 4096
"""Rows whose codes stay in the cache while they are compared with several queries."""
_ROUNDING = 1e-5


def has_fast_codes() -> bool:
    """Whether products of eight-bit numbers are faster here than those of floats."""
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch, "_int_mm")
    )


class Codes:
    """Vectors as whole numbers from -127 to 127, with a scale each.

    Parameters
    ----------
    vectors : Tensor
        [N, D], finite, of any floating-point type.

    Attributes
    ----------
    values, scales : Tensor
        [N, D], int8, and [N], float32.
    remainder : float
        Length of the longest difference between a vector and what its code stands for.
    """

    def __init__(self, vectors: Tensor):
        self.values = torch.empty(vectors.shape, dtype=torch.int8)
        self.scales = torch.empty(len(vectors))
        self.remainder = 0.0
        for first in range(0, len(vectors), _ROWS):
            rows = slice(first, first + _ROWS)
            part = vectors[rows].float()
            scales = (part.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
            part = part / scales[:, None]
            rounded = part.round()
            self.values[rows], self.scales[rows] = rounded.to(torch.int8), scales
            off = float(((part - rounded).square().sum(1).sqrt() * scales).max())
            self.remainder = max(self.remainder, off)

    def cosines(self, queries: Codes) -> Tensor:
        """Products [E, N] with the vectors of queries."""
        columns = [row[:, None].contiguous() for row in queries.values]
        out = torch.empty(len(columns), len(self.values))
        for first in range(0, len(self.values), _ROWS):
            rows = slice(first, first + _ROWS)
            part, scales = self.values[rows], self.scales[rows]
            for row, column, scale in zip(out, columns, queries.scales):
                # One query at a time: reading the codes once more from the cache costs less than
                # a product with few columns does.
                product = torch._int_mm(part, column)[:, 0].float()
                torch.mul(product, scales * scale, out=row[rows])
        return out


class Ranking:
    """Indices and cosines of vectors, the nearest first, equal ones in their own order.

    They are worked out in growing portions, only as far as they are asked for.

    Parameters
    ----------
    query : Tensor
        Unit vector [D].
    vectors : Tensor
        [N, D].
    coarse : Tensor
        Cosines [N], each off by `error` at most.
    """

    def __init__(self, query: Tensor, vectors: Tensor, coarse: Tensor, error: float):
        self._query, self._vectors, self._coarse, self._error = query, vectors, coarse, error

    def __iter__(self) -> Iterator[tuple[int, float]]:
        given: set[int] = set()
        size, total = 32, len(self._coarse)
        while len(given) < total:
            size = min(size, total)
            # As many cosines are at least `least`; what is coarsely a little smaller may be.
            least = float(self._coarse.topk(size).values[-1]) - self._error
            if size == total:
                least = -np.inf
            found = (self._coarse >= least - self._error).nonzero()[:, 0]
            exact = (self._vectors[found].float() @ self._query).numpy()
            order = np.lexsort((found.numpy(), -exact))
            for index, cosine in zip(found[order].tolist(), exact[order].tolist()):
                if cosine >= least and index not in given:
                    given.add(index)
                    yield index, cosine
            size *= 8


class Vectors:
    """Vectors of one revision of a library.

    Parameters
    ----------
    revision : str
        Of the library.
    ids : np.ndarray
        Rows [N] of the sounds in the library's file.
    vectors : np.ndarray
        Their unit vectors [N, D], finite, float32 or float16.
    coded : bool, optional
        Whether codes are compared first; by default where that is faster.
    """

    def __init__(
        self, revision: str, ids: np.ndarray, vectors: np.ndarray, coded: bool | None = None
    ):
        self.revision, self.ids = revision, ids
        coded = len(vectors) >= _MANY and has_fast_codes() if coded is None else coded
        self._vectors = torch.from_numpy(vectors)
        self._codes = Codes(self._vectors) if coded else None
        if not coded:
            # Products in half precision are slow and coarse.
            self._vectors = self._vectors.float()

    def rankings(self, queries: np.ndarray) -> list[Ranking]:
        """Ranking of all sounds for each of the queries [E, D], which are unit vectors."""
        wanted = torch.from_numpy(np.ascontiguousarray(queries, dtype=np.float32))
        if self._codes is None:
            coarse, error = (self._vectors @ wanted.T).T.contiguous(), _ROUNDING
        else:
            codes = Codes(wanted)
            ours, theirs = self._codes.remainder, codes.remainder
            coarse = self._codes.cosines(codes)
            # |q x - q' x'| <= |q| |x - x'| + |q - q'| |x'|, where |x'| <= |x| + |x - x'|.
            error = ours + theirs * (1.0 + ours) + _ROUNDING
        return [Ranking(q, self._vectors, row, error) for q, row in zip(wanted, coarse)]
