"""Shapes, formats and state of the encoders; the ResNet against torchvision's own parts."""

import dataclasses

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from mmlite.data import ImageSet
from mmlite.encoders import encode, projector, resnet18, small_conv, uncompiled


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("build", "dim"), [(small_conv, 16), (resnet18, 512), (resnet18, 24)])
def test_encoders_make_representations_of_the_width_asked_for(build, channels, dim):
    h = build(channels, dim)(torch.rand(2, channels, 28, 20))
    assert h.shape == (2, dim)
    assert bool(h.isfinite().all())


def test_small_conv_is_as_small_as_it_says():
    assert sum(p.numel() for p in small_conv().parameters()) == 241_184


def test_resnet18_keeps_the_stems_relu_and_has_no_pooling():
    network = resnet18(3)[1].eval()
    x = torch.rand(2, 3, 32, 32)
    stem = torch.relu(network.bn1(network.conv1(x)))
    assert stem.shape == (2, 64, 32, 32)
    features = network.layer4(network.layer3(network.layer2(network.layer1(stem))))
    assert torch.allclose(features.mean((2, 3)), network(x), atol=1e-5)
    # ResNet-18 without its classifier, its 7 × 7 stem replaced by a 3 × 3 one
    assert sum(p.numel() for p in network.parameters()) == 11_689_512 - 513_000 - 64 * 3 * 40


@pytest.mark.parametrize(
    "build",
    [lambda: torchvision.models.resnet18(weights=None), lambda: timm.create_model("resnet18")],
    ids=["torchvision", "timm"],
)
def test_weights_go_to_torchvision_and_timm_and_back(build):
    encoder, theirs = resnet18(3).eval(), build().eval()
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool, theirs.fc = nn.Identity(), nn.Identity()
    theirs.load_state_dict(encoder[1].state_dict())
    x = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(theirs(x), encoder(x), atol=1e-5)
        back = resnet18(3).eval()
        assert not torch.allclose(back(x), encoder(x), atol=1e-2)
        back[1].load_state_dict(theirs.state_dict())
        assert torch.equal(back(x), encoder(x))


@pytest.mark.parametrize("build", [small_conv, resnet18])
def test_channels_last_changes_no_value(build):
    encoder = build(3).eval()
    x = torch.rand(2, 3, 16, 16)
    expected = encoder(x)
    plain = encoder.to(memory_format=torch.contiguous_format)[1:]
    assert torch.allclose(plain(x), expected, atol=1e-5)


def test_uncompiled_modules_run_as_they_are_and_compiled_again_afterwards():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    inner = small_conv(3, 4)
    network, x = nn.Sequential(inner, projector(4, 4, 2)).eval(), torch.rand(2, 3, 8, 8)
    inner.compile(backend=backend)
    with uncompiled(network):
        expected = network(x)
    images = ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2).long(), ("a",))
    encode(inner, images)
    with pytest.raises(RuntimeError, match="channels"), uncompiled(network):
        network(x[:, :1])  # an error within changes nothing
    assert graphs == []
    assert torch.equal(network(x), expected)
    assert len(graphs) == 1


def test_projector_is_two_layers():
    head = projector(6, 10, 4)
    assert head(torch.rand(3, 6)).shape == (3, 4)
    assert [type(m) for m in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: small_conv(0), "channels must be a whole number of at least 1, got 0"),
        (lambda: resnet18(3, 1.5), "dim must be a whole number"),
        (lambda: projector(4, 0, 2), "dim_hidden must be"),
    ],
)
def test_wrong_sizes_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_encode_takes_everything_and_leaves_the_encoder_as_it_was():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (23, 1, 12, 12), generator=generator).to(torch.uint8)
    images = ImageSet(pixels, torch.zeros(23, dtype=torch.int64), ("a",))
    encoder = small_conv(1, 8)
    encoder[2].eval()  # one layer frozen on purpose
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = [module.training for module in encoder.modules()]
    h = encode(encoder, images, batch_size=5)
    assert not h.requires_grad
    assert [module.training for module in encoder.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in encoder.state_dict().items())
    with torch.no_grad():
        assert torch.allclose(h, encoder.eval()(pixels.float() / 255), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_encode_computes_in_the_encoders_precision(dtype):
    pixels = torch.randint(0, 256, (6, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    images = ImageSet(pixels.to(torch.uint8), torch.zeros(6, dtype=torch.int64), ("a",))
    encoder = small_conv(1, 8)
    plain, other = encode(encoder, images), encode(encoder.to(dtype), images)
    assert other.dtype == torch.float32
    # bfloat16 keeps 8 bits, through four layers
    torch.testing.assert_close(other, plain, rtol=0.1, atol=0.05)


class Returns(nn.Module):
    """An encoder that returns what a function makes of h."""

    def __init__(self, change):
        super().__init__()
        self.inner, self.change = small_conv(1, 8), change

    def forward(self, x):
        return self.change(self.inner(x))


@dataclasses.dataclass
class Output:
    """As the outputs of Hugging Face's models: an object with entries by name."""

    last_hidden_state: torch.Tensor

    def keys(self):
        return ["last_hidden_state"]


def a_set(count=5):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=generator).to(torch.uint8)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64), ("a",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: (h, h), r"one tensor float \[N, D\], .* a tuple of 2. Wrap it in a torch.nn"),
        (lambda h: [h], "a list of 1. Wrap it"),
        (lambda h: {"h": h, "z": h}, "a dict of 2 with h, z. Wrap it"),
        (Output, "an Output with last_hidden_state. Wrap it"),
        (lambda h: h.detach().numpy(), "an array float32 of shape .* Wrap it"),
        (lambda h: None, "it returned None. Wrap it"),
        (lambda h: h[:, :, None, None], r"shape \[5, 8, 1, 1\], a map for each image. Pool it"),
        (lambda h: h[:, None], r"shape \[5, 1, 8\], several rows for each image. Wrap it"),
        (lambda h: h[:-1], r"with N = 5; it returned a tensor float32 of shape \[4, 8\]"),
        (lambda h: h.mean(), r"it returned a tensor float32 of shape \[\]"),
        (lambda h: h.argmax(1), "it returned a tensor int64"),
        (lambda h: h.long(), "it returned a tensor int64"),
        (lambda h: h.to(torch.complex64), "it returned a tensor complex64"),
    ],
)
def test_what_is_no_representation_is_refused_and_modes_come_back(change, message):
    encoder = Returns(change)
    encoder.inner[2].eval()
    modes = [module.training for module in encoder.modules()]
    with pytest.raises(ValueError, match=message):
        encode(encoder, a_set())
    assert [module.training for module in encoder.modules()] == modes


def test_encode_takes_the_tensor_of_images_alone():
    encoder, images = small_conv(1, 8), a_set()
    expected = encode(encoder, images)
    assert torch.equal(encode(encoder, images.images), expected)
    torch.testing.assert_close(encode(encoder, images.images.double() / 255), expected)
    for wrong in (images.images.float(), torch.randn(2, 1, 8, 8)):
        with pytest.raises(ValueError, match=r"image_set of float must lie in 0\.\.1"):
            encode(encoder, wrong)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_encode_in_every_mode_of_autograd(mode):
    encoder, images = small_conv(1, 8), a_set()
    expected = encode(encoder, images)
    with mode():
        h = encode(encoder, images)
        assert torch.equal(h, expected)
        assert not h.requires_grad
        assert torch.equal(encode(small_conv(1, 8), images).isfinite(), torch.ones(5, 8).bool())
    assert all(p.grad is None for p in encoder.parameters())


def test_encode_refuses_other_channels_and_no_batch():
    images = ImageSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2).long(), ("a",))
    with pytest.raises(ValueError, match="takes images of 3 channels, and images has 1"):
        encode(small_conv(3, 8), images)
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1"):
        encode(small_conv(1, 8), images, batch_size=0)
    assert encode(small_conv(1, np.int64(8)), images).shape == (2, 8)
