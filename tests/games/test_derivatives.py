"""Products with DV are those of the Jacobian by autograd, row by row: exact, noisy, constrained, sharded, traced."""

import gymnasium as gym
import pytest
import torch

import robustgames as rg
from robustgames.games import Bilinear, DiracGAN, Forsaken, MatrixGame, Noisy, Oracle, Polar, Quadratic, ShardedOracle
from robustgames.solvers.column_graph import on_columns
from robustgames.solvers.columns import _trace
from robustgames.tensors import tensors_of

KIND = torch.float64
GAN = {"hidden": (4,), "batch_size": 4}
GAMES = {
    "closed form": lambda: Forsaken(),
    "autograd": lambda: DiracGAN(r1=0.3),
    "only a field": lambda: Polar(),
    "two sizes": lambda: Bilinear([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]]),
    "noisy": lambda: Noisy(Forsaken(), std=0.3, bias=[0.1, 0.2]),
    "constrained": lambda: MatrixGame("rock_paper_scissors"),
    "GAN with written-out passes": lambda: gym.make("robustgames/GaussianRing-v0", **GAN).unwrapped.game,
    "gradient penalty": lambda: gym.make("robustgames/GaussianRing-v0", lipschitz="r1", **GAN).unwrapped.game,
    "sets of the sample": lambda: (
        gym.make("robustgames/DigitsAdversarial-v0", hidden=(2,), batch_size=2).unwrapped.game
    ),
}


def oracle_of(game, runs=2):
    oracle = Oracle(game.to(dtype=KIND), (runs,))
    oracle.draw()
    return oracle, oracle.project(oracle.initial() + 0.1 * torch.randn(runs, sum(game.sizes), dtype=KIND))


def random_like(tensor):
    return torch.randn(tensor.shape, dtype=KIND, generator=torch.Generator().manual_seed(5))


def rows(game, z, sample, indices):
    """Rows of DV by central differences along unit vectors would round; autograd of single coordinates does not."""
    q = z.detach().requires_grad_()
    v = game.field(q, sample)
    return torch.stack(
        [torch.autograd.grad(v[..., i].sum(), q, retain_graph=True, materialize_grads=True)[0] for i in indices], -2
    )


@pytest.mark.parametrize("name", GAMES)
def test_products_are_those_of_the_jacobian(name):
    game = GAMES[name]()
    oracle, z = oracle_of(game)
    d = sum(game.sizes)
    some = range(d) if d < 60 else range(0, d, d // 20)
    game = oracle.game
    jacobian, v, u = rows(game, z, oracle.sample, some), oracle(z), random_like(z)
    with torch.no_grad():
        found, pushed = oracle.jvp(z, u)
        same, pulled = oracle.vjp(z, u)
        own = oracle.vjp(z)[1]
    torch.testing.assert_close(found, v, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(same, v, rtol=1e-9, atol=1e-11)
    expected = (jacobian @ u.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(pushed[..., list(some)], expected, rtol=1e-8, atol=1e-10)
    w = random_like(z).roll(1, -1)  # <DVᵀu, w> = <u, DV w>: all coordinates of vjp, through jvp that is tested above
    torch.testing.assert_close((pulled * w).sum(-1), (u * oracle.jvp(z, w)[1]).sum(-1), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close((own * w).sum(-1), (v * oracle.jvp(z, w)[1]).sum(-1), rtol=1e-8, atol=1e-10)
    for player in (0, 1):
        block = game.split(u)[player]
        torch.testing.assert_close(oracle.jvp(z, w, player)[1], game.split(oracle.jvp(z, w)[1])[player])
        of_block = torch.zeros_like(u)
        game.split(of_block)[player].copy_(block)
        torch.testing.assert_close(oracle.vjp(z, block, player)[1], oracle.vjp(z, of_block)[1], rtol=1e-8, atol=1e-11)


def test_a_product_counts_the_field_and_itself():
    oracle, z = oracle_of(Quadratic(coupling=1.0))
    before = oracle.calls
    oracle.vjp(z)
    oracle.jvp(z, z, player=1)
    assert oracle.calls - before == 4


def test_a_constant_field_has_the_derivative_zero():
    class Constant(rg.Game):
        sizes = (1, 1)

        def field(self, z, sample=None, player=None):
            v = torch.ones_like(z).detach()
            return v if player is None else self.split(v)[player]

    oracle, z = oracle_of(Constant())
    assert not oracle.vjp(z)[1].any()
    assert not oracle.jvp(z, z)[1].any()


@pytest.mark.parametrize("attacker", [None, "remembered"])
def test_shards_give_the_products_of_the_whole_minibatch(attacker):
    if attacker is None:
        made = gym.make("robustgames/DigitsGAN-v0", latent=3, **GAN)
    else:
        made = gym.make("robustgames/DigitsAdversarial-v0", attacker=attacker, hidden=(2,), batch_size=4)
    game = made.unwrapped.game.to(dtype=KIND)
    whole, sharded = Oracle(game), ShardedOracle(game, shards=2)
    whole.draw(), sharded.draw()
    z = whole.project(whole.initial())
    u = random_like(z)
    for player in (None, 0, 1):
        block = u if player is None else game.split(u)[player]
        for a, b in zip(whole.vjp(z, block, player), sharded.vjp(z, block, player), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)
        for a, b in zip(whole.jvp(z, u, player), sharded.jvp(z, u, player), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(whole.dot(u, z), sharded.dot(u, z))
    assert whole.calls == sharded.calls


ON_COLUMNS = ["consensus", "curvature_eg_plus", "agraal", "half_turn", "smoothed_gda", "rk4"]


@pytest.mark.parametrize("game", [Forsaken, lambda: DiracGAN(r1=0.3)], ids=["Forsaken", "DiracGAN"])
@pytest.mark.parametrize("name", [*ON_COLUMNS, "sga"])
def test_steps_are_traced_on_columns(game, name):
    game, solver = game().to(dtype=KIND), rg.make_solver(name, lr=0.05)
    if name == "sga" and isinstance(game, DiracGAN):
        pytest.skip("its second derivative slices, which columns do not")
    z = 0.5 * random_like(torch.zeros(20, 2))
    oracle = Oracle(game, (20,))
    with torch.no_grad():
        state = solver.init(oracle, z)
        kernel = on_columns(_trace(solver, game, z, state)[0])
        columns = [column.clone() for tensor in (z, *tensors_of(state)) for column in tensor.mT]
        for _ in range(5):
            kernel(*columns)
            z, state = solver.step(oracle, z, state)
    torch.testing.assert_close(torch.stack(columns[:2], -1), z, rtol=0, atol=1e-13)


@pytest.mark.slow  # torch.compile of each takes seconds
@pytest.mark.parametrize("name", ["consensus", "sga", "lead", "curvature_eg_plus", "half_turn", "agraal"])
def test_compiled_steps_of_a_noisy_game_equal_eager_ones(name):
    start = torch.rand(4, 2, generator=torch.Generator().manual_seed(0), dtype=KIND)
    found = []
    for compiled in (False, True):
        env = gym.make_vec("robustgames/Forsaken-v0", num_envs=4, dtype="float64", noise=0.1)
        found.append(rg.GameAgent(env, rg.make_solver(name, lr=0.05), z0=start, compile=compiled).learn(20).z)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-12)
