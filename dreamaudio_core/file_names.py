"""File names that every system takes, and takes to be the same file."""

from __future__ import annotations

import re

_FORBIDDEN = set('/\\:*?"<>|')
# Devices of Windows, in every folder and with any suffix.
_DEVICE = re.compile(
    r"(con|prn|aux|nul|clock\$|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?", re.IGNORECASE
)


def name_problem(name: str) -> str:
    """Why a name of a file or folder is not usable on every system; empty where it is."""
    if not name:
        return "is empty"
    if not name.isprintable():
        return "has characters that cannot be printed"
    if wrong := sorted(_FORBIDDEN & set(name)):
        return f"has {' '.join(wrong)}"
    if _DEVICE.fullmatch(name):
        return "is the name of a device on Windows"
    if name != name.strip() or name.endswith("."):
        # Windows leaves them off, so that it would be another name there.
        return "begins or ends with a space, or ends with a dot"
    return ""
