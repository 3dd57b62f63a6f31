"""The three equations against values worked by hand, limits, and gradients in float64."""

import math

import pytest
import torch

from fer_model.losses import confusion_loss, discriminator_loss, generator_loss, head_loss

LOG2, LOG3, LOG4 = math.log(2), math.log(3), math.log(4)


def logits(*rows):
    """Return logits whose softmax is the given rows of probabilities."""
    return torch.tensor(rows, dtype=torch.float64).log()


def test_discriminator_loss_by_hand():
    """Eq. (1), two faces, two expressions + fake, two people. Seen red: the fake class taken as 0 gave 1.0397 for `fake`."""
    real_e = logits([0.5, 0.25, 0.25], [0.25, 0.5, 0.25])                          # right: 1/2, 1/2
    real_i = logits([0.25, 0.75], [0.25, 0.75])                                    # right: 1/4, 3/4
    fake_e = logits([0.25, 0.5, 0.25], [0.25, 0.25, 0.5])                          # fake: 1/4, 1/2
    loss = discriminator_loss(real_e, real_i, fake_e, torch.tensor([0, 1]), torch.tensor([0, 1]))
    assert loss.expression.item() == pytest.approx(LOG2)
    assert loss.identity.item() == pytest.approx((LOG4 + math.log(4 / 3)) / 2)
    assert loss.fake.item() == pytest.approx((LOG4 + LOG2) / 2)
    assert loss.total.item() == pytest.approx(sum(loss[1:]).item())


def test_generator_loss_by_hand():
    """Eq. (2). Seen red: identity evaluated against the input's own."""
    fake_e = logits([0.5, 0.25, 0.25], [0.2, 0.4, 0.4])                            # expression kept: 1/2, 2/5
    fake_i = logits([1 / 3, 2 / 3], [0.25, 0.75])                                  # asked for: 2/3, 1/4
    loss = generator_loss(fake_e, fake_i, torch.tensor([0, 1]), torch.tensor([1, 0]))
    assert loss.expression.item() == pytest.approx((LOG2 + math.log(2.5)) / 2)
    assert loss.identity.item() == pytest.approx((math.log(1.5) + LOG4) / 2)
    assert loss.total.item() == pytest.approx(sum(loss[1:]).item())


def test_confusion_loss_by_hand():
    """Least, log N_i, where nothing is known. Seen red: the sum over the people; the sign."""
    assert confusion_loss(logits([0.25] * 4, [0.25] * 4)).item() == pytest.approx(LOG4)
    assert confusion_loss(logits([0.5, 0.25, 0.25], [1 / 3] * 3)).item() == pytest.approx((LOG2 / 3 + LOG4 * 2 / 3 + LOG3) / 2)


def test_head_loss_by_hand():
    """Eq. (3) with the paper's weights. Seen red: weights applied in reverse."""
    five = tuple(logits([p, 1 - p]) for p in (1 / 2, 1 / 3, 1 / 4, 1 / 2, 1 / 3))
    loss = head_loss(five, torch.tensor([0]), (0.7, 0.6, 0.4, 0.3, 1.0))
    assert loss.total.item() == pytest.approx(0.7 * LOG2 + 0.6 * LOG3 + 0.4 * LOG4 + 0.3 * LOG2 + LOG3)
    assert [part.item() for part in loss.parts] == pytest.approx([LOG2, LOG3, LOG4, LOG2, LOG3])
    with pytest.raises(ValueError, match="zip"):
        head_loss(five[:4], torch.tensor([0]), (0.7, 0.6, 0.4, 0.3, 1.0))


def test_limits_a_sure_and_right_discriminator_costs_nothing_a_blind_one_the_logarithms():
    sure = torch.tensor([[60.0, 0, 0], [0, 60.0, 0]])
    fakes = torch.tensor([[0, 0, 60.0], [0, 0, 60.0]])
    label = torch.tensor([0, 1])
    assert discriminator_loss(sure, sure[:, :2], fakes, label, label).total.item() == pytest.approx(0, abs=1e-6)
    assert generator_loss(sure, sure[:, :2], label, label).total.item() == pytest.approx(0, abs=1e-6)
    blind = discriminator_loss(torch.zeros(2, 8), torch.zeros(2, 106), torch.zeros(2, 8), label, label)
    assert blind.total.item() == pytest.approx(2 * math.log(8) + math.log(106))


def test_fakes_that_are_called_fake_give_the_generator_a_steep_gradient():
    """Non-saturating: the gradient on the right class's logit tends to -1, where log(1 - D) would have it tend to 0."""
    fake_e = torch.tensor([[-20.0, -20.0, 20.0]], dtype=torch.float64, requires_grad=True)
    generator_loss(fake_e, torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0]), torch.tensor([0])).expression.backward()
    assert fake_e.grad[0, 0].item() == pytest.approx(-1)


def test_gradients_in_float64():
    """Against finite differences."""
    rng = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=rng, requires_grad=True)

    label, person = torch.tensor([0, 2, 1]), torch.tensor([3, 0, 1])
    assert torch.autograd.gradcheck(
        lambda a, b, c: discriminator_loss(a, b, c, label, person).total, (draw(3, 4), draw(3, 5), draw(3, 4))
    )
    assert torch.autograd.gradcheck(lambda a, b: generator_loss(a, b, label, person).total, (draw(3, 4), draw(3, 5)))
    assert torch.autograd.gradcheck(
        lambda *five: head_loss(five, label, (0.7, 0.6, 0.4, 0.3, 1.0)).total, tuple(draw(3, 3) for _ in range(5))
    )
