"""Training of the VAE and the vocoder on tiny networks and a tiny bank: losses, discriminators,
resume, export.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from closeness import same_state
from dreamaudio_core.config import PRESETS
from dreamaudio_core.data.bank import Bank, BankWriter
from dreamaudio_core.errors import InputError
from dreamaudio_core.loading import load_model
from dreamaudio_core.training import discriminators as judges
from dreamaudio_core.training.ema import averaged_copy, averaged_weights
from dreamaudio_core.training.loop import train
from dreamaudio_core.training.options import TrainOptions
from dreamaudio_core.training.run_state import saved_checkpoints
from dreamaudio_core.training.tasks.vae_task import VAETask
from dreamaudio_core.training.tasks.vocoder_task import (
    MelLoss,
    MultiScaleMelLoss,
    VocoderTask,
)
from ports import free_port

pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

SMALL = {"periods": (2, 3), "resolutions": ((256, 60, 200),), "width": 4}
COMMON = {"source": "test", "license": "CC0"}


@pytest.fixture(scope="module")
def banks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    rng = np.random.default_rng(0)
    with BankWriter(folder) as writer:
        for number in range(10):
            time = np.arange(int(rng.uniform(2000, 16000))) / 16000
            wave = 0.5 * np.sin(2 * np.pi * rng.uniform(100, 3000) * time) * np.exp(-3 * time)
            writer.add(
                wave,
                path=f"{number}.wav",
                caption="a bell rings",
                label=f"bell-{number}",
                split="test" if number > 7 else "train",
                **COMMON,
            )
    return Bank(folder / "manifest.jsonl", "train"), Bank(folder / "manifest.jsonl", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from small_model import make_folder

    return make_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def config(folder):
    from dreamaudio_core.weights.folder import read_config

    return read_config(folder)


def options(run, **changes):
    values = {
        "steps": 4,
        "batch": 2,
        "warmup": 0,
        "ema": 0.5,
        "log_every": 2,
        "device": "cpu",
        "progress": False,
        "validate_every": 1000,
    }
    return TrainOptions(run, **{**values, **changes})


def vae_task(config, banks, **changes):
    torch.manual_seed(0)
    values = {"frames": 32, "width": 8, "lr": 2e-3, "discriminator_start": 2}
    return VAETask(config, *banks, **{**values, **changes})


def vocoder_task(config, banks, **changes):
    torch.manual_seed(0)
    values = {"frames": 12, "lr": 1e-3, **SMALL}
    return VocoderTask(config, *banks, **{**values, **changes})


def curves(task, choices):
    found = []
    train(task, choices, lambda step, values: found.append(values))
    return found


@pytest.mark.parametrize("make,last", [(vae_task, "vae/l1"), (vocoder_task, "vocoder/mel")])
def test_loss_falls_and_the_weights_load_into_the_pipeline(
    make, last, config, banks, folder, tmp_path
):
    task = make(config, banks, lr=5e-3)
    found = [values[last] for values in curves(task, options(tmp_path, steps=24))]
    assert sum(found[-5:]) < 0.85 * sum(found[:5])
    model = load_model(folder, **{task.name: tmp_path / f"{task.name}.safetensors"})
    trained = getattr(model, task.name)
    state = torch.load(saved_checkpoints(tmp_path)[-1][1], weights_only=True)["ema"]
    if task.name == "vae":
        assert torch.equal(trained.encoder.conv_in.weight, state["module.encoder.conv_in.weight"])
        from dreamaudio_core.audio.mel import log_mel

        posterior = trained.posterior(log_mel(task.dataset.fixed(64), config.audio))
        spread = posterior.mean.var() + posterior.logvar.exp().mean()
        assert model.config.vae.scale_factor == pytest.approx(float(spread) ** -0.5, rel=1e-3)
    else:
        mel = torch.randn(1, 64, 12) - 5
        with averaged(task, state), torch.no_grad():
            assert torch.allclose(trained(mel), task.network(mel), atol=1e-5)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert last in board.Tags()["scalars"] and "validation/0 (true, " in " ".join(
        board.Tags()["images"]
    )
    assert bool(board.Tags()["audio"]) == (task.name == "vocoder")


def averaged(task, state):
    average = averaged_copy(task.network, 0.5)
    average.load_state_dict(state)
    return averaged_weights(task.network, average)


@pytest.mark.parametrize("make", [vae_task, vocoder_task])
def test_both_optimizers_resume(make, config, banks, tmp_path):
    whole = curves(make(config, banks), options(tmp_path / "whole"))
    parts = curves(make(config, banks), options(tmp_path / "parts", steps=3))
    parts += curves(make(config, banks), options(tmp_path / "parts"))
    assert len(parts) == len(whole)
    for part, values in zip(parts, whole):
        assert part == pytest.approx(values, rel=1e-4)
    one, two = (
        torch.load(saved_checkpoints(tmp_path / name)[-1][1], weights_only=True)
        for name in ("whole", "parts")
    )
    assert len(one["losses"]) == 2
    for name, state in one["losses"].items():
        assert same_state(state, two["losses"][name])


def test_the_patch_discriminator_starts_late_and_leaves_the_vae_to_its_own_optimizer(
    config, banks, tmp_path
):
    task = vae_task(config, banks)
    untouched = {k: v.clone() for k, v in task.optimizer_steps[0].loss.state_dict().items()}
    found = curves(task, options(tmp_path, steps=3))
    assert ["vae/adversarial" in values for values in found] == [False, False, True]
    assert ["discriminator/loss" in values for values in found] == [False, False, True]
    state = task.optimizer_steps[0].loss.state_dict()
    assert any(not torch.equal(v, state[k]) for k, v in untouched.items())
    batch = task.dataset.collate([task.dataset.example(0, torch.Generator().manual_seed(0))])
    task.network.zero_grad()
    for parameter in task.optimizer_steps[0].trained:
        parameter.grad = None
    task.loss(batch)["loss"].backward()
    assert all(p.grad is None and p.requires_grad for p in task.optimizer_steps[0].trained)
    assert all(p.grad is not None for p in task.network.parameters())
    task.network.zero_grad(set_to_none=True)
    task.optimizer_steps[0].loss(batch)["loss"].backward()
    assert all(p.grad is None for p in task.network.parameters())
    assert all(p.grad is not None for p in task.optimizer_steps[0].trained)


def test_discriminator_sets_have_the_published_sizes():
    full = judges.VocoderDiscriminators()
    assert len(full.periods) == 5 and len(full.resolutions) == 3
    # HiFi-GAN's period discriminator: 32, 128, 512, 1024, 1024 channels.
    assert [layer.out_channels for layer in full.periods[0].layers] == [32, 128, 512, 1024, 1024]
    count = sum(p.numel() for p in full.periods.parameters())
    # Kernels of 5 (3 at the end), biases, and one magnitude an output channel.
    assert count == 41_105_770
    scores, maps = judges.VocoderDiscriminators(**SMALL)(torch.randn(2, 1920))
    assert [len(m) for m in maps] == [6, 6, 6] and all(s.shape[0] == 2 for s in scores)


def test_vocoder_learns_from_the_mel_loss_alone_until_its_discriminators_start(
    config, banks, tmp_path
):
    task = vocoder_task(config, banks, discriminator_start=2)
    before = {k: v.clone() for k, v in task.optimizer_steps[0].loss.state_dict().items()}
    found = curves(task, options(tmp_path / "late", steps=2))
    assert all(
        "vocoder/adversarial" not in step and "discriminators/loss" not in step for step in found
    )
    assert all(
        step["vocoder/loss"] == pytest.approx(45.0 * step["vocoder/mel"], rel=1e-5)
        for step in found
    )
    assert all(
        torch.equal(v, before[k]) for k, v in task.optimizer_steps[0].loss.state_dict().items()
    )
    found = curves(
        vocoder_task(config, banks, discriminator_start=2), options(tmp_path / "late", steps=4)
    )
    assert len(found) == 2 and all(
        step["discriminators/loss"] > 0 and "vocoder/features" in step for step in found
    )


def test_losses_have_their_minimum_where_they_should():
    ones, zeros = [torch.ones(2, 3)], [torch.zeros(2, 3)]
    assert judges.least_squares_discriminator_loss(ones, zeros) == 0
    assert judges.least_squares_discriminator_loss(zeros, ones) == 2
    assert judges.least_squares_generator_loss(ones) == 0
    assert judges.hinge_discriminator_loss(torch.tensor([1.0, 2.0]), torch.tensor([-1.0])) == 0
    assert judges.hinge_discriminator_loss(torch.tensor([0.0]), torch.tensor([0.0])) == 1
    wave = 0.1 * torch.randn(1, 4000)
    for loss in (MelLoss(PRESETS["mini"].audio), MultiScaleMelLoss(PRESETS["mini"].audio)):
        assert loss(wave, wave) == 0
        assert loss(0.5 * wave, wave) > loss(0.9 * wave, wave) > 0


def test_multi_scale_and_bf16_take_a_step(config, banks, tmp_path):
    found = curves(
        vocoder_task(config, banks, multi_scale=True),
        options(tmp_path / "a", steps=1, precision="bf16"),
    )
    assert np.isfinite(found[0]["vocoder/loss"])
    found = curves(
        vae_task(config, banks, discriminator_start=0),
        options(tmp_path / "b", steps=1, precision="bf16"),
    )
    assert np.isfinite(found[0]["vae/loss"]) and np.isfinite(found[0]["discriminator/loss"])


def test_bad_values_are_named(config, banks, tmp_path):
    with pytest.raises(InputError, match="multiple of the VAE's stride 8"):
        VAETask(config, *banks, frames=36)
    with pytest.raises(InputError, match="frames: expected at least 6"):
        VocoderTask(config, *banks, frames=4)
    with pytest.raises(InputError, match="at least one sound"):
        empty = Bank(banks[0].manifest, "nothing")
        VAETask(config, empty)
    with pytest.raises(InputError, match="precision"):
        options(tmp_path, precision="fp16")


SCRIPT = """
import json, os, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from test_training_vae_vocoder import Bank, curves, options, vae_task, vocoder_task
from dreamaudio_core.weights.folder import read_config
model, manifest, out = map(Path, sys.argv[1:])
banks = Bank(manifest, "train"), Bank(manifest, "test")
found = {{}}
for make in (vae_task, vocoder_task):
    late = {{"discriminator_start": 1}} if make is vae_task else {{}}
    task = make(read_config(model), banks, **late)
    found[task.name] = curves(task, options(out / task.name, steps=3, batch=1))
if os.environ["RANK"] == "0":
    (out / "curves.json").write_text(json.dumps(found))
"""


def test_two_gloo_processes_give_the_curves_of_one(config, banks, folder, tmp_path):
    tests = Path(__file__).resolve().parent
    (tmp_path / "train.py").write_text(SCRIPT.format(root=str(tests.parent), tests=str(tests)))
    common = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    command = [
        sys.executable,
        str(tmp_path / "train.py"),
        str(folder),
        str(banks[0].manifest),
        str(tmp_path),
    ]
    pair = [
        subprocess.Popen(
            command, env={**common, "RANK": str(r), "LOCAL_RANK": str(r)}, stderr=subprocess.PIPE
        )
        for r in range(2)
    ]
    one = {
        "vae": curves(
            vae_task(config, banks, discriminator_start=1), options(tmp_path / "a", steps=3)
        ),
        "vocoder": curves(vocoder_task(config, banks), options(tmp_path / "b", steps=3)),
    }
    for process in pair:
        try:
            process.wait(timeout=900)
        except subprocess.TimeoutExpired:
            process.kill()
        assert process.wait() == 0, process.stderr.read().decode()
    two = json.loads((tmp_path / "curves.json").read_text())
    for name, steps in one.items():
        for here, there in zip(steps, two[name], strict=True):
            # Sums in another order, amplified by AdamW's first steps: a relative 1e-3.
            assert there == pytest.approx(here, rel=1e-3)


def test_decoder_only_keeps_the_latents(config, banks, folder, tmp_path):
    from dreamaudio_core.weights.latent_diffusion import load_vae

    given, initial = load_vae(folder / "vae.safetensors")
    task = vae_task(replace(config, vae=given), banks, initial=initial, decoder_only=True)
    train(task, options(tmp_path / "run"))
    kept, state = load_vae(tmp_path / "run" / "vae.safetensors")
    assert kept.scale_factor == given.scale_factor
    for name, value in initial.items():
        same = torch.equal(value.float(), state[name].float())
        if name.startswith(("encoder.", "quant_conv.")):
            assert same, name
    changed = [n for n in initial if not torch.equal(initial[n].float(), state[n].float())]
    assert any(name.startswith("decoder.") for name in changed)


def test_decoder_only_needs_weights_to_start_from(config, banks):
    with pytest.raises(InputError, match="--initial"):
        vae_task(config, banks, decoder_only=True)
