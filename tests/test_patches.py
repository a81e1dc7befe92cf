"""The VAE on patches: its linear start, independence of length, and the paper's VAE beside it."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dreamaudio_core.audio.mel import LogMel
from dreamaudio_core.config import AudioConfig, VAEConfig
from dreamaudio_core.networks.vae import AutoencoderKL, Encoder
from dreamaudio_core.weights.checkpoint import load_weights, save_weights
from dreamaudio_core.weights.load import load_part
from scripts import load_script
from small_bank import fill_bank

SMALL = VAEConfig(
    patch_size=8,
    channels=8,
    multipliers=(1,),
    num_res_blocks=1,
    latent_channels=16,
    decoder_channels=12,
    decoder_blocks=2,
    scale_factor=0.9,
)
fit_transform = load_script("recipes/mini/fit_transform.py")


def tones(count=12, samples=20_480):
    """Log-mels [count, 1, 128, 64] of decaying tones and noise."""
    torch.manual_seed(0)
    time = torch.arange(samples) / 16_000
    pitch = 100 * 2 ** (torch.rand(count, 1) * 5)
    decay = torch.exp(-time * torch.rand(count, 1) * 8)
    sound = decay * (torch.sin(2 * torch.pi * pitch * time) + 0.1 * torch.randn(count, samples))
    return LogMel(AudioConfig())(0.3 * sound)


def trained(config=SMALL):
    """A VAE whose residual networks do something."""
    torch.manual_seed(1)
    vae = AutoencoderKL(config).eval()
    for parameter in vae.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return vae.requires_grad_(False)


def test_starts_as_the_transform():
    mel = tones()
    vae = fit_transform.transform_vae(mel, SMALL).requires_grad_(False)
    latent = vae.encode(mel)
    assert latent.shape == (12, 16, 16, 8) and SMALL.stride == 8
    found = fit_transform.patches(mel, 8)
    centred = found - found.mean(0)
    _, vectors = torch.linalg.eigh(torch.cov(centred.T).double())
    basis = vectors.flip(1)[:, :16].float()
    expected = centred @ basis @ basis.T + found.mean(0)
    decoded = fit_transform.patches(vae.decode(latent), 8)
    torch.testing.assert_close(decoded, expected, atol=2e-3, rtol=0)
    assert (decoded - found).abs().mean() < 0.25 * centred.abs().mean()


def test_scales_grow_as_the_root_of_the_deviations():
    mean, basis, scale, values = fit_transform.fit(tones(), SMALL)
    deviation = values[:16].sqrt()
    ratio = (scale * deviation) / deviation.sqrt()
    torch.testing.assert_close(ratio, ratio[:1].expand(16), atol=0, rtol=1e-4)
    assert ((scale * deviation).square().mean() - 1).abs() < 1e-4


def test_more_coefficients_are_more_exact():
    mel = tones()
    errors = []
    for channels in (4, 16, 64):
        vae = fit_transform.transform_vae(mel, replace(SMALL, latent_channels=channels))
        with torch.no_grad():
            errors.append(float((vae.decode(vae.encode(mel)) - mel).abs().mean()))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-3


def test_a_latent_does_not_depend_on_the_length_of_the_silence_around_it():
    mel = tones(2)
    silence = torch.full((2, 1, 256, 64), 1e-5).log()
    vae = trained()
    short = vae.encode(torch.cat([silence[:, :, :64], mel, silence[:, :, :64]], 2))[:, :, 8:-8]
    long = vae.encode(torch.cat([silence, mel, silence], 2))[:, :, 32:-32]
    torch.testing.assert_close(short, long, atol=1e-4, rtol=1e-4)


def test_training_changes_every_weight():
    torch.manual_seed(0)
    vae = AutoencoderKL(SMALL)
    optimizer = torch.optim.AdamW(vae.parameters(), 1e-3)
    before = {name: p.detach().clone() for name, p in vae.named_parameters()}
    for _ in range(3):  # what starts at zero lets gradients through from the second step on
        posterior = vae.posterior(tones(2))
        z = posterior.mean + torch.exp(0.5 * posterior.logvar) * torch.randn_like(posterior.mean)
        decoded = vae.decode(z * vae.config.scale_factor)
        assert decoded.shape == (2, 1, 128, 64) and posterior.logvar.max() < -20
        (decoded - tones(2)).abs().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    unchanged = [n for n, p in vae.named_parameters() if torch.equal(before[n], p)]
    assert not unchanged


def test_weights_travel_with_their_configuration(tmp_path):
    vae = trained()
    save_weights(tmp_path / "vae.safetensors", vae.state_dict(), "vae", SMALL)
    again = load_part("vae", tmp_path / "vae.safetensors")
    assert again.config == SMALL
    mel = tones(1)
    decoded = (part.decode(part.encode(mel)) for part in (again, vae))
    torch.testing.assert_close(*decoded, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["quant_conv.weight", "encoder.down.0.block.0.conv1.weight"])
def test_the_papers_vae_keeps_its_keys(name):
    vae = AutoencoderKL(VAEConfig(), device="meta")
    assert name in vae.state_dict() and isinstance(vae.encoder, Encoder)
    assert len(vae.state_dict()) == 204 and VAEConfig().stride == 4
    assert sum(p.numel() for p in vae.parameters()) == 55_376_873


def test_the_stage_of_the_recipe_writes_a_vae_from_a_bank(tmp_path, monkeypatch, capsys):
    def event(rng, number):
        return rng.standard_normal(30_000) * np.exp(-np.arange(30_000) / 8_000) * 0.1

    manifest = fill_bank(tmp_path / "bank", ["dog", "cat"], event)
    out = tmp_path / "vae.safetensors"
    words = ["fit_transform.py", str(manifest), str(out), "--crops", "12"]
    monkeypatch.setattr(sys, "argv", words)
    fit_transform.main()
    config, state = load_weights(out, "vae", VAEConfig)
    assert config.scale_factor > 0 and config.patch_size == 8 and state
    assert "log-mel L1 of the fitted crops" in capsys.readouterr().out
