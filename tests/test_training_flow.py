"""The training loop, flow and alignment on tiny networks: loss, exact resume, freezing, stops,
processes, variants.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from closeness import same_state
from dreamaudio_core.cli.main import main
from dreamaudio_core.config import PRESETS, MRCConfig
from dreamaudio_core.data.batches import Augmentation
from dreamaudio_core.data.shards import write_shard
from dreamaudio_core.errors import CheckpointError, InputError, TrainingError
from dreamaudio_core.loading import load_model
from dreamaudio_core.training import loop, run_state
from dreamaudio_core.training.ema import averaged_copy, averaged_weights
from dreamaudio_core.training.flow_dataset import FlowDataset, FlowTimes, stretch_start, with_count
from dreamaudio_core.training.loop import TrainingLoop, train
from dreamaudio_core.training.options import TrainOptions
from dreamaudio_core.training.run_state import saved_checkpoints
from dreamaudio_core.training.sampler import EpochBatches
from dreamaudio_core.training.speed import prepare_module, uses_bf16, worker_count
from dreamaudio_core.training.tasks.alignment_task import AlignmentTask
from dreamaudio_core.training.tasks.flow_task import FlowTask, spectral_envelope
from dreamaudio_core.weights.checkpoint import load_weights, read_safetensors
from dreamaudio_core.weights.folder import read_config
from ports import free_port
from small_configs import MRC_SIZES, SMALL_VAE

pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

ROOT = Path(__file__).resolve().parents[1]
CHANNELS, FRAMES, BANDS, WIDTH = 4, 16, 8, 24


def write_cache(folder, items=12, seed=0, frames=FRAMES):
    """A shard of random latents in which the target repeats its references, so that there is
    something to learn.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(shape, generator=generator)

    tokens = noise(3 * (3 * items + 1), WIDTH)
    tables = {"references": [], "events": [], "placements": [], "captions": []}
    sounds, means, prompts, text, cursor = [], [], [], 1, 0
    for number in range(items):
        prompts.append(text)
        mean = torch.zeros(CHANNELS, frames, BANDS)
        for k in range(number % 3):
            sound = noise(4, CHANNELS, BANDS)
            mean[:, 4 * k : 4 * k + 4] += sound.transpose(0, 1)
            row = len(tables["references"])
            tables["references"].append(number)
            tables["events"].append([row, 0, cursor, cursor + 4])
            tables["placements"].append([row, 4 * k, cursor, cursor + 4])
            tables["captions"].append([row, 1, text + 1 + k])
            sounds.append(sound)
            cursor += 4
        means.append(mean)
        text += 3
    tensors = {
        "mean": torch.stack(means),
        "std": torch.full((items, CHANNELS, frames, BANDS), 0.1),
        "silence": torch.zeros(CHANNELS, 1, BANDS),
        "sounds": torch.cat(sounds),
        "tokens": tokens,
        "texts": torch.tensor([[3 * i, 3 * i + 3] for i in range(3 * items + 1)]),
        "prompts": torch.tensor(prompts),
        **{name: torch.tensor(rows) for name, rows in tables.items()},
    }
    write_shard(Path(folder) / f"{frames}.safetensors", tensors, {})
    return Path(folder)


def tiny(name="dreamaudio", fusion=None, references=3):
    """A preset made tiny; what makes the variant stays."""
    preset = PRESETS[name]
    sizes = {**MRC_SIZES, "latent_channels": CHANNELS, "text_dim": WIDTH}
    fusion = fusion or preset.mrc.fusion
    mrc = dataclasses.replace(preset.mrc, **sizes, num_references=references, fusion=fusion)
    vae = dataclasses.replace(SMALL_VAE, latent_channels=CHANNELS, scale_factor=1.0)
    return dataclasses.replace(preset, mrc=mrc, vae=vae, seconds=1.28)


def flow_task(cache, config=None, **options):
    torch.manual_seed(0)
    return FlowTask(config or tiny(), [cache], lr=2e-3, **options)


def options(run, **changes):
    values = {
        "steps": 6,
        "batch": 4,
        "warmup": 2,
        "ema": 0.9,
        "log_every": 2,
        "device": "cpu",
        "progress": False,
    }
    return TrainOptions(run, **{**values, **changes})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_cache(tmp_path_factory.mktemp("cache"))


def losses(task, choices):
    found = []
    result = train(task, choices, lambda step, values: found.append(values["flow/loss"]))
    return found, result


def test_epoch_batches_show_every_item_once_and_depend_on_seed_and_step_alone():
    batches = EpochBatches([8, 4], 4, seed=3)
    epoch = [batches.batch(step) for step in range(3)]
    assert sorted(sum(epoch, [])) == list(range(12))
    assert all(max(b) < 8 or min(b) >= 8 for b in epoch)
    assert EpochBatches([8, 4], 4, seed=3).batch(2) == epoch[2]
    assert batches.batch(1) == epoch[1]
    assert [EpochBatches([8, 4], 4, seed=4).batch(s) for s in range(3)] != epoch
    assert sorted(EpochBatches([2], 4, seed=0).batch(0)) == [0, 0, 1, 1]
    with pytest.raises(InputError, match="at least one item"):
        EpochBatches([], 4, seed=0)


def test_loss_falls_and_the_log_holds_curves(cache, tmp_path):
    task = flow_task(cache, augmentation=Augmentation(0.0, 0.0, 0.0))
    found, result = losses(
        task, options(tmp_path, steps=60, batch=8, save_every=100, validate_every=30)
    )
    assert result.step == 60 and not result.stopped
    assert sum(found[-10:]) < 0.75 * sum(found[:10])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [e.step for e in board.Scalars("flow/loss")][-1] == 60
    held = [e.value for e in board.Scalars("validation/loss")]
    assert len(held) == 2 and held[1] < held[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_changes_nothing(cache, tmp_path, workers):
    whole, _ = losses(
        flow_task(cache), options(tmp_path / "whole", workers=workers, accumulation=2)
    )
    parts = []
    for steps in (3, 6):
        torch.manual_seed(steps)  # What a fresh process would have drawn must not matter.
        found, _ = losses(
            FlowTask(tiny(), [cache], lr=2e-3) if steps == 6 else flow_task(cache),
            options(tmp_path / "parts", steps=steps, accumulation=2),
        )
        parts += found
    assert parts == pytest.approx(whole, rel=1e-4)
    one, two = (
        torch.load(saved_checkpoints(tmp_path / name)[-1][1], weights_only=True)
        for name in ("whole", "parts")
    )
    assert one["step"] == two["step"] == 6
    assert same_state(one["losses"]["flow"], two["losses"]["flow"])
    assert same_state(one["ema"], two["ema"])
    assert not same_state(
        {k.removeprefix("module."): v for k, v in one["ema"].items() if k != "n_averaged"},
        {k.removeprefix("network."): v for k, v in one["losses"]["flow"].items()},
    )
    for key, state in one["optimizers"]["flow"]["state"].items():
        assert same_state(state, two["optimizers"]["flow"]["state"][key])


def test_checkpoints_rotate_and_other_settings_are_refused(cache, tmp_path):
    train(flow_task(cache), options(tmp_path, steps=5, save_every=1, keep=2))
    assert [step for step, _ in saved_checkpoints(tmp_path)] == [4, 5]
    assert not list(tmp_path.rglob("*.task"))
    with pytest.raises(InputError, match="seed was 0 in this run, found 1"):
        train(flow_task(cache), options(tmp_path, steps=6, seed=1))
    with pytest.raises(InputError, match='"objective": "flow"'):
        train(flow_task(cache, tiny("dreamaudio-ddpm")), options(tmp_path, steps=6))


def test_average_follows_its_formula():
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    average, expected = averaged_copy(layer, 0.5), None
    for step in range(12):
        with torch.no_grad():
            layer.weight.add_(1.0)
        average.update_parameters(layer)
        decay = min(0.5, (1 + step) / (10 + step))
        now = layer.weight.detach().clone()
        expected = now if expected is None else decay * expected + (1 - decay) * now
    assert torch.allclose(average.module.weight, expected, atol=1e-6)
    assert torch.equal(average.module.bias, layer.bias)
    own = layer.weight.detach().clone()
    with averaged_weights(layer, average):
        assert torch.equal(layer.weight, average.module.weight)
    assert torch.equal(layer.weight, own)


VARIANTS = [(name, None) for name in PRESETS if name != "mini"] + [("mini", "placed")]


@pytest.mark.parametrize("name,fusion", VARIANTS)
def test_every_variant_takes_a_step_and_samples(tmp_path, monkeypatch, name, fusion):
    cache = write_cache(tmp_path / "cache", items=4)
    task = flow_task(cache, tiny(name, fusion))
    before = {k: v.clone() for k, v in task.network.state_dict().items()}
    found, _ = losses(
        task, options(tmp_path / "run", steps=2, precision="bf16" if name == "dreamaudio" else "no")
    )
    assert all(0 < value < 10 for value in found)
    assert not same_state(before, task.network.state_dict())
    config, state = load_weights(tmp_path / "run" / "flow.safetensors", "flow", MRCConfig)
    assert config == task.config.mrc and state.keys() == before.keys()
    monkeypatch.setattr(type(task.loss.objective), "preview_steps", 2)
    batch = task.dataset.collate(
        [task.dataset.example(i, torch.Generator().manual_seed(i)) for i in range(3)]
    )
    with torch.no_grad():
        made = task.generate(batch)
    assert made.shape == batch["data"].shape and torch.isfinite(made).all()


def test_shards_of_several_lengths_are_mixed(tmp_path):
    write_cache(tmp_path / "cache", items=4)
    cache = write_cache(tmp_path / "cache", items=4, frames=8)
    task = flow_task(cache)
    assert sorted(task.dataset.group_sizes()) == [4, 4]
    assert len(losses(task, options(tmp_path / "run", steps=2))[0]) == 2


def test_the_first_items_of_a_cache_stand_for_a_smaller_one(cache, tmp_path):
    """The paper's Table VI compares amounts of data; nothing is cached again for it."""
    whole = FlowDataset([cache], tiny(), 3, Augmentation())
    part = FlowDataset([Path(f"{cache}:7")], tiny(), 3, Augmentation())
    assert part.group_sizes() == [7] and part._items == whole._items[:7]
    assert with_count(Path(f"{cache}:7")) == (cache, 7) and with_count(cache) == (cache, None)
    with pytest.raises(InputError, match="expected 13 items in it, found 12; cache more"):
        FlowDataset([Path(f"{cache}:13")], tiny(), 3, Augmentation())


def test_no_step_at_all_writes_the_weights_of_the_start(cache, tmp_path):
    """The row of the paper's Table V whose alignment layer was never trained."""
    task = flow_task(cache)
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    assert train(task, options(tmp_path, steps=0)).step == 0
    assert same_state(read_safetensors(tmp_path / "flow.safetensors")[0], before)
    assert train(flow_task(cache), options(tmp_path, steps=2)).step == 2


def test_align_starts_as_identity_freezes_the_rest_and_loads(tmp_path):
    from small_model import make_folder

    folder = make_folder(tmp_path / "model", fusion="concat")
    config = read_config(folder)
    cache = write_cache(tmp_path / "cache", items=8)
    before = load_model(folder)
    _, base = load_weights(folder / "flow.safetensors", "flow", MRCConfig)
    task = AlignmentTask(config, [cache], base, references=5, lr=1e-2)
    assert task.network.config.max_references == 5

    generator = torch.Generator().manual_seed(0)
    shapes = {
        "z": (1, 4, 16, 8),
        "prompt": (1, 5, 24),
        "captions": (1, 3, 5, 24),
        "references": (1, 3, 4, 16, 8),
    }
    values = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    values.update(
        time=torch.tensor([0.3]),
        prompt_mask=torch.ones(1, 5, dtype=torch.bool),
        caption_mask=torch.ones(1, 3, 5, dtype=torch.bool),
    )
    with torch.no_grad():
        # Two slots more, with sounds of the others: the new layer passes only the first three.
        wide = {**values, "references": values["references"][:, [0, 1, 2, 0, 1]]}
        wide["reference_mask"] = torch.ones(1, 3, dtype=torch.bool)
        torch.testing.assert_close(
            task.network.eval()(**wide), before.flow(**values), atol=1e-5, rtol=1e-4
        )

    train(task, options(tmp_path / "run", steps=3))
    changed = {
        k
        for k, v in task.network.state_dict().items()
        if k not in base or not torch.equal(v, base[k])
    }
    assert changed == {"alignment.weight", "alignment.bias"}
    model = load_model(folder, flow=tmp_path / "run" / "flow.safetensors")
    assert model.max_references == 5
    _, exported = load_weights(tmp_path / "run" / "flow.safetensors", "flow", MRCConfig)
    assert all(torch.equal(exported[k], base[k]) for k in base)
    resumed = AlignmentTask(config, [cache], exported, references=5)
    assert torch.equal(resumed.network.alignment.weight, exported["alignment.weight"])

    with pytest.raises(InputError, match="more than the network's 3"):
        AlignmentTask(config, [cache], base, references=3)
    with pytest.raises(InputError, match="takes any number"):
        AlignmentTask(tiny("mini", "placed"), [cache], base, references=4)


def test_foreign_shards_are_refused(tmp_path, cache):
    with pytest.raises(InputError, match="text features have size 24, the model expects 32"):
        config = tiny()
        FlowTask(
            dataclasses.replace(config, mrc=dataclasses.replace(config.mrc, text_dim=32)), [cache]
        )
    with pytest.raises(InputError, match="its latents are"):
        FlowTask(dataclasses.replace(tiny(), vae=PRESETS["dreamaudio"].vae), [cache])
    with pytest.raises(InputError, match="expected shards"):
        FlowTask(tiny(), [tmp_path / "nothing"])


def test_spectral_envelope_is_the_mean_of_what_sounds():
    silence = torch.full((CHANNELS, 1, BANDS), -1.0)
    data = silence.expand(2, CHANNELS, 8, BANDS).clone()
    data[0, :, 2:4], data[0, :, 4:6] = 1.0, 3.0
    found = spectral_envelope(data, silence)
    assert found.shape == (2, CHANNELS, 1, BANDS)
    assert (found[0] == 2.0).all() and (found[1] == 0.0).all()


def test_envelope_is_learned_with_the_flow_and_exported(tmp_path):
    config = tiny(fusion="placed")
    config = dataclasses.replace(config, mrc=dataclasses.replace(config.mrc, envelope_bands=BANDS))
    cache = write_cache(tmp_path / "cache")
    task = flow_task(cache, config, augmentation=Augmentation(0.0, 0.0, 0.0))
    found = []
    train(
        task,
        options(tmp_path / "run", steps=60, batch=8, save_every=100, validate_every=100),
        lambda step, values: found.append((values["flow/loss"], values["flow/envelope"])),
    )
    assert all(loss > envelope > 0.0 for loss, envelope in found)
    assert sum(e for _, e in found[-10:]) < 0.5 * sum(e for _, e in found[:10])
    config, state = load_weights(tmp_path / "run" / "flow.safetensors", "flow", MRCConfig)
    assert config.envelope_bands == BANDS and state["prompt_envelope.out.weight"].abs().max() > 0.0


def test_time_power_moves_the_times_towards_the_noise(cache):
    times = []
    for power in (1.0, 2.0):
        source = flow_task(cache, times=FlowTimes(power)).dataset
        times.append(
            torch.stack(
                [source.example(0, torch.Generator().manual_seed(i))["time"] for i in range(50)]
            )
        )
    torch.testing.assert_close(times[1], times[0] ** 2)
    with pytest.raises(InputError, match="time power"):
        flow_task(cache, times=FlowTimes(0.0))


SCRIPT = """
import json, sys, time
sys.path[:0] = [{root!r}, {tests!r}]
from test_training_flow import flow_task, options, train, tiny
from pathlib import Path
cache, run, batch, steps, pause, accumulation, fusion, shard = sys.argv[1:]
found = []
def on_step(step, values):
    found.append(values["flow/loss"])
    (Path(run) / "step").write_text(str(step))
    time.sleep(float(pause))
Path(run).mkdir(parents=True, exist_ok=True)
task = flow_task(Path(cache), tiny("mini", "placed") if fusion == "placed" else None)
choices = options(
    Path(run) / "run", steps=int(steps), batch=int(batch), accumulation=int(accumulation),
    shard=shard == "True", validate_every=3,
)
result = train(task, choices, on_step)
import os
if os.environ.get("RANK", "0") == "0":
    held = sum(getattr(p, "_local_tensor", p).numel() for p in task.network.parameters())
    share = held / sum(p.numel() for p in task.network.parameters())
    (Path(run) / "losses.json").write_text(json.dumps([found, result.step, result.stopped, share]))
"""


def finish(process, seconds=900):
    """Wait for an orderly end; a process that hangs is ended, so that its output can be shown."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    assert process.wait() == 0, process.stderr.read().decode()


def start(
    folder,
    cache,
    run,
    batch,
    steps=6,
    pause=0.0,
    accumulation=1,
    fusion="concat",
    shard=False,
    launcher=(),
):
    script = folder / "train.py"
    script.write_text(SCRIPT.format(root=str(ROOT), tests=str(ROOT / "tests")))
    arguments = (cache, run, batch, steps, pause, accumulation, fusion, shard)
    return subprocess.Popen(
        [sys.executable, *launcher, str(script), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )


def start_pair(folder, cache, run, launcher, steps=6, **options):
    """Two processes on gloo, with two items and two micro-steps each."""
    port = str(free_port())
    launchers = {
        "torchrun": ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", port],
        # Without GPUs it starts several processes only by MPI, or told that they are GPUs.
        "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
        + ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        + ["--main_process_port", port],
    }
    words = ["-m", *launchers[launcher]]
    return start(folder, cache, run, 2, steps, accumulation=2, launcher=words, **options)


@pytest.mark.parametrize(
    "launcher, fusion, shard",
    [("accelerate", "concat", False), ("torchrun", "placed", False), ("torchrun", "concat", True)],
)
def test_two_gloo_processes_give_the_curve_of_one(tmp_path, launcher, fusion, shard):
    cache = write_cache(tmp_path / "cache")
    pair = start_pair(tmp_path, cache, tmp_path / "two", launcher, fusion=fusion, shard=shard)
    config = tiny("mini", "placed") if fusion == "placed" else None
    found, _ = losses(
        flow_task(cache, config), options(tmp_path / "one", batch=8, validate_every=3)
    )
    finish(pair)
    two, step, stopped, share = json.loads((tmp_path / "two" / "losses.json").read_text())
    # Of a sharded network each process holds half.
    assert share == pytest.approx(0.5 if shard else 1.0, abs=0.02)
    # Sums in another order, and six AdamW steps that amplify them: a relative 1e-4 of the loss.
    assert two == pytest.approx(found, rel=1e-4) and step == 6 and not stopped
    states = [
        torch.load(saved_checkpoints(tmp_path / name)[-1][1], weights_only=True)
        for name in ("one", "two/run")
    ]
    assert len(states[1]["rng"]) == 2
    # Six steps of 2e-3 move a weight by up to 1e-2; where a gradient is near zero, Adam's ratio of
    # moments is unstable.
    for one, other in zip(*(state["losses"]["flow"].values() for state in states)):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-3)
    # One process continues what two began.
    for name in ("one", "two/run"):
        rest, _ = losses(flow_task(cache, config), options(tmp_path / name, batch=8, steps=8))
        found += rest
    assert found[-2:] == pytest.approx(found[-4:-2], rel=1e-4) and len(found) == 10
    if shard:
        # And two, sharded, what one began.
        shutil.copytree(tmp_path / "one", tmp_path / "back" / "run")
        finish(start_pair(tmp_path, cache, tmp_path / "back", launcher, steps=9, shard=True))
        (loss,), *_ = json.loads((tmp_path / "back" / "losses.json").read_text())
        rest, _ = losses(flow_task(cache, config), options(tmp_path / "one", batch=8, steps=9))
        assert [loss] == pytest.approx(rest, rel=1e-4)


def test_what_cannot_be_sharded_says_so(tmp_path, cache):
    sharded = options(tmp_path / "run", steps=1, shard=True)
    with pytest.raises(InputError, match="shard: expected several processes"):
        train(flow_task(cache), sharded)
    with pytest.raises(InputError, match="shard: only the flow of a model that joins"):
        train(flow_task(cache, tiny("mini", "placed")), sharded)


def test_interrupt_leaves_a_checkpoint_that_continues_exactly(tmp_path, cache):
    process = start(tmp_path, cache, tmp_path / "cut", 4, steps=500, pause=0.2)
    deadline = time.monotonic() + 900
    while (
        not (tmp_path / "cut" / "step").exists()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    finish(process)
    found, step, stopped, _ = json.loads((tmp_path / "cut" / "losses.json").read_text())
    assert stopped and 1 <= step < 500 and len(found) == step
    assert [s for s, _ in saved_checkpoints(tmp_path / "cut" / "run")] == [step]
    rest, result = losses(flow_task(cache), options(tmp_path / "cut" / "run", steps=step + 3))
    whole, _ = losses(flow_task(cache), options(tmp_path / "whole", steps=step + 3))
    assert result.step == step + 3 and found + rest == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_step_that_fails_by_the_signal_is_a_stop_and_else_an_error(
    tmp_path, cache, monkeypatch, interrupted
):
    take = TrainingLoop._train_step

    def step(self, loader):
        if self.step == 3:
            if interrupted:
                os.kill(os.getpid(), signal.SIGINT)
            raise RuntimeError("compiler killed")
        return take(self, loader)

    monkeypatch.setattr(TrainingLoop, "_train_step", step)
    task = flow_task(cache)
    if interrupted:
        _, result = losses(task, options(tmp_path, save_every=2))
        assert (
            result.stopped
            and result.step == 2
            and [s for s, _ in saved_checkpoints(tmp_path)] == [2]
        )
    else:
        with pytest.raises(RuntimeError, match="compiler killed"):
            losses(task, options(tmp_path, save_every=2))


def first_difference(cache, folder, steps=6):
    """Losses of a run in `folder`, and of one that was never stopped."""
    rest, result = losses(flow_task(cache), options(folder, steps=steps))
    whole, _ = losses(flow_task(cache), options(folder.parent / "whole", steps=steps))
    return rest, whole, result


def test_a_killed_run_continues_exactly_and_leaves_no_partial_files(tmp_path, cache):
    process = start(tmp_path, cache, tmp_path / "cut", 4, steps=500, pause=0.2)
    run, deadline = tmp_path / "cut" / "run", time.monotonic() + 900
    while process.poll() is None and time.monotonic() < deadline:
        if (tmp_path / "cut" / "step").exists():
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    process.stderr.close()
    assert not saved_checkpoints(run)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "step-00000001.part").write_bytes(b"half")
    (run / "flow.safetensorsabc.part").write_bytes(b"half")
    rest, whole, _ = first_difference(cache, run, steps=3)
    assert rest == pytest.approx(whole, rel=1e-4) and not list(run.rglob("*.part"))


def spoil(path, how):
    if how == "cut short":
        path.write_bytes(path.read_bytes()[:-1000])
        return
    state = torch.load(path, weights_only=True)
    if how == "not finite":
        next(v for k, v in state["ema"].items() if k != "n_averaged").fill_(float("nan"))
    elif how == "a key missing":
        del state["rng"]
    elif how == "another step":
        state["step"] = 10**9
    elif how == "misshapen optimizer":
        moments = state["optimizers"]["flow"]["state"][0]
        moments["exp_avg"] = moments["exp_avg"].flatten()[:3]
    torch.save(state, path)


@pytest.mark.parametrize(
    "how", ["cut short", "not finite", "a key missing", "another step", "misshapen optimizer"]
)
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, cache, caplog, how):
    run = tmp_path / "run"
    train(flow_task(cache), options(run, steps=4, save_every=2, keep=2))
    spoil(run / "checkpoints" / "step-00000004.pt", how)
    rest, whole, result = first_difference(cache, run)
    assert result.step == 6 and rest == pytest.approx(whole[2:], rel=1e-4)
    assert "step-00000004.pt" in caplog.text and "the checkpoint before" in caplog.text
    assert (run / "checkpoints" / "step-00000004.damaged").exists()


def test_a_run_without_any_usable_checkpoint_stops(tmp_path, cache):
    train(flow_task(cache), options(tmp_path, steps=2))
    spoil(tmp_path / "checkpoints" / "step-00000002.pt", "cut short")
    with pytest.raises(CheckpointError, match="none of its 1 checkpoints can be used"):
        train(flow_task(cache), options(tmp_path, steps=4))


@pytest.mark.parametrize("bad_from", [0, 4])
def test_losses_that_are_not_finite_stop_the_run(tmp_path, cache, monkeypatch, bad_from):
    monkeypatch.setattr(loop, "MOST_SKIPPED_IN_A_ROW", 3)
    task = flow_task(cache)
    task.start_step = lambda step: setattr(task, "step", step)
    forward = task.loss.forward

    def spoiled(batch):
        terms = forward(batch)
        bad = task.step >= bad_from
        return {"loss": terms["loss"] * float("nan")} if bad else terms

    monkeypatch.setattr(task.loss, "forward", spoiled)
    with pytest.raises(TrainingError, match="no finite gradient"):
        train(task, options(tmp_path, steps=2 if bad_from == 0 else 50, save_every=2))
    assert [step for step, _ in saved_checkpoints(tmp_path)] == ([] if bad_from == 0 else [2, 4, 6])


def test_weights_that_are_not_finite_are_not_saved(tmp_path, cache):
    task = flow_task(cache)
    task.optimizer_steps[0].clip = float("nan")
    with pytest.raises(TrainingError, match="no longer finite"):
        train(task, options(tmp_path, steps=1))
    assert not saved_checkpoints(tmp_path) and not (tmp_path / "flow.safetensors").exists()


def test_a_full_disk_is_reported_and_keeps_the_checkpoints_before(tmp_path, cache, monkeypatch):
    train(flow_task(cache), options(tmp_path, steps=2))

    def full(state, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_state.torch, "save", full)
    with pytest.raises(CheckpointError, match="No space left on device.*free disk space"):
        train(flow_task(cache), options(tmp_path, steps=4))
    assert [step for step, _ in saved_checkpoints(tmp_path)] == [2]
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("words", [("--lr", "nan"), ("--clip", "nan"), ("--time-power", "nan")])
def test_values_that_are_not_numbers_are_refused(words, tmp_path, capsys):
    command = ["train", "flow", str(tmp_path / "run"), "--model", "dreamaudio", "--steps", "1"]
    with pytest.raises(SystemExit):
        main([*command, "--data", str(tmp_path), *words])
    assert f"argument {words[0]}: expected a number above 0, found nan" in capsys.readouterr().err


def test_logit_normal_times_lie_in_the_middle(cache):
    def times(given):
        dataset = FlowDataset([cache], tiny(), 3, Augmentation(), given)
        generator = torch.Generator().manual_seed(0)
        return torch.stack([dataset.example(i % 12, generator)["time"] for i in range(400)])

    even, middle = times(FlowTimes()), times(FlowTimes(spread=0.5))
    assert ((even > 0.25) & (even < 0.75)).float().mean() == pytest.approx(0.5, abs=0.08)
    # 2.2 deviations on both sides.
    assert ((middle > 0.25) & (middle < 0.75)).float().mean() > 0.94
    with pytest.raises(InputError, match="time spread: expected a number above 0, found 0"):
        FlowTimes(spread=0.0)


def test_channels_are_weighed_by_their_deviation(cache):
    task = flow_task(cache, weigh_channels=True)
    weights = task.dataset.channel_weights()
    assert weights.shape == (CHANNELS, 1, 1) and weights.mean() == pytest.approx(1.0)
    shard = task.dataset.shards[0]
    wider = torch.stack([shard[i].mean[0].std() for i in range(12)]).mean()
    other = torch.stack([shard[i].mean[1].std() for i in range(12)]).mean()
    assert weights[0, 0, 0] / weights[1, 0, 0] == pytest.approx(float(wider / other), rel=1e-4)
    batch = task.dataset.collate(
        [task.dataset.example(i, torch.Generator().manual_seed(i)) for i in range(2)]
    )
    # A network that answers zero errs by the velocity.
    for parameter in task.network.parameters():
        parameter.data.zero_()
    errors = (batch["data"] - (1 - 1e-5) * batch["noise"]).square()
    found = task.loss(batch)["loss"].detach()
    torch.testing.assert_close(found, (weights * errors).mean())
    assert task.settings["channels weighed"] is True


def test_stretches_are_cut_around_placed_references(tmp_path):
    cache = write_cache(tmp_path / "cache", items=6)
    config = tiny(fusion="placed")
    frames = 8
    seconds = frames * config.frame_seconds
    dataset = FlowDataset(
        [cache], config, 3, Augmentation(0.0, 0.0, 0.0, 1.0), FlowTimes(), seconds
    )
    assert dataset.group_sizes() == [6, 6]
    whole = dataset.example(2, torch.Generator().manual_seed(0))["batch"]
    assert whole.data.shape[2] == FRAMES
    for seed in range(20):
        # The third item has references at frames 0 and 4, 4 frames each.
        generator = torch.Generator().manual_seed(seed)
        batch = dataset.example(8, generator)["batch"]
        assert batch.data.shape[2] == batch.references.shape[3] == frames
        # Placed, whatever the share of free references, and at least one is wholly inside.
        assert (batch.references[batch.reference_mask][:, -1] == 1).all()
        inside = batch.references[0, :, -2, :, 0].sum(dim=-1)
        assert inside.max() == 4 and (batch.reference_mask[0] == (inside > 0)).all()
        # The target is cut alike: it repeats its references.
        k = int(inside.argmax())
        where = batch.references[0, k, -2, :, 0].bool()
        sound = batch.references[0, k, :-2][:, where]
        assert (batch.data[0][:, where] - sound).abs().mean() < 0.2
    item = dataset.shards[0][0]
    assert item.references == []
    starts = {stretch_start(item, frames, torch.Generator().manual_seed(s)) for s in range(60)}
    assert min(starts) >= 0 and max(starts) <= FRAMES - frames and len(starts) > 5
    with pytest.raises(InputError, match="stretch seconds: this model places references itself"):
        FlowDataset([cache], tiny(), 3, Augmentation(), FlowTimes(), seconds)


@pytest.mark.parametrize("switch", ["channels_last", "compile"])
def test_switches_for_speed_change_nothing_but_rounding(tmp_path, cache, monkeypatch, switch):
    original = torch.nn.Module.compile
    # Tracing and replaying, without minutes of a C++ compiler.
    monkeypatch.setattr(torch.nn.Module, "compile", lambda m: original(m, backend="aot_eager"))
    plain, _ = losses(flow_task(cache), options(tmp_path / "plain", steps=3))
    task = flow_task(cache)
    fast, _ = losses(task, options(tmp_path / "fast", steps=3, **{switch: True}))
    assert fast == pytest.approx(plain, rel=1e-3)
    if switch == "channels_last":
        weight = task.network.noise_encoder.stem.weight
        assert weight.is_contiguous(memory_format=torch.channels_last)
    else:
        batch = task.dataset.collate([task.dataset.example(0, torch.Generator())])
        tokens = tiny().text.max_tokens
        assert batch["prompt"].shape[1] == tokens and batch["captions"].shape[1:3] == (3, tokens)


# Those of -DDPM and -SEncoder are put together of the same parts as the first.
@pytest.mark.parametrize("variant", ["", "-unet"])
def test_the_paper_s_networks_compile_without_graph_breaks(cache, variant):
    task = flow_task(cache, tiny(f"dreamaudio{variant}"))
    task.fix_shapes()
    examples = [task.dataset.example(i, torch.Generator().manual_seed(i)) for i in range(2)]
    torch._dynamo.reset()
    found = torch._dynamo.explain(task.loss)(task.dataset.collate(examples))
    assert found.graph_count == 1, [str(reason.reason) for reason in found.break_reasons]


def test_only_the_flow_can_be_compiled(tmp_path):
    with pytest.raises(InputError, match="compile: only the flow's training"):
        prepare_module(torch.nn.Linear(2, 2), options(tmp_path, steps=1, compile=True), False)


def test_precision_and_workers_follow_the_device(tmp_path, monkeypatch):
    auto, asked = (
        options(tmp_path, precision="auto"),
        options(tmp_path, precision="bf16", workers=2),
    )
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert not uses_bf16(auto, cpu) and uses_bf16(asked, cpu)
    assert (worker_count(auto, cpu), worker_count(auto, gpu), worker_count(asked, gpu)) == (0, 4, 2)
    for able in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able)
        assert uses_bf16(auto, gpu) == able
