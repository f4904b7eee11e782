"""The law of a coupling is stated once: a new one in a file of eleven lines acts in the env, trains, and is batched."""

import importlib.util

import gymnasium as gym
import numpy as np
import pytest
import torch

import robustgames as rg
from robustgames.agents.control.policies import Policies
from robustgames.agents.control.policy_game import Fixed, PolicyGame
from robustgames.envs import COUPLINGS, MixedAction, NoisyAction, ProbabilisticAction
from robustgames.envs.control.pendulum import RobustPendulumVectorEnv
from robustgames.games import MLP
from robustgames.testing import check_game

ANY, BATCH = "robustgames/ActionRobust-v0", "robustgames/RobustPendulum-v0"
SMALL = {"hidden": (8, 8), "learning_starts": 20, "batch_size": 8}
FILE = '''
from dataclasses import dataclass

from robustgames.envs import MixedAction


@dataclass(frozen=True)
class SquaredAction(MixedAction):
    """The action (1 - α) a + α ā |ā| is executed."""

    def mix(self, own, other, share):
        return share.between(own, other * abs(other))
'''


@pytest.fixture
def squared(tmp_path, monkeypatch):
    """Register the coupling of a new file under a name."""
    (tmp_path / "squared.py").write_text(FILE)
    spec = importlib.util.spec_from_file_location("squared", tmp_path / "squared.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "squared", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(COUPLINGS, "squared", module.SquaredAction)
    return module.SquaredAction


@pytest.mark.usefixtures("squared")
def test_a_new_coupling_acts_in_the_env():
    env = gym.make(ANY, coupling="squared", alpha=0.25)
    env.reset(seed=0)
    info = env.step({"protagonist": [1.0], "adversary": [-0.5]})[4]
    assert info["executed_action"].tolist() == [0.75 - 0.25 * 0.25] and info["adversary_acted"]
    alone = gym.make(ANY, coupling="squared", alpha=0.0)
    alone.reset(seed=0)
    info = alone.step({"protagonist": [0.3], "adversary": [1.0]})[4]
    assert info["executed_action"].tolist() == [np.float32(0.3)] and not info["adversary_acted"]


def test_a_new_coupling_acts_alike_in_the_batch(squared):
    actions = [torch.rand(50, 4, 1, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in (0, 1)]
    for coupling in ("squared", squared(0.3)):
        share = {"alpha": 0.3} if coupling == "squared" else {}
        batch = RobustPendulumVectorEnv(4, coupling=coupling, **share)
        single = gym.make(ANY, coupling=coupling, **share)
        batch.reset(seed=0)
        single.reset(seed=0)
        for own, other in zip(*actions, strict=True):
            executed = batch.step({"protagonist": own, "adversary": other})[4]["executed_action"]
            for i in range(4):
                joint = {"protagonist": own[i].numpy(), "adversary": other[i].numpy()}
                assert np.array_equal(single.unwrapped.step(joint)[4]["executed_action"], executed[i])


@pytest.mark.usefixtures("squared")
@pytest.mark.parametrize("env", [ANY, BATCH])
@pytest.mark.parametrize("agent_class", [rg.RobustDDPG, rg.RobustTD3])
def test_a_new_coupling_trains(agent_class, env, tmp_path):
    for alpha in (0.3, [0.1, 0.6]):
        settings = {"coupling": "squared", "alpha": alpha}
        agent = agent_class(env, runs=2, env_settings=settings, **SMALL)
        start = agent.z.clone()
        agent.learn(60)
        for now, then in zip(agent.game.split(agent.z), agent.game.split(start), strict=True):
            assert bool(torch.isfinite(now).all()) and bool((now != then).any(-1).all())
        agent.save(tmp_path)
        assert torch.equal(agent_class.load(tmp_path, env, settings).z, agent.z)
    with pytest.raises(rg.GameError, match=r"has coupling squared with alpha \[0.1.*\], this env noisy"):
        agent_class.load(tmp_path, env, {"alpha": [0.1, 0.6]})


@pytest.mark.parametrize("adversary", ["alike", "smaller", "random"])
@pytest.mark.parametrize("alpha", [0.3, torch.tensor([0.1, 0.3, 1.0])])
def test_the_field_of_a_new_coupling_is_autograds(squared, alpha, adversary):
    kind, generator = torch.float64, torch.Generator().manual_seed(0)
    other = {"alike": MLP((3, 8, 2), "tanh", "tanh"), "smaller": MLP((3, 4, 2), "tanh", "tanh"), "random": None}
    actor, critic = MLP((3, 8, 2), "tanh", "tanh"), MLP((5, 8, 1), "tanh")
    source = Fixed(torch.randn(6, 3, generator=generator), torch.randn(critic.size, generator=generator))
    fast, slow = (
        PolicyGame(Policies(actor, other[adversary], alpha, squared()), critic, source, final=None, fast=fast).to(
            dtype=kind
        )
        for fast in (True, False)
    )
    assert fast.fast and not slow.fast
    z = fast.initial((3,), generator)
    sample = fast.draw((3,), generator)
    (reward, _), v = fast.evaluate(z, sample)
    (expected_reward, _), expected = slow.evaluate(z, sample)
    assert torch.allclose(v, expected, rtol=0, atol=1e-12) and torch.allclose(reward, expected_reward)
    for player in (0, 1):
        assert torch.allclose(fast.field(z, sample, player), fast.split(expected)[player], rtol=0, atol=1e-12)
    with torch.inference_mode():  # agents learn in it
        assert torch.equal(fast.field(z, sample), v)


@pytest.mark.parametrize("env", [ANY, BATCH])
def test_a_mixture_that_leaves_the_box_is_refused(env, monkeypatch):
    class Added(MixedAction):
        def mix(self, own, other, share):
            return own + share.alpha * other

    class Clipped(Added):
        def mix(self, own, other, share):
            return super().mix(own, other, share).clip(-1, 1)

    class Flat(MixedAction):
        def mix(self, own, other, share):
            return share.between(own, other).sum(-1)

    for name, law in {"added": Added, "clipped": Clipped, "flat": Flat}.items():
        monkeypatch.setitem(COUPLINGS, name, law)
    with pytest.raises(rg.GameError, match=r"makes \[-?1.5\] of .* mix stays in \[-1, 1\]"):
        rg.RobustTD3(env, runs=2, env_settings={"coupling": "added", "alpha": [0.0, 0.5]}, **SMALL)
    with pytest.raises(rg.GameError, match="mix returns one action for each pair"):
        rg.RobustTD3(env, env_settings={"coupling": "flat", "alpha": 0.5}, **SMALL)
    agent = rg.RobustTD3(env, env_settings={"coupling": "clipped", "alpha": 0.5}, **SMALL).learn(40)
    rows = agent.practice.replay.state_dict()["rows"]
    assert float(rows[..., 3].abs().max()) <= 1.0
    rg.RobustTD3(env, env_settings={"coupling": "added", "alpha": 0.0}, **SMALL)


def test_a_subclass_of_noisy_has_the_gradient_of_its_own_mixture():
    class Opposed(NoisyAction):
        def mix(self, own, other, share):
            return share.between(own, -other)

    own, other, slope = torch.rand(3, 1, 4, 2, generator=torch.Generator().manual_seed(0))
    law = Opposed(0.25)
    x, y = law.ascents(own, other, law.share, slope)
    assert torch.allclose(x, 0.75 * slope) and torch.allclose(y, 0.25 * slope)


@pytest.mark.parametrize("fast", [True, False])
def test_the_game_of_a_new_coupling_keeps_the_contract(squared, fast):
    critic = MLP((4, 8, 1), "tanh")
    source = Fixed(torch.ones(6, 3), torch.linspace(-1, 1, critic.size))
    policies = Policies(MLP((3, 8, 1), "tanh", "tanh"), MLP((3, 8, 1), "tanh", "tanh"), 0.3, squared())
    check_game(PolicyGame(policies, critic, source, final=None, fast=fast).to(dtype=torch.float64))


@pytest.mark.parametrize("law", [NoisyAction(), ProbabilisticAction()])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_expectation_is_the_mean_of_what_is_executed(law, alpha):
    """For a linear Q the law's expectation is the mean over its own draws; its ascents are the slopes of that."""
    from robustgames.agents.control.expectation import Expectation

    expected = Expectation(law, alpha)
    own, other = torch.full((1, 1, 2), 0.5), torch.full((1, 1, 2), -0.25)
    inputs = expected.inputs(torch.zeros(1, 1, 1), own, other)
    assert inputs.shape[1] == expected.rows(1)
    value = expected.value(inputs[..., 1:].sum(-1, keepdim=True))
    draws = np.random.default_rng(0).random(4000).tolist()
    executed = (
        [law.execute(own[0, 0].numpy(), other[0, 0].numpy(), expected.share, lambda u=u: u)[0] for u in draws]
        if (law.separate)
        else [law.mix(own, other, expected.share)[0, 0].numpy()]
    )
    assert float(value) == pytest.approx(np.mean([a.sum() for a in executed]), abs=0.05)
    x, y = expected.ascents(torch.ones(1, expected.rows(1), 2), own, other)
    assert torch.allclose(x, torch.tensor(1 - alpha)) and torch.allclose(y, torch.tensor(-alpha))


@pytest.mark.parametrize("coupling", ["dynamics", "observation"])
def test_other_adversaries_are_refused(coupling):
    wanted = "must be noisy or probabilistic; for others, .* or train a view"
    with pytest.raises(rg.GameError, match=wanted):
        rg.RobustDDPG(ANY, env_settings={"coupling": coupling})
    with pytest.raises(rg.GameError, match=wanted):
        RobustPendulumVectorEnv(2, coupling=coupling)
    with pytest.raises(rg.GameError, match=wanted):
        Policies(MLP((3, 2)), coupling=coupling)


def test_settings_that_a_coupling_does_not_have_are_refused_by_the_batch():
    with pytest.raises(rg.GameError, match="unknown setting 'alphas': did you mean alpha"):
        RobustPendulumVectorEnv(2, alphas=0.1)
