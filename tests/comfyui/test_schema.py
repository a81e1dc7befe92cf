"""What shared workflows and other languages rely on: ids, inputs and their order, texts on
everything.

A changed snapshot is a change that users notice. Renew it with `UPDATE_SNAPSHOT=1 pytest
tests/comfyui/test_schema.py`, and only ever append inputs: `widgets_values` in saved workflows is
positional.
"""

import json
import os
from pathlib import Path

import pytest
from comfy_server import PACK

SNAPSHOT = Path(__file__).parent / "schemas.json"
# Lists that depend on the files that are there.
FILE_LISTS = {
    ("DreamAudioLoadModel", "model_name"),
    ("DreamAudioLoadReference", "audio"),
    ("DreamAudioLoadFlow", "file"),
    ("DreamAudioLoadVAE", "file"),
    ("DreamAudioLoadVocoder", "file"),
    ("DreamAudioLoadTextEncoder", "file"),
    ("DreamAudioLoadScenes", "file"),
    ("DreamAudioRetrieveReferences", "library"),
}


def inputs_of(info):
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


def summary(info):
    """The part of a node's description that workflows depend on, the same for all versions of
    ComfyUI.
    """
    inputs = []
    for category in ("required", "optional"):
        for name, (kind, options) in info["input"].get(category, {}).items():
            if isinstance(kind, list):
                kind, options = "COMBO", {"options": kind, **options}
            kept = {
                k: options[k]
                for k in (
                    "default",
                    "min",
                    "max",
                    "step",
                    "options",
                    "multiline",
                    "control_after_generate",
                    "audio_upload",
                )
                if k in options
            }
            if (info["name"], name) in FILE_LISTS:
                kept.pop("options")
            if "template" in options:
                template = options["template"]
                kept |= {k: template[k] for k in ("prefix", "min", "max")}
                kept["of"] = next(
                    value[0] for group in template["input"].values() for value in group.values()
                )
            inputs.append([name, category, kind, kept])
    outputs = [
        list(pair) for pair in zip(info["output_name"], info["output"], info["output_is_list"])
    ]
    return {
        "inputs": inputs,
        "outputs": outputs,
        "category": info["category"],
        "output_node": info["output_node"],
    }


@pytest.fixture(scope="module")
def nodes(server):
    return {
        name: info for name, info in server.object_info().items() if name.startswith("DreamAudio")
    }


def test_schemas_are_those_of_the_snapshot(nodes):
    found = {name: summary(info) for name, info in nodes.items()}
    if os.environ.get("UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(SNAPSHOT.read_text())


def test_everything_has_a_tooltip(nodes):
    for name, info in nodes.items():
        assert info["description"], name
        for key, (_, options) in inputs_of(info).items():
            assert options.get("tooltip"), (name, key)
        assert len(info["output_name"]) == len([t for t in info["output_tooltips"] or [] if t]), (
            name
        )


def test_lists_offer_the_embedded_model_and_the_examples(nodes):
    def options(node, key):
        kind, settings = inputs_of(nodes[node])[key]
        return settings["options"] if kind == "COMBO" else kind

    sounds = options("DreamAudioLoadReference", "audio")
    assert [f"dreamaudio_{n}.flac" for n in ("cash_register", "crow", "guitar")] == sounds[:3]
    assert {"tiny", "other"} <= set(options("DreamAudioLoadModel", "model_name"))
    for node, part in (("Flow", "flow"), ("VAE", "vae"), ("Vocoder", "vocoder")):
        assert options(f"DreamAudioLoad{node}", "file")[0].endswith(f"/{part}.safetensors")
    assert "tiny/text_encoder" in options("DreamAudioLoadTextEncoder", "file")
    every = [name for node, key in FILE_LISTS for name in options(node, key)]
    assert not any("\\" in name or name.startswith("/") for name in every)


def test_help_pages_name_every_input_and_output(nodes):
    for name, info in nodes.items():
        page = (PACK / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {info['display_name']}\n"), name
        for key in (*inputs_of(info), *info["output_name"]):
            assert f"| {key} |" in page, (name, key)
    assert {p.stem for p in (PACK / "web" / "docs").glob("*.md")} == set(nodes)


def test_locales_are_complete(nodes):
    texts = {
        lang: json.loads((PACK / "locales" / lang / "nodeDefs.json").read_text(encoding="utf-8"))
        for lang in ("en", "zh")
    }
    for lang, found in texts.items():
        assert set(found) == set(nodes), lang
        for name, info in nodes.items():
            assert set(found[name]["inputs"]) == set(inputs_of(info)), (lang, name)
            assert set(found[name].get("outputs", {})) == {
                str(k) for k in range(len(info["output_name"]))
            }, (lang, name)
        assert json.loads((PACK / "locales" / lang / "main.json").read_text(encoding="utf-8"))[
            "nodeCategories"
        ]["DreamAudio"]
    for name, info in nodes.items():
        english = texts["en"][name]
        assert (english["display_name"], english["description"]) == (
            info["display_name"],
            info["description"],
        )
        for key, (_, options) in inputs_of(info).items():
            assert english["inputs"][key]["tooltip"] == options["tooltip"], (name, key)
            assert texts["zh"][name]["inputs"][key]["tooltip"] != options["tooltip"], (name, key)
