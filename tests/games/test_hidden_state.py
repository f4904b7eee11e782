"""Networks are functions of z and their input, and payoffs have gradients: what is not is refused by its behavior."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import robustgames as rg
from robustgames.errors import GameError
from robustgames.games import GAN, MLP, GeneralSumGame, Network, Oracle, ZeroSumGame
from robustgames.games.densities import GaussianMixture
from robustgames.games.lipschitz import Spectral


class Layer(nn.Module):
    """A linear layer followed by a function of (module, output)."""

    def __init__(self, after):
        super().__init__()
        self.linear, self.after, self.calls = nn.Linear(2, 2), after, itertools.count()
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x):
        return self.after(self, self.linear(x))


def clip(module, h):
    with torch.no_grad():
        module.linear.weight.clamp_(-0.1, 0.1)
    return h


IMPURE = {
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Linear(2, 2)), "changes '_u' in every call"),
    "old spectral norm": (lambda: nn.utils.spectral_norm(nn.Linear(2, 2)), "changes 'weight_u' in every call"),
    "rrelu": (nn.RReLU, "RReLU at '1' draws from the global generator"),
    "functional dropout": (lambda: Layer(lambda _, h: nn.functional.dropout(h)), "draws from the global generator"),
    "noise": (lambda: Layer(lambda _, h: h + torch.randn_like(h)), "draws from the global generator"),
    "numpy noise": (lambda: Layer(lambda _, h: h + np.random.rand()), "another output for the same weights"),
    "counter": (lambda: Layer(lambda m, h: h * next(m.calls)), "another output for the same weights"),
    "buffer": (lambda: Layer(lambda m, h: h + m.seen.add_(h.detach().mean(0))), "changes 'seen' in every call"),
    "clipping": (lambda: Layer(clip), "changes 'weight' in every call"),
    "batch norm": (lambda: nn.BatchNorm1d(2), "BatchNorm1d at '1' keeps running statistics"),
    "dropout": (lambda: nn.AlphaDropout(0.5), "AlphaDropout at '1' draws from the global generator"),
    "lazy": (lambda: nn.LazyLinear(2), "LazyLinear at '1' has no shape"),
}


@pytest.mark.parametrize(("layer", "message"), IMPURE.values(), ids=IMPURE.keys())
def test_hidden_state_and_randomness_are_found_by_behavior(layer, message):
    before = torch.get_rng_state()
    with pytest.raises(GameError, match=message) as raised:
        network = Network(lambda: nn.Sequential(nn.Linear(2, 2), layer(), nn.Linear(2, 2)))
        GAN(network, MLP((2, 1)), GaussianMixture.grid())
    assert "\n" not in str(raised.value)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_input_changed_in_place_is_refused():
    network = Network(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 2)))
    with pytest.raises(GameError, match="changes its input in place"):
        network(torch.zeros(network.size), -torch.ones(3, 2))


@pytest.mark.parametrize(
    "layer", [lambda: parametrizations.spectral_norm(nn.Linear(2, 2)).eval(), lambda: nn.RReLU().eval(), nn.Hardswish]
)
def test_pure_modules_are_accepted(layer):
    network = Network(nn.Sequential(nn.Linear(2, 2), layer()))
    weights, inputs = torch.randn(2, network.size), torch.randn(2, 3, 2)
    assert torch.equal(network(weights, inputs), network(weights, inputs))


def frozen_first():
    module = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    return module


def test_frozen_parameters_stay_out_of_z():
    torch.manual_seed(1)
    first = Network(frozen_first)
    torch.manual_seed(2)
    second = Network(frozen_first)  # of another process: with the same frozen weights
    assert first.size == 10 and first.frozen == ["0.weight", "0.bias"]
    weights, inputs = first.initial((3,), torch.Generator().manual_seed(0), torch.float32), torch.randn(3, 5, 2)
    assert torch.equal(first(weights, inputs), second(weights, inputs))
    module = frozen_first()
    game = GAN(Network(module), MLP((2, 8, 1)), GaussianMixture.grid(), batch_size=8)
    kept = module[0].weight.clone()
    agent = rg.GameAgent(rg.GameVectorEnv(game, num_envs=2), rg.make_solver("adam", lr=0.1)).learn(20)
    assert agent.z.shape[-1] == 10 + game.critic.size
    assert torch.equal(game.generator.module[0].weight, kept)
    other = GAN(Network(frozen_first()), MLP((2, 8, 1)), GaussianMixture.grid(), batch_size=8)
    assert game.fingerprint() != other.fingerprint()  # a checkpoint belongs to its frozen weights
    with pytest.raises(GameError, match=r"'0\.weight' has requires_grad=False"):
        Spectral(Network(frozen_first))


class Mine(ZeroSumGame):
    sizes = (2, 2)

    def __init__(self, function):
        self.function = function

    def payoff(self, x, y, sample):
        return self.function(x, y)


class Losses(GeneralSumGame):
    sizes = (2, 2)

    def losses(self, x, y, sample):
        return (x * y).sum(-1), (x * y.detach()).sum(-1)


CUT = {
    "detach": lambda x, y: (x * y).sum(-1).detach(),
    "long": lambda x, y: (9 * x * y).sum(-1).long(),
    "round": lambda x, y: (9 * x * y).sum(-1).round(),
    "one player": lambda x, y: (x.detach() * y).sum(-1),
    "constant": lambda x, y: torch.zeros(x.shape[:-1]),
    "complex": lambda x, y: (x * y).sum(-1) * 1j,
}


@pytest.mark.parametrize("function", CUT.values(), ids=CUT.keys())
def test_payoffs_without_a_gradient_are_refused(function):
    with pytest.raises(GameError, match=r"payoff of Mine has no gradient in x|payoff is a constant: it does") as raised:
        rg.GameAgent(rg.GameVectorEnv(Mine(function), num_envs=2))
    assert "\n" not in str(raised.value)


def test_losses_without_a_gradient_are_refused():
    with pytest.raises(GameError, match="losses of Losses has no gradient in y"):
        Oracle(Losses())


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: (x * x).sum(-1),  # y does not matter
        lambda x, y: (x.clamp(-0.1, 0.1) * y.clamp(-0.1, 0.1)).sum(-1),  # flat at most starts
        lambda x, y: 0 * (x * y).sum(-1),
    ],
)
def test_flat_payoffs_are_accepted(function):
    Oracle(Mine(function), (3,))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.complex64, torch.int64])
def test_games_are_in_float32_or_float64(kind):
    with pytest.raises(GameError, match="games are in float32 or float64"):
        Oracle(Mine(partial(torch.linalg.vecdot)).to(dtype=kind))


def test_a_large_lr_is_named_as_the_cause():
    solver = rg.make_solver("gda", lr=100.0)
    with pytest.raises(rg.DivergedError, match="try a smaller lr"):
        rg.GameAgent("robustgames/Forsaken-v0", solver).learn(100)
