"""A log takes the first call of the next step in advance: it costs none, and changes nothing."""

import pytest
import torch
from stable_baselines3.common.logger import Logger
from torch import Generator

import robustgames as rg
from robustgames.games import GAN, MLP, GaussianMixtureGAN, Noisy
from robustgames.games.foresight import Foresight
from robustgames.games.oracle import Oracle


class Memory(Logger):
    """A logger with an output, which keeps what is dumped."""

    def __init__(self):
        super().__init__(None, [])
        self.output_formats, self.rows = [self], []

    def dump(self, step=0):
        self.rows.append({**self.name_to_value, "step": step})
        self.name_to_value.clear()


def gan():
    return GaussianMixtureGAN(hidden=(8,), batch_size=16)


def trained(solver="extra_adam", game=None, calls=24, seeds=2, logger=None, act=None, **options):
    agent = rg.GameAgent(rg.GameVectorEnv(game or gan(), num_envs=seeds), solver)
    agent.set_logger(Memory() if logger is None else logger)
    agent.learn(calls, callback=act, **options)
    return agent


def state(agent):
    return agent.z, agent.oracle.generator.get_state(), agent.num_timesteps


def count(game, monkeypatch):
    """Count the evaluations of a game that are not inside of another one."""
    found, depth = [], []
    for name in ("field", "evaluate"):
        own = getattr(type(game), name)

        def counted(self, *a, own=own, **k):
            depth.append(1)
            try:
                return own(self, *a, **k)
            finally:
                depth.pop()
                found.extend([] if depth else [1])

        monkeypatch.setattr(type(game), name, counted)
    return found


@pytest.mark.parametrize("solver", ["gda", "extra_adam", "optimistic_gda", "alt_adam", "lookahead_adam"])
@pytest.mark.parametrize("game", [gan(), Noisy(rg.games.Bilinear()), rg.games.Forsaken()], ids=repr)
def test_logs_change_nothing_in_a_training(solver, game):
    silent = Logger(None, [])
    for found, expected in zip(
        state(trained(solver, game, log_interval=1)), state(trained(solver, game, logger=silent)), strict=True
    ):
        assert torch.equal(torch.as_tensor(found), torch.as_tensor(expected))


def test_a_log_costs_no_evaluation_but_the_last_one(monkeypatch):
    game = gan()
    agent = rg.GameAgent(rg.GameVectorEnv(game, num_envs=2), "extra_adam")
    agent.set_logger(Memory())
    found = count(game, monkeypatch)
    agent.learn(24, log_interval=2)
    assert len(agent.logger.rows) == 13 and len(found) == 24 + 1
    plain = count(game, monkeypatch)
    agent.learn(24, log_interval=2, callback=lambda local, other: True)
    assert len(plain) == 24 + 12  # a callback of a user may change the game


def test_a_log_is_measured_on_the_sample_of_the_next_step():
    game = gan()
    oracle = Oracle(game, (2,))
    z, before = oracle.initial(), oracle.generator.get_state()
    found = oracle.metrics(z, 0)
    assert torch.equal(oracle.generator.get_state(), before)
    oracle.draw()
    assert found.keys() == game.metrics(z, oracle.sample).keys()
    for name, value in game.metrics(z, oracle.sample).items():
        assert torch.equal(found[name], value)


def test_a_callback_that_changes_the_game_changes_the_next_step():
    def weaken(local, other):
        local["self"].game.penalty *= 0.5

    def game():
        return GAN(MLP((2, 8, 2)), MLP((2, 8, 1)), gan().source, lipschitz="r1", penalty=8.0, batch_size=16)

    quiet = trained(game=game(), logger=Logger(None, []), act=weaken)
    assert torch.equal(trained(game=game(), act=weaken, log_interval=1).z, quiet.z)
    assert not torch.equal(trained(game=game(), log_interval=1).z, quiet.z)


def test_a_game_that_changes_between_two_trainings_is_seen():
    found = []
    for logger in (Memory(), Logger(None, [])):
        agent = trained(logger=logger)
        agent.game.batch_size, agent.game.objective = 8, "hinge"
        found.append(agent.learn(8).z)
    assert torch.equal(*found)


def test_only_the_same_point_and_sample_take_the_value():
    game = gan()
    z = game.initial((2,), Generator())
    generator = Generator().manual_seed(1)
    ahead = Foresight(game, (2,), generator, z)
    ahead.metrics()
    assert ahead.draw(generator)
    assert not ahead.draw(generator)  # it has moved on
    assert torch.equal(ahead.value(z, ahead.sample, None), game.field(z, ahead.sample))
    assert ahead.value(z.clone(), ahead.sample, None) is None
    assert ahead.value(z, ahead.sample, 0) is None
    assert ahead.value(z, None, None) is None
    z += 1
    assert ahead.value(z, ahead.sample, None) is None


def test_a_field_written_apart_from_evaluate_is_computed_again():
    class Own(GaussianMixtureGAN):
        def field(self, z, sample=None, player=None):
            return 1.0 * super().field(z, sample, player)

    game = Own(hidden=(8,), batch_size=16)
    z = game.initial((), Generator())
    ahead = Foresight(game, (), Generator(), z)
    ahead.metrics()
    assert ahead.value(z, ahead.sample, None) is None


def test_a_checkpoint_at_a_log_continues_as_the_training(tmp_path):
    agent = trained(calls=12, log_interval=4)
    agent.save(tmp_path)
    agent.learn(12, log_interval=4, reset_num_timesteps=False)
    loaded = rg.GameAgent.load(tmp_path, rg.GameVectorEnv(gan(), num_envs=2))
    loaded.set_logger(Memory())
    loaded.learn(12, log_interval=4, reset_num_timesteps=False)
    assert torch.equal(agent.z, loaded.z)
    own = [{k: v for k, v in row.items() if k != "time/fps"} for row in loaded.logger.rows]
    assert own == [{k: v for k, v in row.items() if k != "time/fps"} for row in agent.logger.rows[-len(own) :]]
