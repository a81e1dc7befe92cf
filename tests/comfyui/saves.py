"""Run by ComfyUI's interpreter: sounds saved in a process that is killed at each of its file
operations, and on a disk that is full after some bytes.

Usage: saves.py COMFYUI PACK FOLDER. Prints a line of JSON for each try: the format, what happened,
and the folder with its files as they were then.
"""

import importlib.util
import json
import os
import resource
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

comfyui, pack, root = sys.argv[1:4]
sys.argv[1:] = []
sys.path.insert(0, comfyui)

from comfy.cli_args import args  # noqa: E402

args.cpu = True

import folder_paths  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location(
    "pack-under-test", f"{pack}/__init__.py", submodule_search_locations=[pack]
)
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
output = importlib.import_module("pack-under-test.nodes.output")

EVENTS = {"open", "os.rename", "os.link", "os.remove"}
NODE = SimpleNamespace(hidden=SimpleNamespace(prompt={"1": "x" * 3000}, extra_pnginfo=None))
# Noise, of which every codec makes more than a few pages.
SOUND = 0.3 * torch.randn(1, 32000, generator=torch.Generator().manual_seed(0))


def child(folder, format, kill_at=0, room=None):
    """Exit code of saving into a folder in another process."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    folder_paths.set_output_directory(str(folder / "output"))
    folder_paths.set_temp_directory(str(folder / "temp"))
    count = 0

    def audit(event, values):
        nonlocal count
        if event in EVENTS and any(str(v).startswith(str(folder)) for v in values[:2]):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    if room is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        output.save(SOUND, 16000, "take", format, NODE)
    except OSError:
        os._exit(3)
    os._exit(0)


def tell(folder, format, **how):
    for name in ("output", "temp"):
        (folder / name).mkdir(parents=True)
    code = child(folder, format, **how)
    print(json.dumps([format, how, code, str(folder)]), flush=True)
    return code


number = 0
for format in output.FORMATS:
    at, code = 0, -1
    while code < 0:
        at, number = at + 1, number + 1
        code = tell(Path(root, str(number)), format, kill_at=at)
    for room in (0, 4096):
        number += 1
        tell(Path(root, str(number)), format, room=room)
