"""Scripts outside the package, as modules."""

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import dreamaudio_core

ROOT = Path(list(dreamaudio_core.__path__)[0]).parent


def load_script(path: str) -> ModuleType:
    """The file at `path`, relative to the repository, with or without the suffix `.py`."""
    name = path.replace("/", "_").removesuffix(".py")
    spec = importlib.util.spec_from_loader(name, SourceFileLoader(name, str(ROOT / path)))
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look up the module that they are defined in.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
