"""The MRC UNet: sizes of the paper, invariances, what is computed once."""

import dataclasses

import pytest
import torch

from dreamaudio_core.config import PRESETS, MRCConfig
from dreamaudio_core.errors import CheckpointError, InputError
from dreamaudio_core.networks.mrc import MRCUNet
from dreamaudio_core.weights.info import flow_parameters
from small_configs import SMALL_MRC as TINY

PLACED = dataclasses.replace(TINY, fusion="placed", num_references=8)
BANDS = 4


def randomise(network: MRCUNet, seed: int = 0) -> MRCUNet:
    """Give the layers that start at zero something to say."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.abs().sum() == 0:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return network.eval()


def conditions(
    config: MRCConfig,
    batch: int = 2,
    k: int = 3,
    frames: int = 16,
    bands: int = BANDS,
    seed: int = 0,
) -> dict:
    g = torch.Generator().manual_seed(seed)
    channels = config.latent_channels + (2 if config.fusion == "placed" else 0)
    mask = torch.ones(batch, 6, dtype=torch.bool)
    mask[:, 4:] = False
    return {
        "prompt": torch.randn(batch, 6, config.text_dim, generator=g),
        "prompt_mask": mask,
        "captions": torch.randn(batch, k, 6, config.text_dim, generator=g),
        "caption_mask": mask[:, None].expand(batch, k, 6),
        "references": torch.randn(batch, k, channels, frames, bands, generator=g),
    }


def noise(
    config: MRCConfig, batch: int = 2, frames: int = 16, bands: int = BANDS, seed: int = 1
) -> torch.Tensor:
    return torch.randn(
        batch, config.latent_channels, frames, bands, generator=torch.Generator().manual_seed(seed)
    )


# Millions of parameters of noise encoder, reference encoder, middle, decoder and the whole.
SIZES = {
    "dreamaudio": (56.2, 56.2, 21.9, 143.1, 277.6),
    "dreamaudio-l": (172.8, 172.8, 96.5, 446.4, 888.9),
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("variant", ["", "-ddpm"])
def test_parameter_counts(name, variant):
    counts = flow_parameters(PRESETS[name + variant].mrc)
    parts = ("noise_encoder", "reference_encoder", "middle", "decoder", "total")
    for part, millions in zip(parts, SIZES[name]):
        assert counts[part] / 1e6 == pytest.approx(millions, rel=0.01), part


@pytest.mark.parametrize("name", ["dreamaudio", "dreamaudio-l"])
def test_variants_keep_the_structure(name):
    shared = flow_parameters(PRESETS[name + "-sencoder"].mrc)
    plain = flow_parameters(PRESETS[name].mrc)
    stem = PRESETS[name].mrc.model_channels * (24 * 9 + 1)
    assert shared["reference_encoder"] == stem
    assert shared["total"] == plain["total"] - plain["reference_encoder"] + stem
    unet = MRCUNet(PRESETS[name + "-unet"].mrc, device="meta")
    assert unet.reference_encoder is None
    assert unet.noise_encoder.stem.in_channels == 32


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        PLACED,
        dataclasses.replace(TINY, architecture="unet"),
        dataclasses.replace(TINY, architecture="shared"),
    ],
    ids=["mrc", "placed", "unet", "shared"],
)
def test_forward_and_gradients(config):
    network = randomise(MRCUNet(config))
    inputs = conditions(config)
    references = inputs["references"].requires_grad_()
    out = network(noise(config), torch.tensor([0.2, 0.8]), **inputs)
    assert out.shape == (2, 4, 16, 4)
    out.square().mean().backward()
    assert references.grad.abs().sum() > 0
    missing = [n for n, p in network.named_parameters() if p.grad is None]
    assert not missing


def test_output_starts_at_zero():
    out = MRCUNet(TINY)(noise(TINY), torch.tensor([0.1, 0.5]), **conditions(TINY))
    assert out.abs().max() == 0


@pytest.mark.parametrize("config", [TINY, PLACED], ids=["concat", "placed"])
@torch.no_grad()
def test_masked_tokens_do_not_matter(config):
    network = randomise(MRCUNet(config))
    inputs = conditions(config)
    first = network(noise(config), torch.tensor([0.3, 0.3]), **inputs)
    inputs["prompt"][:, 4:] = 99.0
    inputs["captions"][:, :, 4:] = -99.0
    second = network(noise(config), torch.tensor([0.3, 0.3]), **inputs)
    torch.testing.assert_close(first, second)
    inputs["prompt"][:, 0] += 1.0
    assert (network(noise(config), torch.tensor([0.3, 0.3]), **inputs) - first).abs().max() > 1e-4


@torch.no_grad()
def test_padding_of_all_rows_is_not_attended_to_at_all():
    """Keys hold the tokens of the longest row alone, and the result is that of all, masked."""
    network = randomise(MRCUNet(TINY))
    inputs = conditions(TINY)
    inputs["prompt_mask"] = torch.tensor([[True] * 2 + [False] * 4, [True] * 3 + [False] * 3])
    context = network.precompute(**inputs)
    prompt, captions = context.decoder[0]
    assert prompt.keys.shape[2] == 3 and captions.keys.shape[2] == 3 * 4
    with torch.enable_grad():
        whole = network.precompute(**inputs)
    assert whole.decoder[0][0].keys.shape[2] == 6
    z, time = noise(TINY), torch.tensor([0.3, 0.6])
    torch.testing.assert_close(
        network.denoise(z, time, context), network.denoise(z, time, whole), atol=1e-5, rtol=1e-4
    )


@torch.no_grad()
def test_placed_references_are_a_set():
    """Neither their order nor empty slots change the result; a reference itself does."""
    network = randomise(MRCUNet(PLACED))
    inputs = conditions(PLACED, k=3)
    time = torch.tensor([0.4, 0.4])
    base = network(noise(PLACED), time, **inputs)
    order = [2, 0, 1]
    turned = dict(
        inputs, references=inputs["references"][:, order], captions=inputs["captions"][:, order]
    )
    torch.testing.assert_close(network(noise(PLACED), time, **turned), base, atol=1e-5, rtol=1e-4)
    wide = {
        "references": torch.cat(
            [inputs["references"], torch.randn(2, 5, *inputs["references"].shape[2:])], dim=1
        ),
        "captions": torch.cat([inputs["captions"], torch.randn(2, 5, 6, 24)], dim=1),
        "caption_mask": torch.ones(2, 8, 6, dtype=torch.bool).index_copy_(
            1, torch.arange(3), inputs["caption_mask"]
        ),
        "reference_mask": torch.tensor([[True] * 3 + [False] * 5] * 2),
    }
    torch.testing.assert_close(
        network(noise(PLACED), time, **{**inputs, **wide}), base, atol=1e-5, rtol=1e-4
    )
    fewer = dict(inputs, reference_mask=torch.tensor([[True, True, False]] * 2))
    assert (network(noise(PLACED), time, **fewer) - base).abs().max() > 1e-4


@torch.no_grad()
def test_no_references_is_the_zero_feature():
    """K = 0 and a batch in which only another item has references agree."""
    network = randomise(MRCUNet(PLACED))
    inputs = conditions(PLACED, k=1)
    time = torch.tensor([0.4, 0.4])
    none = network(noise(PLACED), time, **inputs, reference_mask=torch.tensor([[False], [False]]))
    mixed = network(noise(PLACED), time, **inputs, reference_mask=torch.tensor([[False], [True]]))
    torch.testing.assert_close(none[0], mixed[0], atol=1e-5, rtol=1e-4)
    assert (none[1] - mixed[1]).abs().max() > 1e-4


@torch.no_grad()
def test_alignment_starts_as_identity():
    plain = randomise(MRCUNet(TINY))
    aligned = MRCUNet(dataclasses.replace(TINY, aligned_references=4)).eval()
    state = {
        **plain.state_dict(),
        **{k: v for k, v in aligned.state_dict().items() if k.startswith("alignment.")},
    }
    aligned.load_state_dict(state)
    four, time = conditions(TINY, k=4), torch.tensor([0.1, 0.9])
    # The captions of all four reach both networks; only the sounds differ in number.
    three = {**four, "references": four["references"][:, :3]}
    three["reference_mask"] = torch.ones(2, 4, dtype=torch.bool)
    torch.testing.assert_close(
        aligned(noise(TINY), time, **four), plain(noise(TINY), time, **three)
    )
    aligned.alignment.weight[:, 12:].normal_()
    first = aligned(noise(TINY), time, **four)
    four["references"][:, 3] += 1.0
    assert (aligned(noise(TINY), time, **four) - first).abs().max() > 1e-4
    with pytest.raises(InputError, match="takes 3 slots, found 4"):
        plain(noise(TINY), time, **four)


def test_rejects_unknown_structure():
    with pytest.raises(CheckpointError, match="mrc.architecture"):
        MRCUNet(dataclasses.replace(TINY, architecture="dit"))
    with pytest.raises(CheckpointError, match="placed"):
        MRCUNet(dataclasses.replace(PLACED, architecture="unet"))


@torch.no_grad()
@pytest.mark.parametrize("prompt", [{}, {"pooled_prompt": True}, {"envelope_bands": BANDS}])
def test_context_repeats(prompt):
    config = dataclasses.replace(PLACED, **prompt)
    network = randomise(MRCUNet(config))
    inputs = conditions(config)
    context = network.precompute(**inputs)
    z, time = noise(PLACED, batch=4), torch.full((4,), 0.6)
    rows = {k: v.repeat_interleave(2, dim=0) for k, v in inputs.items()}
    whole = network(z, time, **rows)
    torch.testing.assert_close(
        network.denoise(z, time, context.repeat(2)), whole, atol=1e-5, rtol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize(
    "name, prompt", [("pooled", {"pooled_prompt": True}), ("envelope", {"envelope_bands": BANDS})]
)
@pytest.mark.parametrize("fusion", ["placed", "concat"])
def test_prompt_features_start_silent_and_then_read_the_prompt_without_its_padding(
    fusion, name, prompt
):
    plain = dataclasses.replace(PLACED if fusion == "placed" else TINY)
    config = dataclasses.replace(plain, **prompt)
    base = randomise(MRCUNet(plain))
    network = MRCUNet(config)
    missing = network.load_state_dict(base.state_dict(), strict=False).missing_keys
    assert missing and all(
        key.startswith(("prompt_embedding.", "prompt_envelope.")) for key in missing
    )
    inputs, z, time = conditions(config), noise(config), torch.full((2,), 0.4)
    torch.testing.assert_close(network(z, time, **inputs), base(z, time, **inputs))
    randomise(network)
    first = getattr(network.precompute(**inputs), name)
    changed = {**inputs, "prompt": inputs["prompt"].clone()}
    changed["prompt"][:, 4:] = 9.0
    torch.testing.assert_close(getattr(network.precompute(**changed), name), first)
    changed["prompt"][:, :4] += 1.0
    assert (getattr(network.precompute(**changed), name) - first).abs().max() > 1e-3
    assert (network(z, time, **changed) - network(z, time, **inputs)).abs().max() > 1e-4


def test_envelope_is_estimated_per_channel_and_band():
    inputs = conditions(PLACED)
    assert MRCUNet(PLACED).envelope(inputs["prompt"], inputs["prompt_mask"]) is None
    network = MRCUNet(dataclasses.replace(PLACED, envelope_bands=BANDS))
    assert network.envelope(inputs["prompt"], inputs["prompt_mask"]).shape == (
        2,
        PLACED.latent_channels,
        1,
        BANDS,
    )
