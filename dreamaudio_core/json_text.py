"""Reading JSON that comes from elsewhere."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 100
"""Brackets within brackets; no file of ours has more than ten."""


def parse_json(text: str | bytes) -> Any:
    """Value of a JSON text.

    Raises
    ------
    ValueError
        If it is no JSON, has a number of thousands of digits, or is nested deeper than
        `MAX_DEPTH`.
    """
    try:
        value = json.loads(text)
    # Nothing but brackets exhausts the parser's stack.
    except RecursionError:
        raise _too_deep() from None
    brackets = (b"[", b"{") if isinstance(text, bytes) else ("[", "{")
    if sum(map(text.count, brackets)) > MAX_DEPTH:  # type: ignore[arg-type]
        check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Refuse lists and objects within each other that whoever walks through them could not.

    Raises
    ------
    ValueError
        If they are nested deeper than `MAX_DEPTH`.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> ValueError:
    return ValueError(f"nested deeper than {MAX_DEPTH} levels")
