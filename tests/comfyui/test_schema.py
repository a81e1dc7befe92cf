"""What shared workflows and other languages rely on: ids, inputs and their order, texts on
everything.

A changed snapshot is a change that users notice. Renew it, and the tables of the help pages, with
`UPDATE_SNAPSHOT=1 pytest tests/comfyui/test_schema.py`, and only ever append inputs:
`widgets_values` in saved workflows is positional.
"""

import json
import os
from pathlib import Path

import pytest
from comfy_server import PACK
from PIL import Image

SNAPSHOT = Path(__file__).parent / "schemas.json"
DOCS = PACK / "web" / "docs"
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


def table(head, meaning, rows):
    lines = [f"| {head} | {meaning} |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {name} | {text} |" for name, text in rows)]) + "\n"


# Headings of the help pages by language: inputs, outputs, one of each, its meaning, notes.
HEADINGS = {
    "en": ("Inputs", "Outputs", "Input", "Output", "Meaning", "## Notes\n"),
    "zh": ("输入", "输出", "输入", "输出", "含义", "## 说明\n"),
}


def texts_of(info, language):
    """Name, description and pairs of name and tooltip of inputs and outputs, in a language."""
    inputs = [(name, options["tooltip"]) for name, (_, options) in inputs_of(info).items()]
    outputs = list(zip(info["output_name"], info["output_tooltips"] or []))
    if language == "en":
        return info["display_name"], info["description"], inputs, outputs
    path = PACK / "locales" / language / "nodeDefs.json"
    found = json.loads(path.read_text(encoding="utf-8"))[info["name"]]

    def both(name, entry):
        shown = entry.get("name", name)
        return (name if shown == name else f"{shown} (`{name}`)", entry["tooltip"])

    return (
        found["display_name"],
        found["description"],
        [both(name, found["inputs"][name]) for name, _ in inputs],
        [both(name, found["outputs"][str(k)]) for k, (name, _) in enumerate(outputs)],
    )


def help_page(info, notes, language):
    """A node's page: what its schema says and its picture, then notes written by hand."""
    title, description, inputs, outputs = texts_of(info, language)
    many_in, many_out, one_in, one_out, meaning, head = HEADINGS[language]
    text = f"# {title}\n\n{description}\n\n![{title}](images/{info['name']}.webp)\n"
    for heading, one, rows in ((many_in, one_in, inputs), (many_out, one_out, outputs)):
        if rows:
            text += f"\n## {heading}\n\n{table(one, meaning, rows)}"
    return text + (f"\n{head}{notes}" if notes else "")


@pytest.mark.parametrize("language", HEADINGS)
def test_help_pages_say_what_the_schema_says(nodes, language):
    head = HEADINGS[language][-1]
    for name, info in nodes.items():
        path = DOCS / (f"{name}.md" if language == "en" else f"{name}/{language}.md")
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        wanted = help_page(info, found.partition(head)[2], language)
        if os.environ.get("UPDATE_SNAPSHOT"):
            path.write_text(wanted, encoding="utf-8")
            found = wanted
        assert found == wanted, name
        assert head in found, name
    assert {p.stem for p in DOCS.glob("*.md")} == set(nodes)


def test_each_help_page_has_a_small_picture(nodes):
    pictures = {path.stem: path for path in (DOCS / "images").glob("*")}
    assert set(pictures) == set(nodes)
    for name, path in pictures.items():
        assert path.stat().st_size < 40_000, name
        with Image.open(path) as picture:
            assert picture.format == "WEBP" and 150 <= picture.width <= 600, name


def test_translations_are_complete(nodes):
    """English is what the schema says; every other language translates all of it."""
    languages = [path for path in (PACK / "locales").iterdir() if path.is_dir()]
    assert [path.name for path in languages] == ["zh"]
    for path in languages:
        found = json.loads((path / "nodeDefs.json").read_text(encoding="utf-8"))
        assert set(found) == set(nodes), path.name
        for name, info in nodes.items():
            assert set(found[name]["inputs"]) == set(inputs_of(info)), (path.name, name)
            assert set(found[name].get("outputs", {})) == {
                str(k) for k in range(len(info["output_name"]))
            }, (path.name, name)
            for key, (_, options) in inputs_of(info).items():
                assert found[name]["inputs"][key]["tooltip"] != options["tooltip"], (name, key)
        main = json.loads((path / "main.json").read_text(encoding="utf-8"))
        assert main["nodeCategories"]["DreamAudio"]
