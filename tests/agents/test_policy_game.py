"""Actor and adversary as a game: what its field is, that the written-out passes are autograd's, and what is learned."""

import copy
import pickle

import pytest
import torch
from torch import Generator, nn
from torch.utils._python_dispatch import TorchDispatchMode

import robustgames as rg
from robustgames.agents.control.critic_training import CriticTraining
from robustgames.agents.control.critics import TemporalDifference
from robustgames.agents.control.policies import Policies
from robustgames.agents.control.policy_game import Fixed, PolicyGame
from robustgames.agents.control.replay import Replay
from robustgames.games import MLP, Network, Oracle
from robustgames.games.passes import DERIVATIVES, Backprop, Passes
from robustgames.solvers import SGD, Adam, BestResponse, FusedAdam, Turns, make_solver, respond
from robustgames.solvers.config import from_config, to_config
from robustgames.tensors import Movable
from robustgames.testing import check_game, check_solver

KIND = torch.float64
STATES, ACTIONS = 3, 2


def generator(seed=0):
    return Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=KIND, generator=generator(seed))


def networks(activation="tanh", adversary="alike"):
    actor = MLP((STATES, 8, 6, ACTIONS), activation, "tanh")
    other = {
        "alike": MLP((STATES, 8, 6, ACTIONS), activation, "tanh"),
        "smaller": MLP((STATES, 5, ACTIONS), activation, "tanh"),
        "random": None,
    }[adversary]
    return actor, other, MLP((STATES + ACTIONS, 7, 18, 1), activation)


def small(coupling="noisy", activation="tanh", adversary="alike", alpha=0.3, **settings):
    actor, other, critic = networks(activation, adversary)
    source = Fixed(normal(6, STATES, seed=1), normal(critic.size, seed=2))
    game = PolicyGame(Policies(actor, other, alpha, coupling), critic, source, final=None, **settings)
    return game.to(dtype=KIND)


def close(a, b, atol=1e-12):
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=atol)


# -- the written-out passes are autograd's -----------------------------------------------------------------
@pytest.mark.parametrize("activation", DERIVATIVES)
@pytest.mark.parametrize("last", [None, "tanh", "elu"])
@pytest.mark.parametrize("widths", [(3, 1), (5, 20, 2), (18, 4, 17, 3)])
@pytest.mark.parametrize("norm", [False, True])
def test_passes_are_autograds(norm, widths, last, activation):
    net, runs, rows = MLP(widths, activation, last, norm), 2, 9
    weights, inputs = normal(runs, net.size), normal(runs, rows, widths[0], seed=1)
    g = normal(runs, rows, widths[-1], seed=2)
    passes = Passes(net, runs, rows, inputs, first=1)
    leaf, point = weights.clone().requires_grad_(), inputs.clone().requires_grad_()
    expected = net(leaf, point)
    in_weights, in_inputs = torch.autograd.grad(expected, (leaf, point), g)
    assert close(passes.forward(weights, inputs), expected.detach(), 1e-14)
    passes.slope.copy_(g)
    assert close(passes.in_weights(), in_weights)
    passes.slope.copy_(g)
    assert close(passes.in_inputs(), in_inputs[..., 1:])


def test_passes_are_made_once_per_shape_and_copies_have_their_own():
    net = Backprop(MLP((2, 3, 1)))
    like = torch.zeros(1)
    assert net.at(1, 4, like) is net.at(1, 4, like) is not net.at(2, 4, like)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.at(1, 4, like).weights.data_ptr() != net.at(1, 4, like).weights.data_ptr()
    for rows in range(1, 30):
        net.at(1, rows, like)
    assert len(net._built) <= 8


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
@pytest.mark.parametrize("adversary", ["alike", "smaller", "random"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
def test_the_field_by_hand_is_autograds(coupling, activation, adversary, shape):
    alpha = torch.tensor([0.1, 0.3, 1.0]) if shape == (3,) else 0.3
    fast = small(coupling, activation, adversary, alpha)
    slow = small(coupling, activation, adversary, alpha, fast=False)
    assert fast.fast and not slow.fast
    z, sample = fast.initial(shape, generator()), fast.draw(shape, generator())
    (rewards, v), (expected_rewards, expected) = fast.evaluate(z, sample), slow.evaluate(z, sample)
    assert close(v, expected) and float(v.abs().max()) > 1e-3
    assert all(close(a, b) for a, b in zip(rewards, expected_rewards, strict=True))
    for player in (0, 1):
        assert close(fast.field(z, sample, player), fast.split(expected)[player])
        assert close(slow.field(z, sample, player), fast.split(expected)[player])


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("adversary", ["alike", "smaller", "random"])
@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
def test_the_game_keeps_the_contract(coupling, adversary, fast):
    check_game(small(coupling, "tanh", adversary, fast=fast))


def test_the_field_stays_when_the_next_one_is_asked():
    game = small()
    z, sample = game.initial((2,), generator()), game.draw((2,), generator())
    v = game.field(z, sample)
    kept = v.clone()
    game.field(2 * z, sample)
    game.field(2 * z, sample, 0)
    assert torch.equal(v, kept)


def test_second_derivatives_come_from_autograd():
    game = small()
    z, sample = game.initial((), generator()).requires_grad_(), game.draw((), generator())
    (g,) = torch.autograd.grad(game.field(z, sample).square().sum(), z)
    h, direction = 1e-6, normal(len(z), seed=5)
    with torch.no_grad():
        up, down = (game.field(z + s * h * direction, sample).square().sum() for s in (1, -1))
    assert torch.allclose((up - down) / (2 * h), (g * direction).sum(), rtol=1e-5)


def test_a_module_of_ones_own_takes_the_autograd_path():
    def build():
        return nn.Sequential(nn.Linear(STATES, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, ACTIONS), nn.Tanh())

    critic = networks()[2]
    policies = Policies(Network(build), Network(build), 0.2)
    game = PolicyGame(policies, critic, Fixed(normal(4, STATES), normal(critic.size)))
    assert not game.fast
    check_game(game)


class NoWaiting(TorchDispatchMode):
    """Refuses what would make a GPU's host wait."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.name() not in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero"), func.name()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("adversary", ["alike", "random"])
def test_no_update_waits_for_the_device(adversary):
    practice, _, oracle, z = training(alpha=0.3, adversary=adversary, twin=True, smoothing=0.2, shape=(2,))
    solver = make_solver("extra_adam")
    state = solver.init(oracle, z)
    with torch.no_grad(), NoWaiting():
        practice.learn(oracle.generator)
        z, state = solver.step(oracle, z, state)
        practice.follow(z)


# -- what the field is -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("fast", [True, False])
def test_without_a_share_the_actors_field_is_ddpgs_policy_gradient(fast):
    actor = nn.Sequential(
        nn.Linear(STATES, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, ACTIONS), nn.Tanh()
    ).double()
    critic = nn.Sequential(
        nn.Linear(STATES + ACTIONS, 7), nn.Tanh(), nn.Linear(7, 18), nn.Tanh(), nn.Linear(18, 1)
    ).double()
    game = small(alpha=0.0, fast=fast)
    flat = nn.utils.parameters_to_vector
    states = normal(6, STATES)
    loss = -critic(torch.cat([states, actor(states)], -1)).mean()
    loss.backward()
    game.source = Fixed(states, flat(critic.parameters()).detach())
    z = torch.cat([flat(actor.parameters()).detach(), game.start(1, (), generator())])
    (reward, _), v = game.evaluate(z, game.draw((), generator()))
    x, y = game.split(v)
    assert close(x, -flat([p.grad for p in actor.parameters()])) and close(-reward, loss.detach())
    assert torch.equal(y, torch.zeros_like(y))


@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
def test_both_players_meet_in_the_same_states_under_the_same_critic(coupling):
    game = small(coupling)
    (x, y), sample = game.split(game.initial((), generator())), game.draw((), generator())
    mu, nu, s = game.policies.actor(x, sample.states), game.policies.adversary(y, sample.states), sample.states

    def q(actions):
        return game.critic(sample.critic, torch.cat([s, actions], -1)).mean()

    expected = -q(0.7 * mu + 0.3 * nu) if coupling == "noisy" else -(0.7 * q(mu) + 0.3 * q(nu))
    assert close(game.payoff(x, y, sample), expected)


@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
def test_one_alpha_per_run_is_every_alpha_alone(coupling):
    alphas = torch.tensor([0.0, 0.2, 0.9], dtype=KIND)
    together = small(coupling, alpha=alphas)
    z, sample = together.initial((3,), generator()), together.draw((3,), generator())
    v = together.field(z, sample)
    for i, alpha in enumerate(alphas.tolist()):
        alone = small(coupling, alpha=alpha)
        assert close(alone.field(z[i], alone.draw((), generator())), v[i])


def test_a_random_adversary_disturbs_by_its_share():
    game = small("probabilistic", adversary="random", alpha=0.3)
    alone = small(adversary="random", alpha=0.0)
    z, sample = game.initial((2,), generator()), game.draw((2,), generator())
    assert game.sizes[1] == 0 and alone.draw((2,), generator()).drawn is None
    assert sample.drawn.shape == (2, 6, ACTIONS) and float(sample.drawn.abs().max()) <= 1
    v = alone.field(z, alone.draw((2,), generator()))
    assert close(game.field(z, sample), 0.7 * v)  # what replaces the action does not depend on the actor
    noisy = small(adversary="random", alpha=0.3)
    assert not torch.allclose(noisy.field(z, noisy.draw((2,), generator())), 0.7 * v, atol=1e-4)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("adversary", ["alike", "smaller", "random"])
def test_acting_is_what_the_networks_say(adversary, fast):
    policies = small(adversary=adversary).policies
    policies.fast = fast
    z, states = normal(3, sum(policies.sizes)), normal(3, 1, STATES, seed=1)
    drawn = policies.draw((3, 1), generator(), KIND)
    expected = policies.actions(*policies.split(z), states, drawn)
    assert all(close(a, b) for a, b in zip(policies.act(z.requires_grad_(), states, drawn), expected, strict=True))
    assert not policies.act(z, states, drawn)[0].requires_grad
    assert (drawn is not None) == (adversary == "random")


class Square(Movable):
    """Q(s, a) = a²: the one-state example of Tessler et al., as a critic without weights."""

    size = 0

    def __call__(self, weights, inputs):
        return inputs[..., -1:] ** 2

    def initial(self, shape, generator, dtype):
        return torch.empty((*shape, 0), dtype=dtype)


def one_state(coupling, alpha):
    policy = MLP((1, 1), last="tanh")
    return PolicyGame(Policies(policy, policy, alpha, coupling), Square(), Fixed(torch.ones(1, 1))).to(dtype=KIND)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("solver", ["adam", "alt_adam", "extra_adam", "turns", "best_response"])
def test_noisy_policies_of_one_state_find_the_best_deterministic_value(solver, alpha):
    """r(a) = a²: against a deterministic protagonist the adversary leaves (1 - 2α)² for α <= 1/2, else 0."""
    game = one_state("noisy", alpha)
    chosen = {"turns": Turns(Adam(0.05), 3), "best_response": BestResponse(Adam(0.2), Adam(0.2), 20, start="keep")}
    scheme, oracle = chosen.get(solver) or make_solver(solver, lr=0.05), Oracle(game, (8,), generator())
    z = game.initial((8,), generator(1)) * 100
    z[:, :2] = 0.6 * torch.ones(8, 1).double() * torch.tensor([[1.0], [-1.0]] * 4)  # |μ| too small is a plateau at 0
    state = scheme.init(oracle, z)
    for _ in range(40 if solver == "best_response" else 400):
        z, state = scheme.step(oracle, z, state)
    values = game.evaluate(z, oracle.sample)[0][0]
    assert close(values, torch.full((8,), max(0.0, 1 - 2 * alpha) ** 2, dtype=KIND), 0.01)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.6])
def test_a_deterministic_adversary_that_has_to_move_first_leaves_more(alpha):
    """Min over adversaries of the best answer: (1 - α)², at ν = 0; the value of the game on mixed policies."""
    game = one_state("noisy", alpha)
    oracle = Oracle(game, (8,), generator())
    z, rule = game.initial((8,), generator(1)) * 100, Adam(0.3)
    oracle.draw()
    for k in range(40):
        z = oracle.restart(z, 0, zero=True)  # from 0 the protagonist climbs to the better end of [-1, 1]
        z, _ = respond(rule, oracle, z, 0, 30, rule.init(game.split(z)[0]))
        z, _ = respond(SGD(0.5 / (1 + k)), oracle, z, 1, 1, {"k": 0})
    z = oracle.restart(z, 0, zero=True)
    z, _ = respond(rule, oracle, z, 0, 200, rule.init(game.split(z)[0]))
    assert close(game.evaluate(z, oracle.sample)[0][0], torch.full((8,), (1 - alpha) ** 2, dtype=KIND), 0.02)


@pytest.mark.parametrize("solver", ["adam", "alt_adam", "extra_adam"])
def test_probabilistic_policies_of_one_state_find_the_value_of_the_game(solver):
    """PR-MDP: (1 - α) μ² + α ν² has the saddle μ = ±1, ν = 0 and the value 1 - α."""
    game = one_state("probabilistic", 0.3)
    scheme, oracle = make_solver(solver, lr=0.05), Oracle(game, (8,), generator())
    z = game.initial((8,), generator(1)) * 100
    state = scheme.init(oracle, z)
    for _ in range(400):
        z, state = scheme.step(oracle, z, state)
    assert close(game.evaluate(z, oracle.sample)[0][0], torch.full((8,), 0.7, dtype=KIND), 0.01)


# -- solvers ---------------------------------------------------------------------------------------------------
def test_turns_gives_the_adversary_every_fourth_step():
    game, solver = small(), Turns(SGD(0.1), ratio=3)
    oracle = Oracle(game, (2,), generator())
    z = game.initial((2,), generator())
    state, moved = solver.init(oracle, z), []
    for _ in range(8):
        before, calls = game.split(z), oracle.calls
        z, state = solver.step(oracle, z, state)
        moved.append([not torch.equal(a, b) for a, b in zip(before, game.split(z), strict=True)].index(True))
        assert oracle.calls == calls + 1
    assert moved == [0, 0, 0, 1] * 2 and state["x"]["k"] == 6 and state["y"]["k"] == 2
    check_solver(solver)
    assert from_config(to_config(solver)) == solver


LAYOUTS = {
    "whole": lambda t: t,
    "first block": lambda t: torch.cat([t, -t], -1)[:, :500],
    "last block": lambda t: torch.cat([-t, t], -1)[:, 500:],
    "transposed": lambda t: t.mT.contiguous().mT,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_fused_adam_is_adam(kind, layout):
    """In whatever order memory holds the coordinates: a player's block of several runs is a part of every row."""
    z = LAYOUTS[layout](torch.randn(2, 500, dtype=kind, generator=generator()))
    before = z.clone()
    plain, fused, zs = Adam(1e-2, (0.8, 0.99)), FusedAdam(1e-2, (0.8, 0.99)), [z, z]
    states = [plain.init(z), fused.init(z)]
    for i in range(20):
        v = LAYOUTS[layout](torch.randn(2, 500, dtype=kind, generator=generator(i)) * 10.0 ** (i % 5))
        pairs = [r.step(x, v, s, generator()) for r, x, s in zip((plain, fused), zs, states, strict=True)]
        zs, states = [x for x, _ in pairs], [s for _, s in pairs]
    assert close(zs[0], zs[1], 1e-13 if kind == KIND else 1e-6) and torch.equal(z, before)
    assert states[0].keys() == states[1].keys() and not torch.equal(zs[0], z)
    for name in ("m", "s"):  # a state of one continues in the other
        assert close(
            states[0][name], states[1][name], (1e-13 if kind == KIND else 1e-5) * float(states[0][name].abs().max())
        )
    assert torch.equal(
        FusedAdam(torch.full((2, 1), 0.1, dtype=kind)).step(z, v, fused.init(z), generator())[0],
        Adam(torch.full((2, 1), 0.1, dtype=kind)).step(z, v, plain.init(z), generator())[0],
    )


# -- the critic --------------------------------------------------------------------------------------------------
def filled(shape=(), n=40, seed=0):
    replay = Replay(100, STATES, ACTIONS, shape, dtype=KIND)
    g = generator(seed)
    s, after = (torch.randn(n, *shape, STATES, dtype=KIND, generator=g) for _ in range(2))
    a = torch.rand(n, *shape, ACTIONS, dtype=KIND, generator=g) * 2 - 1
    replay.extend(
        s,
        a,
        after,
        torch.randn(n, *shape, dtype=KIND, generator=g),
        torch.arange(n * 1.0).view(-1, *[1] * len(shape)).expand(n, *shape) % 3 == 0,
    )
    return replay


def training(coupling="noisy", alpha=0.3, adversary="alike", shape=(), every_draw=False, **settings):
    actor, other, critic = networks("tanh", adversary)
    policies = Policies(actor, other, alpha, coupling)
    learning = TemporalDifference(policies, critic, final=None, **settings)
    practice = CriticTraining(filled(shape), learning, 5, generator(), every_draw)
    game = PolicyGame(policies, critic, practice, final=None).to(dtype=KIND)
    z = game.initial(shape, generator(3))
    practice.begin(z)
    return practice, game, Oracle(game, shape, generator(4)), z


@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
@pytest.mark.parametrize("twin", [False, True])
def test_targets_are_the_papers(coupling, twin):
    practice, game, _, z = training(coupling, 0.3, twin=twin, gamma=0.9)
    batch, learning, state = practice.replay.sample(7, generator(5)), practice.learning, practice.state
    (x, y), after = game.split(z), batch.next_states
    mu, nu = game.policies.actor(x, after), game.policies.adversary(y, after)

    def q(actions):
        heads = state["target"].split(game.critic.size)
        return torch.stack([game.critic(w, torch.cat([after, actions], -1)) for w in heads]).amin(0)

    v = q(0.7 * mu + 0.3 * nu) if coupling == "noisy" else 0.7 * q(mu) + 0.3 * q(nu)
    expected = batch.rewards + 0.9 * batch.continues * v
    assert len(state["target"]) == (1 + twin) * game.critic.size
    assert close(learning.targets(batch, z, state, generator()), expected)
    assert 0 < float(batch.continues.mean()) < 1  # both kinds of transitions were there


def test_with_a_random_adversary_the_target_holds_its_draws():
    practice, game, _, z = training("probabilistic", 1.0, "random", gamma=0.9)
    batch = practice.replay.sample(7, generator(5))
    drawn = game.policies.draw((7,), generator(6), KIND)
    q = game.critic(practice.state["target"], torch.cat([batch.next_states, drawn], -1))
    targets = practice.learning.targets(batch, z, practice.state, generator(6))
    assert close(targets, batch.rewards + 0.9 * batch.continues * q)


def test_smoothing_is_clipped_noise_on_what_is_played():
    exact, noisy = (training(alpha=0.0, gamma=0.9, **s)[0] for s in ({}, {"smoothing": 5.0, "clip": 0.01}))
    z, batch = training(alpha=0.0)[3], exact.replay.sample(30, generator(5))
    a, b = (p.learning.targets(batch, z, exact.state, generator(6)) for p in (exact, noisy))
    assert 1e-6 < float((a - b).abs().max()) < 0.1
    played = torch.zeros(200, ACTIONS, dtype=KIND)
    noisy.learning._smooth(played, generator())
    assert float(played.abs().max()) == pytest.approx(0.01) and float(played.mean().abs()) < 2e-3
    played.fill_(1.0)
    noisy.learning._smooth(played, generator())
    assert float(played.max()) == 1.0 and float(played.min()) == pytest.approx(0.99)


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
@pytest.mark.parametrize("settings", [{}, {"twin": True, "smoothing": 0.2}, {"l2": 0.01, "twin": True}])
@pytest.mark.parametrize("adversary", ["alike", "random"])
@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
def test_the_critic_by_hand_is_autograds(coupling, adversary, settings, shape):
    states = []
    for fast in (True, False):
        practice, _, oracle, z = training(coupling, 0.3, adversary, shape, rule=SGD(0.1), fast=fast, **settings)
        assert practice.learning._fast == fast
        for _ in range(5):
            practice.learn(oracle.generator)
            practice.follow(z)
        states.append((practice.state["w"], practice.state["target"], practice.error))
    assert all(close(a, b) for a, b in zip(*states, strict=True))


@pytest.mark.parametrize("twin", [False, True])
def test_runs_of_a_batch_do_not_see_each_other(twin):
    practice, _, _, z = training(shape=(3,), twin=twin, rule=SGD(0.1))
    batch = practice.replay.sample(6, generator(5))
    state, _ = practice.learning.step(batch, z, practice.state, generator())
    for i in range(3):
        own = {"w": practice.state["w"][i], "target": practice.state["target"][i], "rule": {"k": 0}}
        alone, _ = practice.learning.step(type(batch)(*(part[i] for part in batch)), z[i], own, generator())
        assert close(alone["w"], state["w"][i])


def test_a_step_changes_neither_its_arguments_nor_the_target():
    practice, _, _, z = training(twin=True)
    before = copy.deepcopy(practice.state)
    state, _ = practice.learning.step(practice.replay.sample(6, generator()), z, practice.state, generator())
    assert all(torch.equal(practice.state[k], before[k]) for k in ("w", "target"))
    assert torch.equal(state["target"], before["target"]) and not torch.equal(state["w"], before["w"])
    practice.learning.follow_(state)
    assert close(state["target"], 0.995 * before["target"] + 0.005 * state["w"], 1e-15)
    assert torch.equal(practice.state["target"], before["target"])


@pytest.mark.parametrize("rule", [FusedAdam(1e-3), Adam(1e-3), SGD(0.1)])
def test_a_step_in_place_is_the_step(rule):
    practice, _, _, z = training(twin=True, l2=0.01, rule=rule)
    batch = practice.replay.sample(6, generator())
    state, error = practice.learning.step(batch, z, practice.state, generator(1))
    assert torch.equal(practice.learning.step_(batch, z, practice.state, generator(1)), error)
    assert torch.equal(practice.state["w"], state["w"]) and practice.state["rule"]["k"] == state["rule"]["k"] == 1


def test_the_last_layers_start_small():
    critic, actor = MLP((4, 50, 1)), MLP((3, 50, 1), last="tanh")
    learning = TemporalDifference(Policies(actor), critic, twin=True)
    game = PolicyGame(Policies(actor, actor), critic, Fixed(torch.zeros(1, 3), torch.zeros(critic.size)))
    w, z = learning.init((40,), generator())["w"], game.initial((40,), generator())
    for layers in (w.unflatten(-1, (2, -1)), z.unflatten(-1, (2, -1))):
        last, others = layers[..., -51:], layers[..., :-51]
        assert 0.0029 < float(last.abs().max()) <= 0.003 and float(others.abs().max()) > 0.1
    assert not torch.equal(w[:, : critic.size], w[:, critic.size :])


# -- training ------------------------------------------------------------------------------------------------------
def test_the_players_get_the_critics_minibatch_first_and_new_ones_after():
    practice, _, oracle, _ = training()
    practice.learn(oracle.generator)
    held, w = practice.held, practice.state["w"].clone()
    oracle.draw()
    assert torch.equal(oracle.sample.states, held.states) and torch.equal(oracle.sample.critic, w)
    oracle.draw()
    assert not torch.equal(oracle.sample.states, held.states) and torch.equal(oracle.sample.critic, w)
    eager = training(every_draw=True)[0]
    first = eager.state["w"].clone()
    eager.draw((), generator(), KIND)
    assert not torch.equal(eager.state["w"], first)


@pytest.mark.parametrize("solver", ["adam", "alt_adam", "extra_adam", "mirror_gan", "turns"])
def test_any_solver_trains_both_players(solver):
    scheme = Turns(Adam(1e-3), 2) if solver == "turns" else make_solver(solver, lr=1e-3)
    practice, game, oracle, z = training(twin=True, shape=(2,))
    state, start = scheme.init(oracle, z), z
    for _ in range(3):
        practice.learn(oracle.generator)
        z, state = scheme.step(oracle, z, state)
        practice.follow(z)
    assert bool(torch.isfinite(z).all())
    for a, b in zip(game.split(z), game.split(start), strict=True):
        assert bool((a != b).any(-1).all())


def test_practice_goes_on_bit_for_bit():
    runs = []
    for saved in (False, True):
        practice, _, oracle, z = training(shape=(2,), twin=True, smoothing=0.1)
        solver = make_solver("extra_adam", lr=1e-3)
        state = solver.init(oracle, z)
        for k in range(6):
            if saved and k == 3:
                content = copy.deepcopy(practice.state_dict())
                practice = training(shape=(2,), twin=True, smoothing=0.1)[0]
                practice.load_state_dict(content)
                oracle.game.source = practice
            practice.learn(oracle.generator)
            z, state = solver.step(oracle, z, state)
            practice.follow(z)
        runs.append((z, practice.state["w"], practice.target))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_a_bandit_is_learned():
    """One step, r = -|a - (0.5, -0.3)|²: the actor of DDPG ends where r is largest."""
    best, g = torch.tensor([0.5, -0.3]), generator()
    actor, critic = MLP((1, 16, 2), last="tanh"), MLP((3, 32, 32, 1))
    replay = Replay(2000, 1, 2, (4,))
    a = torch.rand(2000, 4, 2, generator=g) * 2 - 1
    s = torch.ones(2000, 4, 1)
    replay.extend(s, a, s, -(a - best).square().sum(-1), torch.ones(2000, 4))
    policies = Policies(actor, alpha=0.0)
    practice = CriticTraining(replay, TemporalDifference(policies, critic, rule=FusedAdam(3e-3)), 64, g)
    game = PolicyGame(policies, critic, practice)
    oracle, solver = Oracle(game, (4,), g), make_solver("adam", lr=3e-3)
    z = game.initial((4,), g)
    practice.begin(z)
    state = solver.init(oracle, z)
    with torch.no_grad():
        for _ in range(1000):
            practice.learn(g)
            z, state = solver.step(oracle, z, state)
            practice.follow(z)
    assert torch.allclose(actor(z, torch.ones(4, 1, 1)).squeeze(1), best.expand(4, 2), atol=0.1)


# -- errors --------------------------------------------------------------------------------------------------------
def fits(**settings):
    actor, other, critic = networks()
    return TemporalDifference(Policies(actor, other), critic, **settings)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Policies(networks()[0], coupling="nosy"), "unknown coupling 'nosy': did you mean noisy"),
        (lambda: Policies(networks()[0], alpha=1.5), r"alpha is 1.5: the adversary's share is a number in \[0, 1\]"),
        (lambda: Policies(networks()[0], alpha=float("nan")), "alpha is nan"),
        (lambda: Policies(networks()[0], MLP((4, 2))), r"the actor maps \(3, 2\), the adversary \(4, 2\)"),
        (
            lambda: PolicyGame(Policies(networks()[0]), MLP((4, 1)), None),
            r"maps \(4, 1\): .* need one of \(5, 1\)",
        ),
        (lambda: PolicyGame(Policies(networks()[0]), networks()[2], None, final=0.0), "final is 0.0"),
        (lambda: fits(gamma=1.0), r"gamma is 1.0: a discount lies in \[0, 1\)"),
        (lambda: fits(tau=0.0), "tau is 0.0"),
        (lambda: fits(smoothing=-1.0), "smoothing is -1.0: it must be a number >= 0"),
        (lambda: CriticTraining(filled(), fits(), 0, generator()), "batch_size is 0: at least 1 transition"),
        (lambda: Turns(Adam(), 0), "ratio is 0: at least 1 step of player 0"),
    ],
)
def test_impossible_settings_are_refused(make, error):
    with pytest.raises(rg.GameError, match=error):
        make()
