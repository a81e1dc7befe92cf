"""BigVGAN against the registry package, reading of official checkpoints, and chunked synthesis."""

import dataclasses
import json
import shutil

import pytest
import torch
from bigvgan.bigvgan import BigVGAN as OfficialBigVGAN
from bigvgan.env import AttrDict
from torch import nn

from dreamaudio_core.config import VocoderConfig
from dreamaudio_core.errors import CheckpointError, InputError
from dreamaudio_core.networks.bigvgan import (
    BigVGAN,
    kaiser_sinc_taps,
)
from dreamaudio_core.weights.bigvgan import fold_weight_norm, load_bigvgan
from dreamaudio_core.weights.load import load_part

SMALL = VocoderConfig(upsample_initial_channel=32)
# Another number of kernels, no bias at the end.
NARROW = VocoderConfig(
    upsample_initial_channel=192,
    resblock_kernel_sizes=(3, 7),
    resblock_dilation_sizes=((1, 3, 5), (1, 3, 5)),
    use_bias_at_final=False,
)
V2 = {"use_bias_at_final": False, "use_tanh_at_final": False}
TRAINING_FIELDS = {
    "batch_size": 4,
    "learning_rate": 1e-4,
    "hop_size": 160,
    "segment_size": 8000,
    "fmax": None,
}


def official(config, seed=0):
    """Random official generator whose snakes differ from channel to channel and whose output is
    loud enough to compare.
    """
    torch.manual_seed(seed)
    model = OfficialBigVGAN(AttrDict(dataclasses.asdict(config))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("alpha", "beta")):
                parameter.add_(0.8 * torch.rand_like(parameter))
            if name == "conv_post.weight_g":
                parameter.mul_(4)
    return model


def save_official(folder, config, model, name="bigvgan_generator.pt"):
    folder.mkdir(exist_ok=True)
    torch.save({"generator": model.state_dict()}, folder / name)
    (folder / "config.json").write_text(
        json.dumps({**dataclasses.asdict(config), **TRAINING_FIELDS})
    )
    return folder


def ours(folder):
    config, state = load_bigvgan(folder)
    model = BigVGAN(config).eval()
    model.load_state_dict(state)
    return model


def as_decoded(mel):
    """[B, bands, frames] of the network in the layout of the VAE, [B, 1, frames, bands]."""
    return mel.transpose(1, 2)[:, None]


def random_mel(batch, frames, bands=64, seed=1):
    return torch.randn(batch, bands, frames, generator=torch.Generator().manual_seed(seed)) * 2 - 5


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_official(tmp_path_factory.mktemp("vocoder") / "v1", SMALL, official(SMALL))


@pytest.mark.parametrize("final", [{}, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("activation", ["snake", "snakebeta"])
@pytest.mark.parametrize("logscale", [True, False], ids=["log", "linear"])
@pytest.mark.parametrize("resblock", ["1", "2"])
def test_parity_with_official(tmp_path, final, activation, logscale, resblock):
    config = dataclasses.replace(
        SMALL, activation=activation, snake_logscale=logscale, resblock=resblock, **final
    )
    reference = official(config)
    model = ours(save_official(tmp_path / "checkpoint", config, reference))
    mel = random_mel(2, 41)
    with torch.no_grad():
        expected, found = reference(mel), model(mel)
    assert expected.shape[-1] == 41 * 160 + 32
    assert found.shape == (2, 1, 41 * 160)
    assert expected.std() > 0.02
    torch.testing.assert_close(found, expected[..., : 41 * 160], atol=1e-4, rtol=0)


def test_clamp_bounds_version_2(tmp_path):
    config = dataclasses.replace(SMALL, **V2)
    reference = official(config)
    with torch.no_grad():
        reference.conv_post.weight_g.mul_(50)
    found = ours(save_official(tmp_path / "loud", config, reference)).vocode(
        as_decoded(random_mel(1, 20))
    )
    assert found.max() == 1 and found.min() == -1


def test_default_size():
    count = sum(p.numel() for p in BigVGAN(VocoderConfig(), device="meta").parameters())
    assert count == pytest.approx(13.96e6, rel=0.01)


@pytest.mark.parametrize("config", [VocoderConfig(), NARROW], ids=["full", "narrow"])
def test_state_dict_names_are_official(config):
    plain = BigVGAN(config, device="meta").state_dict()
    with torch.device("meta"):
        named = OfficialBigVGAN(AttrDict(dataclasses.asdict(config))).state_dict()
    expected = {
        key.replace("weight_v", "weight"): value.shape
        for key, value in named.items()
        if not key.endswith((".filter", "weight_g"))
    }
    assert {key: value.shape for key, value in plain.items()} == expected


def test_filter_is_the_official_one():
    reference = official(SMALL).activation_post.upsample.filter.flatten()
    torch.testing.assert_close(torch.tensor(kaiser_sinc_taps()), reference, atol=1e-7, rtol=0)


@pytest.mark.parametrize("chunk", [1, 7, 40, 59, 512])
@pytest.mark.parametrize("resblock", ["1", "2"])
def test_chunks_equal_the_whole(chunk, resblock):
    config = dataclasses.replace(
        SMALL,
        resblock=resblock,
        resblock_kernel_sizes=(3, 7),
        resblock_dilation_sizes=((1, 3), (1, 5)),
    )
    model = BigVGAN(config)
    model.load_state_dict(
        {
            k: v
            for k, v in fold_weight_norm(official(config).state_dict()).items()
            if not k.endswith(".filter")
        }
    )
    mel = random_mel(1, 130)
    with torch.no_grad():
        whole = model(mel)
    assert whole.std() > 0.01
    torch.testing.assert_close(
        model.vocode(as_decoded(mel), chunk_frames=chunk), whole, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        dataclasses.replace(SMALL, resblock="2"),
        dataclasses.replace(SMALL, upsample_rates=(4, 4, 2), upsample_kernel_sizes=(8, 9, 4)),
        NARROW,
    ],
)
def test_receptive_field_is_true(config):
    """In float64 no frame beyond it changes a sample, and the farthest one within two frames of it
    does.
    """
    torch.manual_seed(0)
    model = BigVGAN(config).double()
    field = model.receptive_field()
    middle, hop = field + 4, config.hop_length
    mel = torch.randn(1, config.num_mels, 2 * middle + 1, dtype=torch.float64, requires_grad=True)
    model(mel)[..., middle * hop : (middle + 1) * hop].sum().backward()
    touched = mel.grad.abs().sum((0, 1)).nonzero().flatten()
    assert middle - int(touched.min()) <= field and int(touched.max()) - middle <= field
    assert max(middle - int(touched.min()), int(touched.max()) - middle) >= field - 2


def test_memory_of_chunks_does_not_grow():
    """The longest stretch that the network sees is the chunk and its context, whatever the
    length.
    """
    model = BigVGAN(
        dataclasses.replace(SMALL, resblock_kernel_sizes=(3,), resblock_dilation_sizes=((1,),))
    )
    seen = []
    model.conv_pre.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-1]))
    assert model.vocode(as_decoded(random_mel(1, 600)), chunk_frames=50).shape == (1, 1, 96_000)
    assert len(seen) == 12 and max(seen) == 50 + 2 * model.receptive_field()


@pytest.mark.parametrize(
    "shape", [(64, 10), (1, 64, 10), (1, 1, 10, 80), (1, 1, 0, 64), (1, 2, 10, 64)]
)
def test_vocode_rejects_other_shapes(shape):
    with pytest.raises(InputError, match=r"\[batch, 1, frames, 64\]"):
        BigVGAN(SMALL).vocode(torch.zeros(shape))


def test_layers_come_from_operations():
    made = []

    class Operations:
        @staticmethod
        def Conv1d(*args, **kwargs):
            made.append("conv")
            return nn.Conv1d(*args, **kwargs)

        @staticmethod
        def ConvTranspose1d(*args, **kwargs):
            made.append("transposed")
            return nn.ConvTranspose1d(*args, **kwargs)

    model = BigVGAN(SMALL, operations=Operations, dtype=torch.bfloat16)
    assert made.count("transposed") == 5 and made.count("conv") == 2 + 5 * 3 * 6
    assert all(
        isinstance(m, (nn.Conv1d, nn.ConvTranspose1d))
        for m in model.modules()
        if not list(m.children()) and "weight" in m._parameters
    )
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    found = model(random_mel(1, 6).bfloat16())
    assert found.dtype == torch.bfloat16 and found.isfinite().all()


def test_snakes_follow_the_activation():
    """A host may keep the snakes' values in half precision while the convolutions compute in
    float32.
    """
    model = BigVGAN(SMALL)
    expected = model(random_mel(1, 5))
    for name, parameter in model.named_parameters():
        if name.endswith(("alpha", "beta")):
            parameter.data = parameter.data.half()
    torch.testing.assert_close(model(random_mel(1, 5)), expected)


def test_fold_weight_norm_of_both_kinds():
    torch.manual_seed(0)
    for wrap in (nn.utils.weight_norm, nn.utils.parametrizations.weight_norm):
        layer = wrap(nn.ConvTranspose1d(4, 3, 5))
        with torch.no_grad():
            next(
                p for n, p in layer.named_parameters() if n.endswith(("weight_g", "original0"))
            ).mul_(1.7)
        state = fold_weight_norm({f"ups.0.0.{k}": v for k, v in layer.state_dict().items()})
        assert set(state) == {"ups.0.0.weight", "ups.0.0.bias"}
        x = torch.randn(1, 4, 9)
        torch.testing.assert_close(
            nn.functional.conv_transpose1d(x, state["ups.0.0.weight"], state["ups.0.0.bias"]),
            layer(x),
        )


@pytest.mark.parametrize("half", ["weight_g", "weight_v"])
def test_fold_weight_norm_needs_both_halves(half):
    state = official(SMALL).state_dict()
    del state[f"conv_pre.{half}"]
    with pytest.raises(CheckpointError, match=r"conv_pre\.weight_[gv]"):
        fold_weight_norm(state)


def test_numbered_checkpoints_and_single_files(tmp_path, checkpoint):
    first, second = official(SMALL, seed=3), official(SMALL, seed=4)
    save_official(tmp_path, SMALL, first, "g_00000100")
    save_official(tmp_path, SMALL, second, "g_01000000")
    wanted = fold_weight_norm(second.state_dict())["conv_pre.weight"]
    torch.testing.assert_close(load_bigvgan(tmp_path)[1]["conv_pre.weight"], wanted)
    wanted = fold_weight_norm(first.state_dict())["conv_pre.weight"]
    torch.testing.assert_close(load_bigvgan(tmp_path / "g_00000100")[1]["conv_pre.weight"], wanted)
    assert load_bigvgan(checkpoint)[0] == SMALL


def test_version_1_without_the_final_fields(tmp_path, checkpoint):
    shutil.copytree(checkpoint, tmp_path / "copy")
    path = tmp_path / "copy" / "config.json"
    values = json.loads(path.read_text())
    del values["use_bias_at_final"], values["use_tanh_at_final"]
    path.write_text(json.dumps(values))
    config, _ = load_bigvgan(tmp_path / "copy")
    assert config.use_bias_at_final and config.use_tanh_at_final


def _change_config(**changes):
    def change(folder):
        values = json.loads((folder / "config.json").read_text())
        values.update(changes)
        (folder / "config.json").write_text(
            json.dumps({k: v for k, v in values.items() if v is not ...})
        )

    return change


def _change_weights(edit):
    def change(folder):
        content = torch.load(folder / "bigvgan_generator.pt", weights_only=True)
        torch.save(edit(content), folder / "bigvgan_generator.pt")

    return change


def _truncate(folder):
    path = folder / "bigvgan_generator.pt"
    path.write_bytes(path.read_bytes()[:5000])


class _Foreign:
    """Something that only a full unpickling could bring back."""


@pytest.mark.parametrize(
    "damage, expected",
    [
        (_truncate, r"bigvgan_generator\.pt.*not a complete weights-only"),
        (
            lambda f: (f / "bigvgan_generator.pt").write_bytes(b""),
            r"bigvgan_generator\.pt.*the file is empty",
        ),
        (
            lambda f: torch.save(_Foreign(), f / "bigvgan_generator.pt"),
            r"bigvgan_generator\.pt.*contains more than tensors",
        ),
        (
            lambda f: (f / "bigvgan_generator.pt").unlink(),
            r"expected bigvgan_generator\.pt or g_XXXXXXXX",
        ),
        (lambda f: (f / "config.json").unlink(), r"config\.json.*found none"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json.*not readable JSON"),
        (
            lambda f: (f / "config.json").write_text("[]"),
            r"config\.json.*expected a JSON object, found list",
        ),
        (_change_config(upsample_rates=...), r"config\.json.*'upsample_rates', found none"),
        (_change_config(num_mels="64"), r"config\.json.*num_mels: expected an integer, found '64'"),
        (
            _change_config(activation="relu"),
            r"config\.json.*activation must be 'snake' or 'snakebeta', found 'relu'",
        ),
        (_change_config(upsample_rates=[5, 4]), r"config\.json.*upsample_kernel_sizes"),
        (_change_config(hop_size=256), r"config\.json.*hop_size.*160, found 256"),
        (
            _change_config(upsample_initial_channel=64),
            r"conv_pre\.weight.*wrong shape: expected \[64, 64, 7\].*found \[32, 64, 7\]",
        ),
        (
            _change_config(resblock="2"),
            r"resblocks\.0\.convs\.0\.weight.*is missing",
        ),
        (
            _change_config(activation="snake"),
            r"unexpected key .*\.beta",
        ),
        (
            _change_weights(lambda c: {"discriminator": c["generator"]}),
            r"'generator'.*found discriminator",
        ),
        (_change_weights(lambda c: [1]), r"bigvgan_generator\.pt.*dictionary.*found list"),
        (_change_weights(lambda c: {1: c["generator"]}), r"'generator'.*found 1"),
        (_change_weights(lambda c: {"generator": {"a": 1}}), r"key .* is missing"),
    ],
)
def test_damaged_checkpoints_are_explained(tmp_path, checkpoint, damage, expected):
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint, folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=expected) as caught:
        load_part("vocoder", folder, allow_pickle=True)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_missing_path_is_explained(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        load_bigvgan(tmp_path / "nowhere")
