"""The rooms of the package: imports lead downwards only, and each thing has one name."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

import dreamaudio_core

ROOT = Path(dreamaudio_core.__file__).parent
ROOMS = (
    ("errors", "files", "file_names", "config", "config_values", "json_text", "progress", "device"),
    ("audio",),
    ("scene",),
    ("language",),
    ("networks",),
    ("sampling",),
    ("rendering",),
    ("weights",),
    ("arranging",),
    ("text_stages",),
    ("sound_stages",),
    ("latent_stages",),
    ("pipeline",),
    ("loading", "codec"),
    ("assembling",),
    ("retrieval",),
    ("data",),
    ("evaluation",),
    ("training",),
    ("batch",),
    ("cli",),
    ("__init__", "__main__"),
)
"""From the bottom up; those of one line do not import each other in a circle."""
# What reads weight files and checks them knows no network, so networks may use it.
BOTTOM = {"weights.checkpoint"}
# One thing seen from two rooms: a network and the reader of its checkpoints, a command and the work
# behind it, what can be set in each room. Of the two `events.py` one should get another name.
SHARED_NAMES = {"__init__.py", "cli.py", "config.py", "options.py", "events.py"}
SHARED_NAMES |= {"bigvgan.py", "convert.py", "info.py"}


def modules() -> dict[str, Path]:
    """Files by module name, relative to the package."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__" and len(parts) > 1:
            parts.pop()
        found[".".join(parts)] = path
    return found


MODULES = modules()


def imports(name: str, runtime_only: bool = False) -> list[tuple[str, int]]:
    """Modules of the package that a module imports, with the line of each.

    Imports for type checkers are left out, and with `runtime_only` those inside functions too.
    """
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    package = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
    if name == "__init__":
        package = []
    found = []
    checked = [
        inner
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    ]
    for node in tree.body if runtime_only else ast.walk(tree):
        if node in checked:
            continue
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package[: len(package) - node.level + 1] + (node.module or "").split(".")
        base = [part for part in base if part]
        for alias in node.names:
            for target in (".".join([*base, alias.name]), ".".join(base)):
                if target in MODULES:
                    found.append((target, node.lineno))
                    break
    return found


def level(name: str) -> int:
    """Height of a module."""
    if name in BOTTOM:
        return 0
    room = name.split(".")[0]
    return next(i for i, rooms in enumerate(ROOMS) if room in rooms)


def test_every_module_has_a_room():
    known = {room for rooms in ROOMS for room in rooms}
    assert {name.split(".")[0] for name in MODULES} <= known


def test_imports_lead_downwards():
    upwards = [
        f"{name}:{line} imports {target}"
        for name in MODULES
        if name != "__init__"
        for target, line in imports(name)
        # `from .. import __version__`
        if target != "__init__" and level(target) > level(name)
    ]
    assert not upwards, "\n".join(upwards)


def test_there_are_no_circles():
    graph = {name: {t for t, _ in imports(name, runtime_only=True)} for name in MODULES}
    state: dict[str, str] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        state[name] = "open"
        for target in graph[name]:
            assert state.get(target) != "open", " -> ".join([*path, name, target])
            if target not in state:
                visit(target, (*path, name))
        state[name] = "done"

    for name in graph:
        if name not in state:
            visit(name, ())


def test_no_two_modules_have_the_same_file_name():
    counts = Counter(path.name for path in MODULES.values())
    assert not {name for name, count in counts.items() if count > 1} - SHARED_NAMES


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_package_knows_nothing_of_comfyui(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            found = [node.module or ""]
        for module in found:
            assert module.split(".")[0] not in ("comfy", "comfy_api", "folder_paths", "nodes")
