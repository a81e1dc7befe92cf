import argparse
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dreamaudio_core
from dreamaudio_core.cli.config_file import expand_config
from dreamaudio_core.config import PRESETS, ArrangerConfig, VAEConfig
from dreamaudio_core.data.bank import BankEntry, write_manifest
from dreamaudio_core.data.cli import add_parser as add_data
from dreamaudio_core.errors import CheckpointError
from dreamaudio_core.loading import load_model
from dreamaudio_core.networks.arranger import Arranger
from dreamaudio_core.networks.bigvgan import BigVGAN
from dreamaudio_core.networks.mrc import MRCUNet
from dreamaudio_core.networks.vae import AutoencoderKL
from dreamaudio_core.training.cli import add_parser
from dreamaudio_core.weights.checkpoint import load_weights, read_safetensors, save_weights
from scripts import load_script
from small_configs import SMALL_MRC, SMALL_VAE, SMALL_VOCODER
from small_model import make_folder

PACKAGE = Path(list(dreamaudio_core.__path__)[0])
RECIPE = PACKAGE.parent / "recipes" / "mini"
TEXT_ENCODER = PACKAGE / "models" / "mini" / "text_encoder"
STAGES = (
    "sounds bank transform vae vocoder latents flow arranger assemble evaluate elsewhere scenarios "
    "card all".split()
)
PARTS = {
    "vae": (AutoencoderKL, SMALL_VAE),
    "vocoder": (BigVGAN, replace(SMALL_VOCODER, refinement_iterations=3)),
    "flow": (MRCUNet, replace(SMALL_MRC, text_dim=384, num_references=8, fusion="placed")),
    "arranger": (Arranger, ArrangerConfig(hidden=48, layers=1, heads=2)),
}


def recipe(name):
    """A script of the recipe as a module."""
    return load_script(f"recipes/mini/{name}.py")


def write_runs(runs, parts=tuple(PARTS)):
    """Run folders with the float32 weights of small parts, as training exports them."""
    torch.manual_seed(0)
    for part in parts:
        cls, config = PARTS[part]
        save_weights(runs / part / f"{part}.safetensors", cls(config).state_dict(), part, config)
    return runs


@pytest.fixture
def folder(tmp_path):
    """A model folder with the embedded text encoder alone."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "text_encoder").symlink_to(TEXT_ENCODER, target_is_directory=True)
    return tmp_path / "model"


def test_assembled_parts_are_a_model_in_half_precision(tmp_path, folder):
    runs = write_runs(tmp_path / "runs")
    outcome = recipe("assemble").assemble(runs, folder)
    assert (
        all(outcome[part].startswith("taken") for part in PARTS)
        and outcome["text encoder"] == "kept"
    )
    for part in PARTS:
        made, given = (
            read_safetensors(p / f"{part}.safetensors")[0] for p in (folder, runs / part)
        )
        assert {t.dtype for t in made.values() if t.is_floating_point()} == {torch.float16}
        assert all(torch.equal(made[key], given[key].to(made[key].dtype)) for key in given)
    model = load_model(folder)
    assert model.config == replace(
        PRESETS["mini"],
        vae=SMALL_VAE,
        vocoder=PARTS["vocoder"][1],
        mrc=PARTS["flow"][1],
        arranger=PARTS["arranger"][1],
    )
    assert model.vae.config.scale_factor == 0.7
    result = model.generate("a crow caws", seconds=1.0, steps=1)
    assert result.waveforms.shape == (1, 1, result.sample_rate)
    assert torch.isfinite(result.waveforms).all()


def test_a_part_without_a_run_is_kept(tmp_path, folder):
    assemble = recipe("assemble").assemble
    assemble(write_runs(tmp_path / "runs"), folder)
    before = {part: (folder / f"{part}.safetensors").read_bytes() for part in PARTS}
    changed = replace(SMALL_VAE, scale_factor=0.9)
    save_weights(
        tmp_path / "later" / "vae" / "vae.safetensors",
        AutoencoderKL(changed).state_dict(),
        "vae",
        changed,
    )
    outcome = assemble(tmp_path / "later", folder)
    assert outcome["vae"].startswith("taken") and {outcome[p] for p in PARTS if p != "vae"} == {
        "kept"
    }
    after = {part: (folder / f"{part}.safetensors").read_bytes() for part in PARTS}
    assert {part for part in PARTS if after[part] != before[part]} == {"vae"}
    assert (
        load_weights(folder / "vae.safetensors", "vae", VAEConfig)[0]
        == load_model(folder).config.vae
        == changed
    )


def test_a_part_that_is_nowhere_is_named_and_nothing_is_written(tmp_path, folder):
    runs = write_runs(tmp_path / "runs", ("vae", "flow", "arranger"))
    with pytest.raises(CheckpointError, match="vocoder.safetensors"):
        recipe("assemble").assemble(runs, folder)
    assert [p.name for p in folder.iterdir()] == ["text_encoder"]


def test_card_states_what_was_measured_and_where_the_sounds_are_from(tmp_path, monkeypatch, capsys):
    model, work = make_folder(tmp_path / "model"), tmp_path / "work"
    (work / "evaluation").mkdir(parents=True)
    results = {
        "concatenation-true": {"events": 1234, "items": 200, "alone": 0.8766, "bf16": False},
        "codec": {
            "clips": 60,
            "vae_log_mel_l1": 0.4321,
            **{
                f"{name}_{figure}": 1.5
                for name in ("vocoder", "bare_vocoder", "griffin_lim")
                for figure in ("log_mel_l1", "stft")
            },
        },
    }
    (work / "evaluation" / "evaluation.json").write_text(json.dumps(results))
    sound = dict(path="a", caption="a frog croaks", kind="event", license="CC0")
    (work / "bank").mkdir()
    write_manifest(
        work / "bank" / "manifest.jsonl",
        [
            BankEntry(**sound, label="p/frog", split="train", seconds=90.0, source="pond"),
            BankEntry(**sound, label="p/frog", split="train", seconds=90.0, source="pond"),
            BankEntry(
                **{**sound, "license": "MIT"},
                label="p/toad",
                split="train",
                seconds=120.0,
                source="pond",
            ),
            BankEntry(**sound, label="q/newt", split="train", seconds=60.0, source="ditch"),
            BankEntry(**sound, label="q/eel", split="test", seconds=6000.0, source="sea"),
        ],
    )
    write_card = recipe("write_card")
    monkeypatch.setattr("sys.argv", ["write_card.py", str(work), "--model", str(model)])
    write_card.main()
    text = (model / "README.md").read_text()
    for number in ("1234 in 200", "87.7 %", "0.432", "1.500 / 1.50"):
        assert number in text
    assert "| pond | 3 | 5 | CC0, MIT |\n| ditch | 1 | 1 | CC0 |" in text and "| sea |" not in text
    assert "4 training recordings of 3 labels" in text and "Of 4\nlabels 1 were held out" in text
    assert "2.56 s of 16 kHz" in text
    facts = json.loads((RECIPE / "training.json").read_text())
    for part in facts["parts"]:
        assert part["data"] in text
    for line in (RECIPE / "scenarios.jsonl").read_text().splitlines():
        scene = json.loads(line)
        assert scene["prompt"] in text and all(r["label"] in text for r in scene["references"])


def test_card_counts_the_weights(tmp_path):
    save_weights(
        tmp_path / "vae.safetensors",
        {"a": torch.zeros(1000, 1200), "b": torch.zeros(50_000)},
        "vae",
        SMALL_VAE,
    )
    assert recipe("write_card").parameters(tmp_path / "vae.safetensors") == "1.2 M"


def test_card_without_an_evaluation_says_so(tmp_path, monkeypatch):
    write_card = recipe("write_card")
    monkeypatch.setattr("sys.argv", ["write_card.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="evaluate.py"):
        write_card.main()


def test_run_is_a_shell_script_that_names_its_stages(tmp_path):
    run = RECIPE / "run"
    assert os.access(run, os.X_OK)
    subprocess.run(["sh", "-n", str(run)], check=True)
    for words in (["nonsense", "work"], []):
        found = subprocess.run(
            ["sh", str(run), *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert found.returncode == 2
        assert found.stderr.split("stages: ")[1].split() == STAGES
    assert not list(tmp_path.iterdir())


def run_stages(stage, folder, python):
    """Run a stage with a stand-in for Python that appends its arguments to `calls`."""
    script = folder / "python"
    script.write_text(f"#!/bin/sh\necho \"$*\" >> '{folder}/calls'\n{python}\n")
    script.chmod(0o755)
    environment = {**os.environ, "PYTHON": "./python"}
    found = subprocess.run(
        ["sh", str(RECIPE / "run"), stage, "made"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    calls = folder / "calls"
    return found, calls.read_text().splitlines() if calls.exists() else []


def test_training_stages_call_the_package_with_known_options(tmp_path):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    for stage, count in (("vae", 2), ("vocoder", 1), ("flow", 1), ("arranger", 1)):
        (tmp_path / stage).mkdir()
        found, calls = run_stages(stage, tmp_path / stage, "")
        assert found.returncode == 0 and len(calls) == count, found.stderr
        for call in calls:
            words = expand_config(call.split())
            assert words[:4] == ["-m", "dreamaudio_core", "train", stage]
            args = parser.parse_args(words[2:])
            assert args.model == "mini" and args.folder.is_relative_to(
                tmp_path / stage / "made" / "runs"
            )
            assert 0 < args.warmup < args.steps


def test_latents_are_cached_by_the_package_with_known_options(tmp_path):
    parser = argparse.ArgumentParser()
    add_data(parser.add_subparsers())
    found, calls = run_stages("latents", tmp_path, "")
    assert found.returncode == 0 and len(calls) == 4, found.stderr
    for call in calls:
        words = expand_config(call.split())
        assert words[:5] == ["-m", "dreamaudio_core", "data", "cache", "composed"]
        args = parser.parse_args(words[2:])
        assert args.out.is_relative_to(tmp_path / "made" / "cache") and args.model == "mini"
        assert args.count % args.shard_items == 0


def test_a_stage_that_fails_ends_the_run(tmp_path):
    found, calls = run_stages("vae", tmp_path, "exit 3")
    assert found.returncode == 3 and len(calls) == 1


@torch.no_grad()
def test_sounds_from_elsewhere_are_of_packages_that_no_stage_trains_on():
    paths = recipe("evaluate_elsewhere").read_list()
    assert len(paths) == len(set(paths)) >= 60
    trained = (RECIPE / "fetch_sounds").read_text().split('packages="')[1].split('"')[0].split()
    judged = {"freedoom", "openarena-data", "warzone2100-data", "ufoai-sound"}
    packages = {path.split("/")[0] for path in paths}
    assert len(packages) > 10 and not packages & {*trained, *judged}


def test_nearest_sound_from_elsewhere():
    nearest_share = recipe("evaluate_elsewhere").nearest_share
    torch.manual_seed(0)
    wanted = [torch.randn(frames, 64) for frames in (100, 40, 100)]
    assert nearest_share(wanted, [mel + 0.1 for mel in wanted]) == 1.0
    assert nearest_share(wanted, [wanted[2], wanted[1], wanted[0]]) == 1 / 3
