"""The command line as a user runs it: generate, info, convert, and bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dreamaudio_core.cli import main
from dreamaudio_core.config import VAEConfig
from dreamaudio_core.errors import CheckpointError
from dreamaudio_core.loading import load_model
from dreamaudio_core.networks.vae import AutoencoderKL
from dreamaudio_core.scene.timeline import Arrangement
from dreamaudio_core.weights.checkpoint import read_safetensors
from dreamaudio_core.weights.folder import MODELS
from small_model import make_folder

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "dreamaudio_core" / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(make_folder(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def sound(tmp_path):
    def write(name, samples, rate=16_000, **kwargs):
        path = tmp_path / name
        soundfile.write(path, samples, rate, **kwargs)
        return str(path)

    return write


def noise(seconds, rate=16_000, channels=1):
    return 0.3 * np.random.default_rng(0).uniform(-1, 1, (round(seconds * rate), channels))


def generate(folder, *extra, out):
    return main(
        [
            "generate",
            "--model",
            folder,
            "--prompt",
            "a crow caws then a bell rings",
            "--seconds",
            "0.64",
            "--steps",
            "1",
            *extra,
            "--out",
            str(out),
        ]
    )


def test_generate_with_example_sounds(folder, tmp_path, capsys):
    captions = json.loads((EXAMPLES / "captions.json").read_text())
    options = [
        word
        for name, caption in captions.items()
        for word in ("--reference", str(EXAMPLES / name), caption)
    ]
    assert len(captions) == 3
    assert (
        generate(folder, *options, "--at", "0.2", "--strength", "1.5", out=tmp_path / "a" / "x.wav")
        == 0
    )
    info = soundfile.info(tmp_path / "a" / "x.wav")
    assert (info.samplerate, info.channels, info.frames) == (16_000, 1, 10_240)
    captured = capsys.readouterr()
    assert "0.20 s" in captured.err and "x.wav" in captured.out


def test_count_makes_variations(folder, tmp_path):
    assert generate(folder, "--count", "3", "--seed", "4", out=tmp_path / "v.flac") == 0
    takes = [soundfile.read(tmp_path / f"v_{i}.flac")[0] for i in (1, 2, 3)]
    assert np.abs(takes[0] - takes[1]).max() > 1e-3
    assert generate(folder, "--seed", "6", out=tmp_path / "w.flac") == 0
    np.testing.assert_allclose(soundfile.read(tmp_path / "w.flac")[0], takes[2], atol=1e-3)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_reference_rates(folder, sound, tmp_path, rate):
    assert (
        generate(
            folder,
            "--reference",
            sound("r.wav", noise(0.3, rate), rate),
            "a bell",
            out=tmp_path / "x.wav",
        )
        == 0
    )


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_reference_channels(folder, sound, tmp_path, channels):
    path = sound("c.wav", noise(0.3, channels=channels))
    assert generate(folder, "--reference", path, "a bell", out=tmp_path / "x.wav") == 0


@pytest.mark.parametrize("seconds", [0.05, 600.0])
def test_reference_lengths(folder, sound, tmp_path, seconds):
    assert (
        generate(
            folder, "--reference", sound("l.wav", noise(seconds)), "a bell", out=tmp_path / "x.wav"
        )
        == 0
    )


def test_bad_references(folder, sound, tmp_path, capsys):
    nan = noise(0.5)
    nan[100] = float("nan")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is not a sound")
    cases = {
        str(tmp_path / "absent.wav"): "does not exist",
        str(tmp_path / "empty.wav"): "empty",
        str(tmp_path / "text.wav"): "audio",
        str(tmp_path): "folder",
        sound("nan.wav", nan, subtype="FLOAT"): "NaN",
        sound("silent.wav", np.zeros(16_000)): "silent",
        sound("none.wav", np.zeros(0)): "empty|no samples|no frames|holds no",
    }
    for path, words in cases.items():
        assert generate(folder, "--reference", path, "a bell", out=tmp_path / "x.wav") == 2, path
        message = capsys.readouterr().err
        assert Path(path).name in message and message.count("\n") == 1, message
        assert any(word.lower() in message.lower() for word in words.split("|")), message
    assert not (tmp_path / "x.wav").exists()


@pytest.mark.parametrize(
    "options, words",
    [
        (["--steps", "0"], "steps"),
        (["--guidance", "1e9"], "guidance"),
        (["--guidance", "nan"], "guidance"),
        (["--seconds", "-3"], "seconds"),
        (["--solver", "magic"], "solver"),
        (["--seed", "-1"], "seed"),
        (["--count", "0"], "count"),
        (["--model", "nowhere"], "nowhere"),
        (["--vae", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_absurd_options(folder, tmp_path, capsys, options, words):
    assert generate(folder, *options, out=tmp_path / "x.wav") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: ") and words in message
    assert not (tmp_path / "x.wav").exists()


def test_sound_options(folder, tmp_path, capsys):
    crow = EXAMPLES / "crow.flac"
    samples, rate = soundfile.read(crow)
    late = tmp_path / "late.wav"
    soundfile.write(late, np.concatenate((np.zeros(2 * rate), samples, np.zeros(rate))), rate)
    options = ["--reference", str(late), "a crow caws", "--at", "0.1", "--for", "0.4"]
    options += ["--gain", "-6", "--detail", "1", "--sample-rate", "48000", "--missing", "silence"]
    options += ["--variation", "0.5", "--count", "2", "--level", "peak"]
    assert generate(folder, *options, out=tmp_path / "x.wav") == 0
    first, rate = soundfile.read(tmp_path / "x_1.wav")
    second, _ = soundfile.read(tmp_path / "x_2.wav")
    assert rate == 48_000 and len(first) == 0.64 * 48_000
    assert not np.allclose(first, second, atol=0.01)
    assert np.abs(first).max() == pytest.approx(10 ** (-1 / 20), rel=0.05)
    assert "2.00 to 2.4" in capsys.readouterr().err
    part = ["--reference", str(late), "a crow caws", "--begin", "2.1", "--end", "2.3"]
    assert generate(folder, *part, out=tmp_path / "part.wav") == 0
    assert "2.10 to 2.30 s of" in capsys.readouterr().err
    assert generate(folder, *part, "--whole", out=tmp_path / "y.wav") == 2
    assert "give --whole or a part" in capsys.readouterr().err
    wrong = (("--detail", "2"), ("--variation", "-1"), ("--gain", "99"), ("--begin", "60"))
    for option, value in wrong:
        bad = ["--reference", str(crow), "a crow", option, value]
        assert generate(folder, *bad, out=tmp_path / "y.wav") == 2
        assert option[2:] in capsys.readouterr().err


def test_guidance_beyond_what_the_model_bears_is_cut_with_a_word(folder, tmp_path, capsys):
    assert generate(folder, "--guidance", "25", out=tmp_path / "x.wav") == 0
    assert "guidance: 25 is more than this model bears; 10 is used" in capsys.readouterr().err


def test_nine_references(folder, sound, tmp_path, capsys):
    options = ["--reference", sound("r.wav", noise(0.2)), "a bell"] * 9
    assert generate(folder, *options, out=tmp_path / "x.wav") == 2
    assert "at most 8, found 9" in capsys.readouterr().err


def test_unwritable_output(folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "x.wav", tmp_path / "x.xyz", tmp_path):
        assert generate(folder, out=out) == 2
        assert "cannot write" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_starts_add_up(folder, sound, tmp_path, capsys):
    path = sound("r.wav", noise(0.1))
    starts = ["--at", "0.4", "--at", "0.1, 0.25"]
    assert generate(folder, "--reference", path, "a bell", *starts, out=tmp_path / "x.wav") == 0
    assert "0.10 s for 0.10 s, 0.25 s for 0.10 s, 0.40 s for" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        generate(folder, "--reference", path, "a", "--at", "soon", out=tmp_path / "x.wav")
    assert "--at: expected auto, or seconds" in capsys.readouterr().err


def test_arrange_prints_a_value_that_can_be_read_back(folder, sound, capsys):
    path = sound("r.wav", noise(0.1))
    words = ["arrange", "--model", folder, "--prompt", "a bell", "--seconds", "2"]
    words += ["--reference", path, "a bell", "--at", "0.5", "--reference", path, "a crow"]
    assert main([*words, "--json"]) == 0
    found = Arrangement.from_json(capsys.readouterr().out)
    assert found.seconds == 2.0 and found.timeline[0][0].start == 0.5
    assert [r.caption for r in found.references] == ["a bell", "a crow"]
    assert main(words) == 0
    assert "reference 1, 'a bell': 0.50 s for 0.10 s (set by hand)" in capsys.readouterr().out


def test_an_output_never_replaces_a_reference(folder, sound, tmp_path, capsys):
    path = sound("r.wav", noise(0.3))
    before = Path(path).read_bytes()
    assert generate(folder, "--reference", path, "a bell", out=path) == 2
    assert "r.wav is a reference" in capsys.readouterr().err
    assert Path(path).read_bytes() == before


def test_existing_files_are_replaced_only_when_asked(folder, tmp_path, capsys):
    (tmp_path / "v_2.wav").write_bytes(b"mine")
    (tmp_path / "w.safetensors").write_bytes(b"mine")
    assert generate(folder, "--count", "2", out=tmp_path / "v.wav") == 2
    assert main(["convert", "absent.ckpt", "--out", str(tmp_path / "w.safetensors")]) == 2
    told = capsys.readouterr().err
    assert "v_2.wav exists" in told and "w.safetensors exists" in told
    assert sorted(p.read_bytes() for p in tmp_path.iterdir()) == [b"mine", b"mine"]
    assert generate(folder, "--overwrite", "--count", "2", out=tmp_path / "v.wav") == 0
    assert soundfile.info(tmp_path / "v_2.wav").frames == 10_240


def test_a_device_that_is_not_there(folder, tmp_path, capsys):
    missing = () if torch.cuda.is_available() else ("cuda",)
    for name in ("cuda:99", "abacus", *missing):
        assert generate(folder, "--device", name, out=tmp_path / "x.wav") == 2
        told = capsys.readouterr().err
        assert f"device: {name!r} cannot be used" in told and told.count("\n") == 1, told


def test_an_output_that_cannot_be_written_is_one_line(folder, tmp_path, capsys):
    """In every command, also where only its folder is to be made."""
    file = tmp_path / "file"
    file.write_text("x")
    sounds = Path(folder) / "sounds"
    sounds.mkdir(exist_ok=True)
    soundfile.write(sounds / "bell.wav", np.ones(1600, np.float32) / 2, 16_000)
    for words in (
        ["data", "scan", "folder", sounds, "--out", file / "x" / "y.jsonl"],
        ["data", "compose", "fantasy", "--scenarios", file, "--out", file / "x"],
        ["evaluate", "tables", "--out", file / "tables"],
        ["library", "add", sounds, "--library", file / "x.sqlite"],
    ):
        assert main([str(word) for word in words]) == 2, words
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ") and str(file) in error, error


def test_a_reader_that_has_gone_ends_the_command_quietly(folder):
    command = f"{sys.executable} -m dreamaudio_core info {folder} | true"
    found = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in found.stderr and "Exception" not in found.stderr


def test_a_set_has_one_name_in_data_and_evaluation():
    from dreamaudio_core.data.cli import FANTASY
    from dreamaudio_core.data.datasets import DATASETS
    from dreamaudio_core.evaluation.ctta import TEST_SETS

    assert set(TEST_SETS) == {*DATASETS, FANTASY} - {"composed"}


def test_weights_of_another_objective_are_refused_wherever_they_are_named(tmp_path, capsys):
    """A network that predicts noise is no flow, though all shapes agree."""
    folder = make_folder(tmp_path / "flow", "concat")
    other = make_folder(tmp_path / "ddpm", "concat", objective="ddpm") / "flow.safetensors"
    with pytest.raises(CheckpointError, match="its objective is ddpm, the model's is flow"):
        load_model(folder, flow=other)
    words = ["train", "flow", tmp_path / "run", "--model", folder, "--data", tmp_path]
    words += ["--steps", 1, "--initial", other, "--device", "cpu"]
    assert main([str(word) for word in words]) == 2
    assert "mrc.objective is ddpm, the model expects flow" in capsys.readouterr().err


def test_at_needs_a_reference(folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        generate(folder, "--at", "1", out=tmp_path / "x.wav")
    assert "put a --reference first" in capsys.readouterr().err


@pytest.mark.parametrize("name, millions", [("dreamaudio", 277.6), ("dreamaudio-l", 888.9)])
def test_info_of_presets(name, millions, capsys):
    assert main(["info", name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["parameters"]
    assert found["total"] / 1e6 == pytest.approx(millions, rel=0.01)
    assert {"noise_encoder", "reference_encoder", "middle", "decoder", "total"} <= set(found)


def test_info_of_folders_and_files(folder, capsys):
    assert main(["info", folder]) == 0
    assert "flow.safetensors" in capsys.readouterr().out
    assert main(["info", f"{folder}/vae.safetensors", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["part"] == "vae"
    assert main(["info", "nothing-of-the-kind"]) == 2
    assert "presets are" in capsys.readouterr().err


def test_convert(tmp_path, capsys):
    vae = AutoencoderKL(
        VAEConfig(channels=32, multipliers=(1, 2), num_res_blocks=1, latent_channels=4)
    )
    state = {f"first_stage_model.{k}": v for k, v in vae.state_dict().items()}
    torch.save({"state_dict": {**state, "scale_factor": torch.tensor(0.5)}}, tmp_path / "m.ckpt")
    out = tmp_path / "v.safetensors"
    assert main(["convert", str(tmp_path / "m.ckpt"), "--out", str(out), "--dtype", "float16"]) == 0
    tensors, metadata = read_safetensors(out)
    assert metadata["part"] == "vae" and tensors["quant_conv.weight"].dtype == torch.float16
    assert (
        main(["convert", str(tmp_path / "absent.ckpt"), "--out", str(tmp_path / "w.safetensors")])
        == 2
    )
    assert "absent.ckpt" in capsys.readouterr().err


def run(*args, **env):
    return subprocess.run(
        [sys.executable, *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **env},
    )


def test_import_does_no_work():
    code = (
        "import sys, time; import torch; start = time.process_time(); import dreamaudio_core; "
        "print(time.process_time() - start, 'comfy' in sys.modules, 'transformers' in sys.modules)"
    )
    seconds, comfy, transformers = run("-c", code).stdout.split()
    assert float(seconds) < 0.5 and comfy == "False" and transformers == "False"


@pytest.mark.skipif(
    not (MODELS / "mini" / "config.json").exists(),
    reason="the embedded model's weights are not here",
)
def test_embedded_model_end_to_end(tmp_path):
    """The README's way of using it, as a process of its own, without a network."""
    out = tmp_path / "out.wav"
    captions = json.loads((EXAMPLES / "captions.json").read_text())
    options = [
        word
        for name, caption in captions.items()
        for word in ("--reference", str(EXAMPLES / name), caption)
    ]
    done = run(
        "-m",
        "dreamaudio_core",
        "generate",
        "--prompt",
        "a crow caws, then a cash register rings",
        *options,
        "--seconds",
        "2.56",
        "--steps",
        "4",
        "--out",
        str(out),
    )
    assert done.returncode == 0, done.stderr
    samples, rate = soundfile.read(out)
    assert rate == 44_100 and len(samples) == 112_896
    assert 0.001 < np.sqrt(np.mean(samples**2)) < 0.5


def test_embedded_model_fits_the_repository():
    files = [p for p in (MODELS / "mini").rglob("*") if p.is_file()]
    assert all(p.stat().st_size < 50e6 for p in files)
    assert sum(p.stat().st_size for p in files) < 120e6


@pytest.mark.parametrize(
    "command",
    [
        "generate",
        "batch",
        "comfyui-batch",
        "arrange",
        "roundtrip",
        "info",
        "convert",
        "data",
        "train",
        "evaluate",
        "library",
    ],
)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"dreamaudio {command}" in capsys.readouterr().out
