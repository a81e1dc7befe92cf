"""What ComfyUI's registry and its Manager read of the pack, and what their own tools say of it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
RAW = "https://raw.githubusercontent.com/dreamaudio/dreamaudio/main/"
# ComfyUI opens the workflow of flac, mp3 and ogg files that are dropped on it, but has no hook for
# other kinds of file; ours hands on all that is no wav of ours.
ALLOWED = {("shared-object-monkeypatch", "dreamaudio.js")}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_registry_finds_what_it_shows(project):
    comfy, about = project["tool"]["comfy"], project["project"]
    for field in ("PublisherId", "DisplayName", "Icon", "Banner", "requires-comfyui"):
        assert comfy[field], field
    assert {"Homepage", "Documentation", "Repository", "Issues"} <= set(about["urls"])
    assert any(line.startswith("Operating System ::") for line in about["classifiers"])
    for field, size in (("Icon", (400, 400)), ("Banner", (1260, 540))):
        picture = (ROOT / comfy[field].removeprefix(RAW)).read_text(encoding="utf-8")
        assert 'width="{}" height="{}"'.format(*size) in picture
    assert (ROOT / comfy["web"]).is_dir()


def test_both_lists_of_requirements_are_one(project):
    listed = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    # ComfyUI brings torch, and the right build of it.
    needed = [line for line in project["project"]["dependencies"] if not line.startswith("torch>")]
    assert sorted(listed) == sorted(needed)


def test_the_manager_knows_every_node():
    listed = json.loads((ROOT / "node_list.json").read_text(encoding="utf-8"))
    snapshot = json.loads((ROOT / "tests" / "comfyui" / "schemas.json").read_text(encoding="utf-8"))
    assert set(listed) == set(snapshot) and all(listed.values())


def test_versions_agree(project):
    version = project["project"]["version"]
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for path in (ROOT / "workflows").glob("*.json"):
        for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
            if node["properties"].get("cnr_id") == "dreamaudio":
                # Those of older versions stay as they are.
                assert parts(node["properties"]["ver"]) <= parts(version), path.name


def parts(version):
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    return [int(number) for number in version.split(".")]


def tool(name, *arguments):
    """Output of a command of the registry's tools, run in the pack."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    command = [program, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_comfy_cli_takes_the_pack():
    run = tool("comfy", "--skip-prompt", "node", "validate")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Warning" not in run.stdout and "error" not in run.stdout.lower()


def test_comfy_test_finds_nothing_that_disturbs_other_packs():
    run = tool("comfy-test", "lint", "--check", "javascript", "--json", str(ROOT))
    findings = json.loads(run.stdout)["results"]["javascript"]["findings"]
    assert {(f["rule"], f["file"]) for f in findings} <= ALLOWED, findings
