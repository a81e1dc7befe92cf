"""Ports for servers of tests."""

from __future__ import annotations

import random
import socket

# Below those that systems give to connections, one of which could take a port meanwhile.
FIRST, LAST = 20_000, 30_000


def free_port() -> int:
    """A port that nobody listens on, and that nobody gets by chance before it is used."""
    # Not the seeded generator, as runs beside one another would take the same.
    chance = random.SystemRandom()
    while True:
        port = chance.randint(FIRST, LAST)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
