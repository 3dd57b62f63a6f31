"""The networks against DR-GAN's tables, shapes at their edges, their first weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fer_model.config import CnnConfig, HeadConfig, NetworkConfig
from fer_model.engine.randomness import key_of, stream
from fer_model.errors import ConfigError, ShapeError
from fer_model.networks import (
    BaselineCnn,
    Decoder,
    Discriminator,
    Encoder,
    Generator,
    Head,
    Trunk,
    build,
    dropout,
    expect_shape,
    to_input_size,
)

CPU = torch.device("cpu")
FULL = NetworkConfig()
CNN = CnnConfig(channels=2, features=8)
SMALL = NetworkConfig(image_size=48, width=0.125, representation=16, noise=4)
# Table A for grey input and N_f = 350, copied by hand: output channels, pixels, weights.
TABLE_A = [
    (32, 96, 288), (64, 96, 18_432),
    (64, 48, 36_864), (64, 48, 36_864), (128, 48, 73_728),
    (128, 24, 147_456), (96, 24, 110_592), (192, 24, 165_888),
    (192, 12, 331_776), (128, 12, 221_184), (256, 12, 294_912),
    (256, 6, 589_824), (160, 6, 368_640), (350, 6, 504_000),
]
# Table B: output channels, pixels.
TABLE_B = [
    (160, 6), (256, 6), (256, 12), (128, 12), (192, 12), (192, 24), (96, 24), (128, 24),
    (128, 48), (64, 48), (64, 48), (64, 96), (32, 96), (1, 96),
]


def made(make, std=0.02, seed=0):
    return build(make, CPU, std, stream(seed, "test"))


def outputs_of(network, kinds, *inputs):
    """Return (channels, pixels, weights) of each convolution, as seen while the network runs."""
    seen = []
    for module in network.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda m, _, out: seen.append((out.shape[1], out.shape[2], m.weight.numel())))
    network(*inputs)
    return seen


def test_trunk_is_table_a():
    """Seen red: conv32 with 128 channels."""
    trunk = made(lambda: Encoder(FULL)).eval()
    assert outputs_of(trunk, nn.Conv2d, torch.zeros(1, 1, 96, 96)) == TABLE_A
    assert sum(weights for *_, weights in TABLE_A) == 2_900_448
    assert sum(m.weight.numel() for m in trunk.modules() if isinstance(m, nn.Conv2d)) == 2_900_448
    assert all(m.bias is None for m in trunk.modules() if isinstance(m, nn.Conv2d))
    assert sum(isinstance(m, nn.ELU) for m in trunk.modules()) == 13, "every layer but the one that gives f(x)"


def test_discriminators_trunk_is_table_a_too():
    trunk = made(lambda: Discriminator(FULL, 7, 106)).trunk.eval()
    assert outputs_of(trunk, nn.Conv2d, torch.zeros(1, 1, 96, 96)) == TABLE_A


def test_decoder_is_table_b():
    """Seen red: output_padding=0, 21 pixels in place of 24."""
    decoder = made(lambda: Decoder(FULL, 118)).eval()
    seen = outputs_of(decoder, nn.ConvTranspose2d, torch.zeros(1, 350), torch.zeros(1, 118), torch.zeros(1, 50))
    assert [(channels, pixels) for channels, pixels, _ in seen] == TABLE_B
    assert decoder.fc.weight.numel() == 6_526_800                                  # science.md: 6.53 M for 118 people
    last = list(decoder.layers.values())[-1]
    assert [type(part) for part in last] == [nn.ConvTranspose2d, nn.Tanh], "tanh without BN"


def test_f_of_x_lies_on_both_sides_of_zero_and_pictures_within_their_range():
    """Seen red: ELU after conv53 moved the mean of f(x) from 0 to 0.16; no tanh."""
    rng = torch.Generator().manual_seed(1)
    generator = made(lambda: Generator(Encoder(SMALL), Decoder(SMALL, 5)), std=0.3).train()
    x = torch.rand(16, 1, 48, 48, generator=rng) * 2 - 1
    f = generator.encoder(x)
    assert abs(f.mean().item()) < 1e-4 and f.min() < 0 < f.max()
    fake = generator(x, torch.eye(5)[torch.arange(16) % 5], torch.rand(16, 4, generator=rng))
    assert fake.shape == x.shape and -1 <= fake.min() < 0 < fake.max() <= 1


def test_heads_of_the_discriminator_have_one_more_expression_and_the_training_people():
    d = made(lambda: Discriminator(SMALL, 7, 5))
    expression, identity = d(torch.zeros(2, 1, 48, 48))
    assert expression.shape == (2, 8) and identity.shape == (2, 5)


def test_mean_of_f_tells_bright_faces_from_dark_ones_only_without_bn_on_the_last_layer():
    """Why D may go without: BN gives every batch the same mean of f(x), so its linear head cannot tell one batch, all real, from
    another, all synthesised. Seen red: the layer's name ignored."""
    rng = torch.Generator().manual_seed(0)
    dark, bright = (level + 0.1 * torch.rand(8, 1, 48, 48, generator=rng) for level in (-0.8, 0.1))
    for plain, apart in (((), False), (("conv11", "conv53"), True)):
        trunk = made(lambda plain=plain: Trunk(SMALL, plain), std=0.2).train()
        difference = (trunk(dark).mean(0) - trunk(bright).mean(0)).abs().max().item()
        assert (difference > 1e-3) == apart, (plain, difference)
    without = replace(SMALL, d_without_norm=("conv11", "conv53"))
    assert sum("running_mean" in name for name in Discriminator(without, 7, 5).state_dict()) == 12
    with pytest.raises(ConfigError, match=r"unknown layer of network.d_without_norm 'conv54'; choose conv11, .*did you mean conv53"):
        Trunk(SMALL, ("conv54",))


@pytest.mark.parametrize(("size", "expected"), [(96, [48, 24, 12, 6]), (48, [24, 12, 6, 3]), (32, [16, 8, 4, 2])])
def test_taps_lie_at_the_papers_scales(size, expected):
    """Seen red: conv22 in the place of conv33."""
    config = NetworkConfig(image_size=size, width=0.125, representation=16)
    f, taps = made(lambda: Encoder(config)).with_taps(torch.zeros(2, 1, size, size), HeadConfig().taps)
    assert [tap.shape[-1] for tap in taps] == expected and f.shape == (2, 16)
    head = made(lambda: Head(config, HeadConfig(local_channels=4, local_features=8), 7))
    assert [tuple(logits.shape) for logits in head(f, taps)] == [(2, 7)] * 5
    assert head.classifier.in_features == 4 * 8 + 16, "concat(FC_1 .. FC_4, f(x))"


def test_taps_come_in_the_order_that_was_asked_for():
    encoder = made(lambda: Encoder(SMALL)).eval()
    x = torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    late, early = encoder.with_taps(x, ("conv43", "conv12"))[1]
    assert late.shape[-1] == 6 and early.shape[-1] == 48


def test_a_tap_that_is_no_layer_is_refused():
    with pytest.raises(ConfigError, match=r"unknown layer of head.taps 'conv99'; choose conv11, "):
        Head(SMALL, HeadConfig(taps=("conv23", "conv33", "conv43", "conv99")), 7)


@pytest.mark.parametrize("size", [48, 32, 16])
def test_smaller_inputs_are_exact_means_of_blocks(size):
    """Against numpy. Seen red: bilinear interpolation."""
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 96, 96)).astype(np.float32))
    n = 96 // size
    expected = x.numpy().reshape(2, 3, size, n, size, n).mean((3, 5))
    np.testing.assert_allclose(to_input_size(x, size).numpy(), expected, rtol=1e-6)
    assert torch.equal(to_input_size(x, 96), x)


def test_first_weights_are_the_papers_and_no_global_generator_is_touched():
    """Seen red: built without the meta device, the global state moved; std 0.05 was noticed too."""
    before = torch.get_rng_state()
    one, two, other = (made(lambda: Generator(Encoder(FULL), Decoder(FULL, 20)), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    for module in one.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.weight.numel() > 10_000:
            assert abs(module.weight.mean().item()) < 1e-3 and module.weight.std().item() == pytest.approx(0.02, rel=0.03)
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all() and (module.running_var == 1).all()
    pairs = list(zip(one.parameters(), two.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not any(torch.equal(a, c) for a, _, c in pairs if a.ndim > 1)


def test_a_layer_whose_first_weights_are_not_written_down_is_refused():
    with pytest.raises(TypeError, match="no initialisation is written down for GroupNorm"):
        made(lambda: nn.Sequential(nn.GroupNorm(1, 4)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: made(lambda: Encoder(SMALL))(torch.zeros(2, 3, 48, 48)), r"trunk input: dimension 1 must be 1, got 3: \(2, 3, 48, 48\)"),
        (lambda: made(lambda: Encoder(SMALL))(torch.zeros(2, 1, 96, 96)), r"trunk input: dimension 2 must be 48, got 96"),
        (lambda: made(lambda: Decoder(SMALL, 5))(*(torch.zeros(2, n) for n in (16, 6, 4))), r"identity code: dimension 1 must be 5, got 6"),
        (lambda: to_input_size(torch.zeros(1, 96, 96), 48), r"views: expected 4 dimensions .*, got 3"),
        (lambda: made(lambda: BaselineCnn(SMALL, CNN, 7))(torch.zeros(2, 1, 48, 47)), r"dimension 3 must be 48, got 47"),
    ],
)
def test_a_wrong_shape_is_named_with_dimension_expected_and_got(call, message):
    """Seen red: the message gave expected and got the other way round."""
    with pytest.raises(ShapeError, match=message):
        call()
    expect_shape(torch.zeros(2, 3), (None, 3), "the good case")


def test_dropout_keeps_the_mean_and_needs_a_key():
    """Seen red: values kept were not scaled up."""
    x = torch.ones(200, 500)
    assert dropout(x, 0.4, None) is x
    out = dropout(x, 0.4, key_of(0, "d"))
    assert out.mean().item() == pytest.approx(1, abs=0.01) and (out == 0).float().mean().item() == pytest.approx(0.4, abs=0.01)
    assert torch.equal(out, dropout(x, 0.4, key_of(0, "d"))) and not torch.equal(out, dropout(x, 0.4, key_of(0, "d"), place=1))


def test_the_baselines_features_are_the_activated_hidden_layer_that_its_softmax_layer_sees():
    """Seen red: features without their activation."""
    cnn = made(lambda: BaselineCnn(SMALL, CNN, 7), std=0.3).eval()
    x, hidden, seen = torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1, [], []
    cnn.fc.register_forward_hook(lambda _, inputs, out: hidden.append(out))
    cnn.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    cnn(x)
    assert torch.equal(cnn.features(x), seen[0]) and torch.equal(seen[0], nn.functional.elu(hidden[0])) and seen[0].shape == (3, 8)


def test_a_shortcut_of_zeros_changes_nothing_and_one_stands_round_each_scale():
    """Seen red: the shortcut added before the scale's input was kept."""
    plain, residual = (
        build(lambda c=config: Trunk(c), CPU, 0.1, stream(0, "trunk")).eval()
        for config in (NetworkConfig(image_size=48, width=0.125, residual=on) for on in (False, True))
    )
    assert set(residual.shortcuts) == {"conv12", "conv23", "conv33", "conv43", "conv53"} and plain.shortcuts is None
    residual.load_state_dict(plain.state_dict() | {k: v for k, v in residual.state_dict().items() if k.startswith("shortcuts")})
    x = torch.rand(2, 1, 48, 48, generator=stream(0, "x")) * 2 - 1
    assert not torch.allclose(plain(x), residual(x))
    with torch.no_grad():
        for shortcut in residual.shortcuts.values():
            shortcut[1].weight.zero_()
    torch.testing.assert_close(residual(x), plain(x))
    assert residual.sizes == plain.sizes
