"""One minibatch on several processes: the trajectory of one process, and the same bits for any number of them."""

import gymnasium as gym
import pytest
import torch
from several import Team

import robustgames as rg
from robustgames import processes
from robustgames.games import Bilinear, DigitsAdversarial, DigitsGAN, GaussianWGAN1D, MnistGAN, Oracle, ShardedOracle

GAN, CLASSIFIER = "robustgames/DigitsGAN-v0", "robustgames/DigitsAdversarial-v0"
SMALL_GAN, SMALL = {"hidden": (16,), "batch_size": 16}, {"hidden": (16,), "batch_size": 16}
# env, its settings, the solver, its settings
CASES = {
    "extra_adam": (GAN, {"lipschitz": "none"}, "extra_adam", {"lr": 1e-2}),
    "spectral": (GAN, {"lipschitz": "spectral"}, "extra_adam", {"lr": 1e-2}),
    "clip": (GAN, {"lipschitz": "clip"}, "extra_adam", {"lr": 1e-2}),
    "gradient penalty": (GAN, {"lipschitz": "gp"}, "extra_adam", {"lr": 1e-2}),
    "alternating": (GAN, {"lipschitz": "r1"}, "alt_gda", {"lr": 1e-2}),
    "langevin": (GAN, {}, "langevin", {"lr": 1e-2}),
    "minibatch": (CLASSIFIER, {}, "adversarial_training", {}),
    "averaged": (CLASSIFIER, {}, "gda", {"lr": 0.1, "average": 0.9}),
    "remembered": (CLASSIFIER, {"attacker": "remembered"}, "adversarial_training", {}),
    "universal": (CLASSIFIER, {"attacker": "universal"}, "adversarial_training", {}),
    "free": (CLASSIFIER, {}, "free_training", {}),
    "noise on private coordinates": (CLASSIFIER, {}, "langevin", {"lr": 1e-2}),
}
LATE = 10**6  # no log in between


def train(case, shards, dtype="float32", steps=12, **options):
    """Return what a checkpoint holds of an agent after a few steps, and its metrics."""
    env, game, solver, settings = CASES[case]
    small = SMALL_GAN if env == GAN else SMALL
    made = gym.make_vec(env, num_envs=2, dtype=dtype, shards=shards, **{**small, **game})
    agent = rg.GameAgent(made, rg.make_solver(solver, **settings), seed=3, **options)
    agent.learn(steps, log_interval=LATE)
    point = agent.oracle.gathered({"z": agent.z, "best": agent.best()})
    return {**point, **agent.oracle.metrics(agent.z, 0)}


def every(dtypes=("float32",)):
    """Return the points of all cases, and those of two cases with a divided optimizer."""
    found = {(case, dtype): train(case, 4, dtype) for case in CASES for dtype in dtypes}
    for case in ("extra_adam", "minibatch"):
        found[case, "divided"] = train(case, 4, shard_optimizer=True)
    return found


@pytest.fixture(scope="module")
def trajectories(tmp_path_factory):
    """{number of processes: {(case, dtype): tensors}}."""
    folder, found = tmp_path_factory.mktemp("trajectories"), {1: every()}

    def work(rank, world):
        processes.start()
        found = every(("float32", "float64") if world == 2 else ("float32",))
        if rank == 0:
            torch.save(found, folder / f"{world}.pt")
        processes.stop()

    for world in (2, 4):
        team = Team(lambda rank, world=world: work(rank, world), world, folder / str(world))
        assert team.wait() == [0] * world, team.printed()
        found[world] = torch.load(folder / f"{world}.pt")
    return found


@pytest.mark.parametrize("case", CASES)
def test_processes_do_not_change_a_bit(trajectories, case):
    one = trajectories[1][case, "float32"]
    for world in (2, 4):
        other = trajectories[world][case, "float32"]
        assert set(one) == set(other)
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name]), (world, name)


@pytest.mark.parametrize("case", CASES)
def test_shards_are_the_whole_minibatch_up_to_rounding(trajectories, case):
    whole, sharded = train(case, 1, "float64"), trajectories[2][case, "float64"]
    assert not torch.equal(whole["z"], train(case, 1, "float64", steps=4)["z"])  # it has moved
    torch.testing.assert_close(sharded["z"], whole["z"], rtol=0, atol=1e-12)
    for name in whole:
        torch.testing.assert_close(sharded[name], whole[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", ["extra_adam", "minibatch"])
def test_a_divided_optimizer_does_not_change_a_bit(trajectories, case):
    for world in (1, 2, 4):
        divided = trajectories[world][case, "divided"]
        assert torch.equal(divided["z"], trajectories[1][case, "float32"]["z"]), world


def test_the_mean_field_of_a_user_s_game_is_that_of_all_rows():
    class Regression(rg.ZeroSumGame):
        sizes, batch_size = (3, 3), 12

        def draw(self, shape, generator):
            return torch.randn((*shape, 12, 3), generator=generator, dtype=self.dtype)

        def payoff(self, x, y, sample):
            return ((sample @ (x - y).unsqueeze(-1)) ** 2).mean((-2, -1)) - (y * y).sum(-1)

    game = Regression().to(dtype=torch.float64)
    plain, sharded = Oracle(game, (2,)), ShardedOracle(game, (2,), shards=3)
    plain.draw(), sharded.draw()
    z = plain.initial()
    for player in (None, 0, 1):
        torch.testing.assert_close(sharded(z, player), plain(z, player), rtol=0, atol=1e-12)
    rewards, v = sharded.evaluate(z)
    torch.testing.assert_close((*rewards, v), (*plain.evaluate(z)[0], plain(z)), rtol=0, atol=1e-12)
    sharded.generator.set_state(plain.generator.get_state())
    torch.testing.assert_close(sharded.metrics(z, 0), plain.metrics(z, 0), rtol=0, atol=1e-12)
    plain.draw()  # metrics were those of the sample that comes next
    torch.testing.assert_close(sharded.metrics(z, 0), game.metrics(z, plain.sample), rtol=0, atol=1e-12)


def test_one_process_holds_the_images_of_one_shard_at_a_time(monkeypatch):
    oracle, sizes, field = ShardedOracle(DigitsGAN(batch_size=32), shards=8), [], DigitsGAN.field

    def counted(self, z, sample, player=None):
        sizes.append(len(sample.real))
        return field(self, z, sample, player)

    monkeypatch.setattr(DigitsGAN, "field", counted)
    oracle.draw()
    oracle(oracle.initial())
    assert sizes == [4] * 8


class PairsOfRows(rg.ZeroSumGame):
    sizes, batch_size = (1, 1), 8

    def draw(self, shape, generator):
        return torch.rand((*shape, 8), generator=generator)

    def payoff(self, x, y, sample):
        return (x * y).squeeze(-1) * sample.std(-1)


@pytest.mark.parametrize(
    ("make", "shards", "said"),
    [
        (lambda: DigitsGAN(batch_size=64), 7, "shards is 7: it must divide the 64 rows of a minibatch of DigitsGAN"),
        (lambda: DigitsGAN(batch_size=64), 128, "must divide the 64 rows .* e.g. --shards 64"),
        (Bilinear, 2, "Bilinear has no minibatch"),
        (lambda: DigitsAdversarial(batch_size=None), 2, "DigitsAdversarial has no minibatch"),
        (lambda: rg.Noisy(DigitsGAN()), 2, "Noisy has no minibatch"),
        (lambda: GaussianWGAN1D(batch_size=4), 2, "not a tree of tensors"),
        (MnistGAN, 4, "BatchNorm2d at '2' of the generator .* --set norm=group"),
        (PairsOfRows, 2, "PairsOfRows, in which rows depend on each other"),
    ],
)
def test_what_has_no_shards_is_refused(make, shards, said):
    with pytest.raises(rg.GameError, match=said):
        ShardedOracle(make(), shards=shards)


def test_processes_must_divide_the_shards():
    with pytest.raises(rg.GameError, match=r"shards is 4: 3 processes need a multiple of 3, e.g. --shards 3"):
        ShardedOracle(DigitsGAN(batch_size=12), shards=4, processes=processes.Processes(0, 3))


def test_a_generator_with_norms_within_a_row_has_shards():
    ShardedOracle(MnistGAN(norm="group", width=4, batch_size=8), shards=2)
