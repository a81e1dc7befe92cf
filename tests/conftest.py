"""What holds for all tests."""

from __future__ import annotations

import os

import pytest


def pytest_addoption(parser):
    """`--slow N`: see slow.py."""
    parser.addoption("--slow", type=float, default=1.0, help="servers and browsers N times slower")


def pytest_configure(config):
    """Tell the processes of a parallel run, too."""
    if config.getoption("--slow") > 1:
        os.environ["DREAMAUDIO_TEST_SLOW"] = str(config.getoption("--slow"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `pytest -n N` a file stays in one process, as its fixtures are costly, and so do the
    folders that share a server.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            shared = [name for name in ("comfyui", "browser") if f"/{name}/" in f"/{path}"]
            return shared[0] if shared else path

    return ByFile(config, log)
