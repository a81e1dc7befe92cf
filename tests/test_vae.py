"""The VAE: parity with diffusers under the same weights, and every checkpoint format it is found
in.
"""

import dataclasses
import json

import pytest
import torch
from diffusers import AutoencoderKL as DiffusersVAE
from safetensors.torch import save_file

from dreamaudio_core.config import PRESETS
from dreamaudio_core.errors import CheckpointError
from dreamaudio_core.networks.vae import AutoencoderKL
from dreamaudio_core.weights.checkpoint import load_state, save_weights
from dreamaudio_core.weights.convert import convert
from dreamaudio_core.weights.latent_diffusion import load_vae
from dreamaudio_core.weights.load import load_part

SCALE = 0.4110932946205139


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    return DiffusersVAE(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 128),
        layers_per_block=2,
        latent_channels=8,
        norm_num_groups=32,
        scaling_factor=SCALE,
        sample_size=64,
    ).eval()


@pytest.fixture
def folder(reference, tmp_path):
    reference.save_pretrained(tmp_path / "model" / "vae")
    return tmp_path / "model"


@pytest.fixture
def ours(folder):
    return load_part("vae", folder / "vae")


@torch.no_grad()
def test_parity_with_diffusers(reference, ours):
    mel = torch.randn(2, 1, 64, 64)
    expected = reference.encode(mel).latent_dist
    posterior = ours.posterior(mel)
    torch.testing.assert_close(posterior.mean, expected.mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(posterior.logvar, expected.logvar, atol=1e-4, rtol=0)
    latent = torch.randn(2, 8, 16, 16)
    torch.testing.assert_close(
        ours.decode(latent * SCALE), reference.decode(latent).sample, atol=1e-4, rtol=0
    )
    torch.testing.assert_close(posterior.kl(), expected.kl(), rtol=1e-4, atol=1e-2)
    assert ours.config.scale_factor == SCALE


def ldm_state(ours: AutoencoderKL) -> dict:
    """The layout of AudioLDM's checkpoints, with the parts beside the VAE that they hold."""
    state = {f"first_stage_model.{k}": v for k, v in ours.state_dict().items()}
    state["first_stage_model.loss.logvar"] = torch.zeros(1)
    state["model.diffusion_model.time_embed.0.weight"] = torch.randn(4, 4)
    state["model_ema.decay"] = torch.tensor(0.999)
    state["scale_factor"] = torch.tensor(0.9227914214134216)
    return state


@pytest.mark.parametrize("lightning", [False, True], ids=["audioldm", "flowsep"])
def test_reads_pickled_checkpoints(ours, tmp_path, lightning):
    content = {"state_dict": ldm_state(ours)}
    if lightning:
        content.update(
            {
                "epoch": 3,
                "global_step": 1000,
                "pytorch-lightning_version": "2.1.0",
                "loops": {},
                "callbacks": {},
            }
        )
    path = tmp_path / "model.ckpt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="convert"):
        load_vae(path)
    config, state = load_vae(path, allow_pickle=True)
    assert config == dataclasses.replace(
        ours.config, scale_factor=pytest.approx(0.9227914214134216)
    )
    for key, tensor in ours.state_dict().items():
        assert torch.equal(state[key], tensor)
    out = tmp_path / "vae.safetensors"
    assert convert(path, out) == "vae"
    back = load_part("vae", out)
    assert back.config == config
    mel = torch.randn(1, 1, 32, 64)
    torch.testing.assert_close(back.posterior(mel).mean, ours.posterior(mel).mean)


def test_reads_ldm_safetensors_and_our_own(ours, tmp_path):
    save_file(ldm_state(ours), tmp_path / "ldm.safetensors")
    assert load_vae(tmp_path / "ldm.safetensors")[0].scale_factor == pytest.approx(
        0.9227914214134216
    )
    save_weights(tmp_path / "own.safetensors", ours.state_dict(), "vae", ours.config, torch.float16)
    assert (tmp_path / "own.safetensors").stat().st_mode & 0o777 == 0o644
    assert load_part("vae", tmp_path / "own.safetensors").config == ours.config
    assert not list(tmp_path.glob("*.part"))


def test_finds_the_vae_folder_of_a_whole_pipeline(folder):
    assert load_vae(folder)[0].scale_factor == SCALE


def test_damaged_files_are_named(ours, folder, tmp_path):
    good = tmp_path / "own.safetensors"
    save_weights(good, ours.state_dict(), "vae", ours.config)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-1000])
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    missing_scale = {k: v for k, v in ldm_state(ours).items() if k != "scale_factor"}
    torch.save({"state_dict": missing_scale}, tmp_path / "noscale.ckpt")
    torch.save({"state_dict": {"a.b": torch.zeros(1)}}, tmp_path / "foreign.ckpt")
    (tmp_path / "garbage.ckpt").write_bytes(b"not a checkpoint at all")
    torch.save({"state_dict": object}, tmp_path / "code.ckpt")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    cases = {
        cut: "not a complete safetensors",
        empty: "empty",
        tmp_path / "noscale.ckpt": "scale_factor",
        tmp_path / "foreign.ckpt": "first_stage_model",
        tmp_path / "garbage.ckpt": "weights-only",
        tmp_path / "code.ckpt": "weights-only",
        tmp_path / "foreign.safetensors": "first_stage_model",
        tmp_path / "absent.safetensors": "no such file",
    }
    for path, words in cases.items():
        with pytest.raises(CheckpointError, match=words) as caught:
            load_vae(path, allow_pickle=True)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
    config = json.loads((folder / "vae" / "config.json").read_text())
    del config["scaling_factor"]
    (folder / "vae" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="scaling_factor"):
        load_vae(folder)


def test_wrong_shape_names_key_expected_and_found(ours):
    state = dict(ours.state_dict())
    state["quant_conv.weight"] = torch.zeros(2, 2, 1, 1)
    with pytest.raises(
        CheckpointError, match=r"here.*quant_conv.weight.*\[16, 16, 1, 1\].*\[2, 2, 1, 1\]"
    ):
        load_state(AutoencoderKL(ours.config, device="meta"), state, "here")
    del state["quant_conv.weight"]
    with pytest.raises(CheckpointError, match="'quant_conv.weight' is missing"):
        load_state(AutoencoderKL(ours.config, device="meta"), state, "here")
    state = {**ours.state_dict(), "extra.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="unexpected key 'extra.weight'"):
        load_state(AutoencoderKL(ours.config, device="meta"), state, "here")
    state = {k: v.clone() for k, v in ours.state_dict().items()}
    state["quant_conv.bias"][0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN"):
        load_state(AutoencoderKL(ours.config, device="meta"), state, "here")


def test_full_size():
    network = AutoencoderKL(PRESETS["dreamaudio"].vae, device="meta")
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(55.4, rel=0.01)
    assert PRESETS["dreamaudio"].latent_shape() == (8, 256, 16)
