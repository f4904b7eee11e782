"""SA-DDPG: the inner maximum in closed form, bounds from both sides, the update against a plain page."""

import numpy as np
import pytest
import torch
from reference_ddpg import ReferenceDDPG, Settings, parameters
from torch import nn

from robustgames.agents import SADDPG, SATD3, RobustTD3
from robustgames.agents.control.observation_game import BallSample, StateAdversarialGame
from robustgames.agents.control.policies import Policies
from robustgames.agents.control.policy_game import Fixed
from robustgames.agents.sa_ddpg import SASettings
from robustgames.errors import GameError
from robustgames.games.networks import MLP
from robustgames.streams import uniform

PENDULUM = "robustgames/ActionRobustPendulum-v0"
SMALL = {"hidden": (16, 16), "learning_starts": 40, "batch_size": 16}


def game_of(actor, source=None, **settings):
    p, k = actor.widths[0], actor.widths[-1]
    source = source or Fixed(torch.zeros(5, p), torch.zeros(MLP((p + k, 8, 1)).size))
    return StateAdversarialGame(Policies(actor, None, 0.0), MLP((p + k, 8, 1)), source, **settings)


def sample_of(actor, rows=5, seed=0, runs=(), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(*runs, rows, actor.widths[0], generator=generator, dtype=dtype)
    start = 2 * torch.rand(states.shape, generator=generator, dtype=dtype) - 1
    return BallSample(states, torch.zeros(*runs, MLP((actor.widths[0] + actor.widths[-1], 8, 1)).size), None, start)


@pytest.mark.parametrize("maximizer", ["steps", "interval"])
@pytest.mark.parametrize("fast", [True, False])
def test_every_component_has_its_unit(maximizer, fast):
    actor, eps, scale = MLP((3, 1)), 0.3, (0.5, 1.0, 4.0)
    game = game_of(actor, eps=eps, scale=scale, maximizer=maximizer, fast=fast)
    x = torch.tensor([1.0, -2.0, 0.5, 0.1])
    assert torch.allclose(game.rough(x, sample_of(actor))[0], torch.tensor((eps * (0.5 + 2.0 + 2.0)) ** 2))


@pytest.mark.parametrize("maximizer", ["steps", "interval"])
@pytest.mark.parametrize("fast", [True, False])
def test_the_inner_maximum_of_a_linear_policy_is_eps_times_the_l1_norm_of_its_row(maximizer, fast):
    """(eps |w|_1)², whose gradient is 2 eps² |w|_1 sign(w); of several actions the bound is the sum over rows."""
    actor, eps = MLP((6, 1)), 0.3
    game = game_of(actor, kappa=2.0, eps=eps, maximizer=maximizer, fast=fast)
    x = torch.randn(4, actor.size, generator=torch.Generator().manual_seed(1))
    value, gradient = game.rough(x, sample_of(actor, runs=(4,)))
    w = x[:, :6]
    norm = w.abs().sum(-1)
    assert torch.allclose(value, (eps * norm).square(), rtol=1e-6, atol=1e-6)
    expected = torch.cat([2 * eps**2 * norm.unsqueeze(-1) * w.sign(), torch.zeros(4, 1)], -1)
    assert torch.allclose(gradient, expected, rtol=1e-6, atol=1e-6)


def test_interval_bounds_of_a_linear_policy_of_several_actions_are_exact_in_every_action():
    actor, eps = MLP((4, 3)), 0.2
    game = game_of(actor, eps=eps, maximizer="interval")
    x = torch.randn(actor.size, generator=torch.Generator().manual_seed(2))
    value, _ = game.rough(x, sample_of(actor))
    assert torch.allclose(value, (eps * x[:12].view(3, 4).abs().sum(-1)).square().sum(), rtol=1e-6)


def test_the_steps_bound_the_maximum_from_below_and_the_intervals_from_above():
    actor, eps = MLP((2, 16, 16, 2), last="tanh"), 0.3
    x = 2 * torch.randn(actor.size, generator=torch.Generator().manual_seed(3))
    sample = sample_of(actor, rows=1, seed=4)
    line = torch.linspace(-eps, eps, 401)
    ball = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).view(-1, 2)
    differences = (actor(x, sample.states + ball) - actor(x, sample.states)).square().sum(-1)
    below, above = (game_of(actor, eps=eps, maximizer=m).rough(x, sample)[0] for m in ("steps", "interval"))
    slack = 1e-3 * float(differences.max())  # of the grid
    assert float(below) <= float(differences.max()) + slack and float(above) >= float(differences.max())
    assert float(below) > 2 * float(differences.mean())  # far better than a random point


@pytest.mark.parametrize("runs", [(), (3,)])
def test_written_out_passes_are_autograd(runs):
    actor = MLP((3, 8, 8, 2), last="tanh")
    x = torch.randn(*runs, actor.size, generator=torch.Generator().manual_seed(5))
    sample = sample_of(actor, runs=runs, seed=6)
    (value, gradient), (plain, expected) = (
        game_of(actor, eps=0.2, fast=fast).rough(x, sample) for fast in (True, False)
    )
    assert torch.allclose(value, plain, rtol=1e-5) and torch.allclose(gradient, expected, rtol=1e-4, atol=1e-6)
    fast, slow = (game_of(actor, kappa=0.7, eps=0.2, fast=fast) for fast in (True, False))
    for one, other in ((fast.field(x, sample), slow.field(x, sample)), (fast.evaluate(x, sample)[0][0], None)):
        expected = slow.evaluate(x, sample)[0][0] if other is None else other
        assert torch.allclose(one, expected, rtol=1e-4, atol=1e-6)


class ReferenceSA(ReferenceDDPG):
    """The page of DDPG and TD3 with SA-DDPG's regularization, by signed steps of autograd's gradient."""

    kappa, eps, steps = 0.0, 0.0, 5

    def play(self, value):
        states, mu = self.states, self.actor(self.states)
        start = uniform((1, *states.shape), self.generator, states.dtype)[0] * 2 - 1
        shift = self.eps * start
        for _ in range(self.steps):
            shift.requires_grad_()
            (g,) = torch.autograd.grad((self.actor(states + shift) - mu.detach()).square().sum(), shift)
            shift = (shift.detach() + 2.5 * self.eps / self.steps * g.sign()).clamp(-self.eps, self.eps)
        rough = (self.actor(states + shift) - mu).square().sum(-1).mean()
        self.adams["actor"].zero_grad()
        (self.kappa * rough - value).backward()
        self.adams["actor"].step()

    def update(self, states, *others):
        self.states = states
        super().update(states, *others)


@pytest.mark.parametrize("agent_class", [SADDPG, SATD3])
def test_30_updates_are_those_of_a_plain_page(agent_class):
    agent = agent_class(PENDULUM, sa_kappa=3.0, sa_eps=0.3, sa_ramp=20, **SMALL)
    agent.learn(40)
    s = agent.settings
    ours, plain = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    settings = Settings(s.gamma, s.tau, 1e-3, s.twin, s.smoothing, s.delay)
    reference = ReferenceSA(3, 1, s.hidden, settings, plain)
    reference.kappa = s.sa_kappa
    for modules, flat in (([reference.actor], agent.z[0]), (reference.critics, agent.practice.state["w"][0])):
        nn.utils.vector_to_parameters(flat.clone(), parameters(*modules))
    reference.start()
    agent.oracle.generator = agent.engine.generator = ours
    for k in range(1, 31):
        due = k % s.delay == 0
        agent.game.eps = reference.eps = s.radius(k)
        agent.z, agent.state = agent.engine.step(agent.z, agent.state, due)
        batch = agent.practice.replay.sample(16, plain)
        states, actions, after, rewards, continues = (part[0].clone() for part in batch[2:])
        reference.update(states, actions, rewards, after, 1 - continues)
    for flat, modules in ((agent.z[0], [reference.actor]), (agent.practice.state["w"][0], reference.critics)):
        expected = nn.utils.parameters_to_vector(parameters(*modules))
        assert torch.allclose(flat, expected, rtol=0, atol=1e-5)


def test_without_weight_it_is_td3_and_a_large_weight_flattens_the_policy():
    same = {"learning_starts": 100, "hidden": (16, 16), "batch_size": 32, "engine": "torch"}
    plain = RobustTD3(PENDULUM, env_settings={"alpha": 0.0}, **same).learn(400)
    free, flat = (SATD3(PENDULUM, sa_kappa=kappa, sa_ramp=0, **same).learn(400) for kappa in (0.0, 100.0))
    assert torch.equal(plain.z, free.z)
    sample = sample_of(MLP((3, 16, 16, 1)), rows=200)
    free.game.eps = flat.game.eps
    rough = [float(agent.game.rough(agent.z[0], sample)[0]) for agent in (free, flat)]
    assert rough[1] < 0.5 * rough[0]


@pytest.mark.parametrize("settings", [{"sa_maximizer": "steps"}, {"sa_maximizer": "interval", "normalize": True}])
def test_a_saved_run_goes_on_bit_for_bit(settings, tmp_path):
    first = SATD3(PENDULUM, seed=2, runs=2, sa_ramp=100, **SMALL, **settings).learn(75)
    first.save(tmp_path)
    second = SATD3.load(tmp_path, PENDULUM)
    for agent in (first, second):
        agent.learn(60, reset_num_timesteps=False)
    assert torch.equal(first.z, second.z) and first.game.eps == second.game.eps == first.settings.radius(95)


def test_the_radius_rises_linearly_and_is_logged_as_roughness(tmp_path):
    assert np.allclose(
        [SASettings(sa_eps=0.4, sa_start=5, sa_ramp=4).radius(k) for k in (5, 6, 9, 99)], [0, 0.1, 0.4, 0.4]
    )
    agent = SADDPG(PENDULUM, runs=2, sa_ramp=1, **SMALL).learn(60)
    found = agent._objectives()["train/roughness"]
    assert found.shape == (2,) and bool((found > 0).all())


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"sa_eps": -1.0}, "sa_eps is -1.0"),
        ({"sa_steps": 0}, "sa_steps is 0"),
        ({"sa_steps": 7, "sa_maximizer": "interval"}, "sa_steps is 7: intervals take no steps"),
        ({"sa_scale": (1.0, 2.0)}, "sa_scale has 2 units: observations have 3"),
        ({"sa_scale": (1.0, 0.0, 1.0)}, "units are positive"),
        ({"sa_maximizer": "newton"}, "unknown sa_maximizer 'newton'"),
        ({"engine": "native"}, "it knows the updates of PolicyGame, and this is StateAdversarialGame"),
    ],
)
def test_what_cannot_be_is_refused(settings, error):
    with pytest.raises(GameError, match=error):
        SATD3(PENDULUM, **settings)
