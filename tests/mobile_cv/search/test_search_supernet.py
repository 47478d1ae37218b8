"""The supernet: equal to the networks it holds, weighted by a Gumbel-softmax that is one."""

import math

import pytest
import torch

from mobile_cv.model_zoo.networks import build
from mobile_cv.search import Choice, LatencyTable, SearchSpace, Stage, Supernet
from mobile_cv.search.losses import AnnaFBNetLoss, PaperLoss, TargetLoss
from mobile_cv.search.space import get_space
from mobile_cv.search.supernet import gumbel_noise, temperature_at

DIGITS = get_space("fbnet", "digits")
SPACE = SearchSpace(
    "tiny",
    (Stage(4), Stage(8, 2, 2, ("ir_k3_e2", "skip"))),
    DIGITS.network.replace(stem="cn_k3_s2_c4", head="cn_k1_c8", size=16),
    ("ir_k3_e1", "ir_k5_e3", "ir_k3_e1_g2", "skip"),
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def one_hot(space, choices):
    return torch.nn.functional.one_hot(torch.tensor(choices), space.width).float()


def test_a_hard_choice_computes_that_network():
    torch.manual_seed(0)
    supernet = Supernet(SPACE).eval()
    choices = [2, 0, 1]
    network = build(SPACE.architecture(choices)).eval()
    network.first.load_state_dict(supernet.stem.state_dict())
    network.last_stages.load_state_dict(supernet.head.state_dict())
    for stage, layer, choice in zip(network.stages, supernet.layers, choices, strict=True):
        stage.load_state_dict(layer[choice].state_dict())
    x = torch.randn(3, 3, 16, 16)
    assert torch.equal(supernet(x, one_hot(SPACE, choices)), network(x))


def test_a_choice_per_sample_is_each_sample_by_itself():
    torch.manual_seed(0)
    supernet = Supernet(SPACE).eval()
    weights, _ = Choice(SPACE)(gumbel_noise((3, *SPACE.available.shape), generator()), 1.0)
    x = torch.randn(3, 3, 16, 16)
    together = supernet(x, weights.detach())
    alone = torch.cat([supernet(x[i : i + 1], weights[i].detach()) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)  # sums in another order


def test_absent_candidates_have_no_weight_and_no_gradient():
    choice = Choice(SPACE)
    weights, _ = choice(gumbel_noise((50, *SPACE.available.shape), generator()), 0.5)
    assert torch.equal(weights[:, ~SPACE.available], torch.zeros(50, 4))
    torch.testing.assert_close(weights.sum(-1), torch.ones(50, 3))
    (weights**2).sum().backward()
    assert torch.isfinite(choice.theta.grad).all()
    assert torch.equal(choice.theta.grad[~SPACE.available], torch.zeros(4))


def test_samples_follow_the_probabilities():
    """A hard Gumbel-softmax draws each candidate as often as the softmax of theta says."""
    choice = Choice(SPACE)
    with torch.no_grad():
        choice.theta[0] = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    noise = gumbel_noise((20000, *SPACE.available.shape), generator())
    for temperature in (0.1, 5.0):
        drawn = choice(noise, temperature, hard=True)[0].detach().mean(0)[0]
        # four standard deviations of 20000 draws
        torch.testing.assert_close(drawn, torch.tensor([0.1, 0.2, 0.3, 0.4]), rtol=0, atol=0.014)


def test_straight_through_has_the_soft_gradient():
    noise = gumbel_noise(tuple(SPACE.available.shape), generator())
    gradients = []
    for hard in (False, True):
        choice = Choice(SPACE)
        weights, _ = choice(noise, 1.0, hard)
        (weights * torch.arange(weights.numel()).view_as(weights)).sum().backward()
        gradients.append(choice.theta.grad)
    torch.testing.assert_close(*gradients)
    assert set(weights.detach().round(decimals=6).flatten().tolist()) == {0.0, 1.0}


def test_entropy():
    choice = Choice(SPACE)
    assert choice.entropy() == pytest.approx((math.log(4) + 2 * math.log(2)) / 3, rel=1e-6)
    with torch.no_grad():
        choice.theta[:, 0] = 1e4
    assert choice.entropy() == pytest.approx(0, abs=1e-6)


def test_temperatures_of_the_published_schedule():
    assert temperature_at(0) == 5.0
    assert temperature_at(10, constant=10) == 5.0
    assert temperature_at(180, constant=10) == pytest.approx(0.0023802206451113486, rel=1e-9)


TABLE = LatencyTable("phone", torch.rand(3, 4, generator=generator()).double() * SPACE.available, 0.7)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize(
    "loss", [TargetLoss(0.5), TargetLoss(100.0), PaperLoss(), AnnaFBNetLoss()], ids=lambda loss: repr(loss)
)
def test_gradients_of_the_expected_latency_are_finite_differences(loss, per_sample):
    shape = ((5,) if per_sample else ()) + tuple(SPACE.available.shape)
    noise = gumbel_noise(shape, generator()).double()
    choice = Choice(SPACE).double()

    def joined(theta):
        weights, probabilities = torch.func.functional_call(choice, {"theta": theta}, (noise, 1.7))
        latency = TABLE.expected(weights if loss.of_weights else probabilities)
        return loss(torch.tensor(2.0).double(), latency)

    theta = torch.randn(choice.theta.shape, generator=generator(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(joined, theta, eps=1e-6, atol=1e-8, rtol=1e-6)


def test_expected_latency_of_a_certain_choice_is_the_networks():
    assert float(TABLE.expected(one_hot(SPACE, [3, 1, 0]))) == pytest.approx(TABLE.of([3, 1, 0]), rel=1e-6)
    by_hand = 0.7 + float(TABLE.candidates_ms[0, 3] + TABLE.candidates_ms[1, 1] + TABLE.candidates_ms[2, 0])
    assert TABLE.of([3, 1, 0]) == pytest.approx(by_hand)


def test_losses_by_their_formulas():
    cross_entropy, latency = torch.tensor(2.0), torch.tensor(30.0)
    assert float(PaperLoss(0.2, 0.6)(cross_entropy, latency)) == pytest.approx(2.0 * 0.2 * math.log(30000) ** 0.6)
    assert float(AnnaFBNetLoss(0.2, 0.6)(cross_entropy, latency)) == pytest.approx(2.0 * 0.2 * math.log(30000**0.6))
    assert float(TargetLoss(25.0, 5.0)(cross_entropy, latency)) == pytest.approx(2.0 + 5.0 * 0.2)
    assert float(TargetLoss(40.0)(cross_entropy, latency)) == 2.0


def test_candidates_of_weight_zero_are_not_computed():
    supernet = Supernet(SPACE).train()
    supernet(torch.randn(4, 3, 16, 16), one_hot(SPACE, [0, 0, 1]))
    used = [[int(candidate.pw.bn.num_batches_tracked) for candidate in layer[:1]] for layer in supernet.layers]
    assert used == [[1], [1], [0]]
