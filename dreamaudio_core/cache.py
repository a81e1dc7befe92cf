"""A bounded cache that its owner hands to the pipeline; the core keeps no other state between
calls.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Callable, Hashable

import torch


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (list, tuple)):
        return sum(_bytes(v) for v in value)
    return 64


class Cache:
    """Least-recently-used store of encoded texts and references.

    Parameters
    ----------
    max_bytes
        Tensor bytes kept at most; the oldest entries go first.
    """

    def __init__(self, max_bytes: int = 256 * 2**20):
        self.max_bytes = max_bytes
        self.bytes = 0
        self._items: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get_or(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """The value of `key`, computed and stored if it is not there."""
        if key in self._items:
            self._items.move_to_end(key)
            return self._items[key][0]
        value = compute()
        size = _bytes(value)
        if size <= self.max_bytes:
            self._items[key] = (value, size)
            self.bytes += size
            while self.bytes > self.max_bytes:
                self.bytes -= self._items.popitem(last=False)[1][1]
        return value

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()
        self.bytes = 0
