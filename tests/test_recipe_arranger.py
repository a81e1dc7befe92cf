"""The recipe's training of the arranger, from a bank to weights and figures, on a few compositions."""

import json

import numpy as np
import pytest
import torch
from test_recipe import recipe

from dreamaudio_core.config import PRESETS, ArrangerConfig
from dreamaudio_core.data.bank import BankWriter
from dreamaudio_core.networks.arranger import Arranger
from dreamaudio_core.weights.checkpoint import load_weights, save_weights

NOUNS = "frog dog cat cow pig horse duck hen crow owl".split()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    rng = np.random.default_rng(0)
    with BankWriter(folder) as writer:
        for split in ("train", "test"):
            for noun in NOUNS:
                wave = 0.3 * rng.standard_normal(int(16_000 * rng.uniform(0.3, 1.2))).astype(
                    np.float32
                )
                writer.add(
                    wave,
                    path=noun,
                    caption=f"a {noun} {'calls' if split == 'train' else 'vanishes'}",
                    label=f"{split}/{noun}",
                    split=split,
                    kind="event",
                    source="p",
                    license="CC0",
                )
            for kind, caption in (("ambience", "rain falls"), ("music", "music plays")):
                writer.add(
                    0.1 * rng.standard_normal(16_000 * 11).astype(np.float32),
                    path=kind,
                    caption=caption,
                    label=f"{split}/{kind}",
                    split=split,
                    kind=kind,
                    source="p",
                    license="CC0",
                )
    return folder / "manifest.jsonl"


def run(monkeypatch, manifest, folder, run_folder, *options):
    script = recipe("train_arranger")
    words = [
        "train_arranger.py",
        manifest,
        folder / "data",
        folder / run_folder,
        "--compositions",
        24,
        "--held-out",
        6,
        "--batch",
        4,
        "--export",
        folder / f"{run_folder}.safetensors",
        "--out",
        folder / f"{run_folder}.json",
        *options,
    ]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    threads = torch.get_num_threads()
    try:
        script.main()
    finally:
        torch.set_num_threads(threads)
    return load_weights(folder / f"{run_folder}.safetensors", "arranger", ArrangerConfig)[1]


def test_compositions_become_weights_and_figures_and_a_run_continues(
    manifest, tmp_path, monkeypatch
):
    whole = run(monkeypatch, manifest, tmp_path, "whole", "--steps", 4)
    found = json.loads((tmp_path / "whole.json").read_text())
    assert set(found) == {"held_out", "similar_captions", "written_by_hand", "written_by_hand_2"}
    assert found["held_out"]["compositions"] == 6
    for part in found.values():
        assert all(0 <= part[key] <= 100 for key in ("order", "asked", "complete", "incomplete"))
    composed = (tmp_path / "data" / "items_train.jsonl").read_text()
    again = run(monkeypatch, manifest, tmp_path, "whole", "--steps", 4)
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    assert (tmp_path / "data" / "items_train.jsonl").read_text() == composed


def test_chosen_layers_stay_and_weights_without_completeness_are_a_start(
    manifest, tmp_path, monkeypatch
):
    torch.manual_seed(1)
    config = PRESETS["mini"].arranger
    old = {
        name: value
        for name, value in Arranger(config).state_dict().items()
        if not name.startswith(("words.", "complete."))
    }
    save_weights(tmp_path / "old.safetensors", old, "arranger", config, torch.float16)
    start = load_weights(tmp_path / "old.safetensors", "arranger", ArrangerConfig)[1]
    frozen = run(
        monkeypatch,
        manifest,
        tmp_path,
        "frozen",
        "--steps",
        2,
        "--initial",
        tmp_path / "old.safetensors",
        "--freeze-matching",
    )
    only = run(
        monkeypatch,
        manifest,
        tmp_path,
        "only",
        "--steps",
        2,
        "--initial",
        tmp_path / "old.safetensors",
        "--only-completeness",
    )
    changed = {name.split(".")[0] for name in start if not torch.equal(frozen[name], start[name])}
    assert changed and not changed & {"match_prompt", "match_caption", "word_weight", "match"}
    assert all(torch.equal(only[name], start[name]) for name in start)


def test_what_stands_for_everything():
    script = recipe("train_arranger")
    item = {"events": [{"asked": True}, {"asked": True}, {"asked": False}]}
    asked, also, unasked = item["events"]
    assert script.is_complete(item, [unasked, also, asked]) and script.is_complete(
        item, [asked, also]
    )
    assert not script.is_complete(item, [asked, unasked])
