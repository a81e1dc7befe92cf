"""Fast layers at inference: the same results as PyTorch's own, and only where they may be used."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from test_mrc import PLACED, TINY, conditions, noise, randomise
from torch import nn

from dreamaudio_core.networks import operations
from dreamaudio_core.networks.mrc import MRCUNet
from dreamaudio_core.networks.operations import FAST, Operations

needs_onednn = pytest.mark.skipif(
    not operations._ONEDNN, reason="this processor gains nothing by oneDNN (no AVX-512)"
)


def twins(name: str, *sizes, **options):
    """A layer of torch.nn and the fast one with its weights."""
    torch.manual_seed(0)
    plain = getattr(nn, name)(*sizes, **options)
    fast = getattr(FAST, name)(*sizes, **options)
    fast.load_state_dict(plain.state_dict())
    return plain, fast


CONVOLUTIONS = {
    "1x1": ((48, 32, 1), {}, (2, 48, 16, 8)),
    "3x3": ((48, 32, 3), {"padding": 1}, (2, 48, 40, 16)),
    "3x3 of a small, deep map": ((288, 32, 3), {"padding": 1}, (2, 288, 16, 2)),
    "strided": ((288, 32, 3), {"padding": 1, "stride": 2}, (2, 288, 16, 4)),
    "strided 1x1": ((48, 32, 1), {"stride": 2}, (2, 48, 16, 4)),
    "dilated": ((288, 32, 3), {"padding": 1, "dilation": 2}, (2, 288, 16, 4)),
    "grouped": ((288, 32, 1), {"groups": 2}, (2, 288, 16, 4)),
    "reflecting": ((288, 32, 3), {"padding": 1, "padding_mode": "reflect"}, (2, 288, 16, 4)),
    "without bias": ((288, 32, 3), {"padding": 1, "bias": False}, (2, 288, 16, 2)),
}


@torch.inference_mode()
@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolutions_are_those_of_pytorch(case, layout):
    sizes, options, shape = CONVOLUTIONS[case]
    plain, fast = twins("Conv2d", *sizes, **options)
    x = torch.randn(shape)
    found = fast.to(memory_format=layout)(x.contiguous(memory_format=layout))
    torch.testing.assert_close(found, plain(x), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(64,), (5, 64), (2, 3, 7, 64), (0, 64)])
def test_linear_layers_are_those_of_pytorch(shape, bias):
    plain, fast = twins("Linear", 64, 32, bias=bias)
    x = torch.randn(shape)
    torch.testing.assert_close(fast(x), plain(x), atol=1e-5, rtol=1e-4)
    turned = torch.randn(64, 9).t()
    torch.testing.assert_close(fast(turned), plain(turned), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("length", [700, 100])
def test_attention_is_that_of_pytorch(length):
    queries, keys, values = torch.randn(3, 2, 3, 700, 16).unbind(0)
    keys, values = keys[:, :, :length], values[:, :, :length]
    expected = F.scaled_dot_product_attention(queries, keys, values)
    found = operations.attention(queries, keys, values)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 6, 128, 8), (1, 6, 4, 2)], ids=["large", "small"])
def test_a_convolution_after_doubling_is_that_of_the_doubled_map(shape, bias):
    torch.manual_seed(0)
    layer, x = nn.Conv2d(shape[1], 5, 3, padding=1, bias=bias), torch.randn(shape)
    expected = layer(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    found = operations.upsample(operations.channels_last(x), layer)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ["mrc", "unet", "shared", "placed"])
def test_a_network_is_the_same_with_either_layers(architecture):
    if architecture == "placed":
        config = PLACED
    else:
        config = dataclasses.replace(TINY, architecture=architecture)
    plain = randomise(MRCUNet(config))
    fast = MRCUNet(config, FAST).eval()
    fast.load_state_dict(plain.state_dict())
    operations.arrange_weights(fast, "cpu")
    z, time, inputs = noise(config), torch.tensor([0.2, 0.7]), conditions(config)
    torch.testing.assert_close(
        fast(z, time, **inputs), plain(z, time, **inputs), atol=1e-5, rtol=1e-4
    )


@needs_onednn
def test_the_fast_way_is_left_where_it_may_not_be_used(monkeypatch):
    used = []

    def counted(x, weight, bias=None):
        used.append(tuple(x.shape))
        return F.linear(x, weight, bias)

    monkeypatch.setattr(operations, "linear", counted)
    _, layer = twins("Linear", 8, 4)
    x = torch.randn(3, 8)
    layer(x).sum().backward()
    assert layer.weight.grad is not None and not used
    with torch.inference_mode():
        layer(x)
        assert len(used) == 1
        layer(x.double().float())
        layer.double()(x.double())
        with torch.autocast("cpu", torch.bfloat16):
            layer.float()(x)
        assert len(used) == 2


@needs_onednn
def test_patches_of_a_host_are_applied():
    """ComfyUI's layers change their weights on the way, for LoRAs; theirs is then the forward."""

    class HostLinear(nn.Linear):
        def forward(self, x):
            weight = self.weight
            for change in self.weight_function:
                weight = change(weight)
            return F.linear(x, weight, self.bias)

    class Host:
        Linear, Conv2d = HostLinear, nn.Conv2d

    layer = Operations(Host).Linear(8, 4)
    x = torch.randn(3, 8)
    with torch.inference_mode():
        layer.weight_function = []
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
        layer.weight_function = [lambda weight: 2 * weight]
        torch.testing.assert_close(layer(x), F.linear(x, 2 * layer.weight, layer.bias))
