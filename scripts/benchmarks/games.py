"""Games: many runs, one run, two networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import gymnasium as gym
import torch
from benchmarks.c_loop import STEPS, c_steps
from benchmarks.harness import Contestant, Row, Steps, repeat, seconds_per_step
from benchmarks.logs import with_logs
from benchmarks.peers import LR, BareLoop, adam_step, compiled_field, extra_adam_step, numpy_step, slope, two_call_step
from torch import Generator, Tensor

import robustgames as rg
from robustgames.games import GAN
from robustgames.games.densities import GaussianMixture

NEVER = 10**15


def games(rounds: int, device: str) -> Iterator[Row]:
    """Yield all rows of the games suite."""
    yield from many_runs(rounds, device, runs=100_000)
    if device == "cuda":
        yield from many_runs(rounds, device, runs=1_000_000)
    yield from one_run(rounds, device)
    yield from two_networks(rounds, device)


def learning(agent: rg.GameAgent, calls: int) -> Steps:
    """Return `agent.learn` as steps of a number of oracle calls each, without logs in between."""
    return lambda steps: agent.learn(calls * steps, log_interval=NEVER)


# -- (a) many runs -----------------------------------------------------------------------------------------------
def many_runs(rounds: int, device: str, runs: int) -> Iterator[Row]:
    """Time extragradient on many runs of Forsaken, started in [-1.4, 1.4]², so that all stay finite."""
    torch.compiler.reset()  # a second number of runs would be compiled for any number, which is slower
    z0 = (2 * torch.rand(runs, 2, generator=Generator().manual_seed(0)) - 1) * 1.4
    env = gym.make_vec("robustgames/Forsaken-v0", num_envs=runs, device=device)
    agent = rg.GameAgent(env, rg.make_solver("extragradient", lr=LR), compile=True, z0=z0)
    contestants = {
        "learn": Contestant(learning(agent, 2), 5000),
        "step": Contestant(repeat(advance(agent)), 500),
        "numpy": Contestant(repeat(numpy_step(z0, lambda u: u / 2 - 2 * u**3 + u**5)), 2),
        "horner": Contestant(repeat(numpy_step(z0, slope)), 50),
        "field": Contestant(repeat(compiled_field(z0.to(device))), 2000),
        "default": Contestant(lambda steps: agent.learn(2 * steps), 5000),
    }
    if (c := c_steps(z0)) is not None:
        contestants["c"] = Contestant(repeat(c), 10)
    seconds = seconds_per_step(contestants, rounds, device)
    if "c" in seconds:
        seconds["c"] /= STEPS
    rate = {name: runs / value for name, value in seconds.items()} | {"allowed": runs / (2 * seconds["field"])}
    for ours, label in (("learn", "learn"), ("step", "compiled step")):
        title = f"(a) {runs:,} Forsaken runs, {label} : "
        least = {"learn": 650, "step": 400}[ours]
        yield Row(title + "NumPy", "run-steps/s", rate[ours], rate["numpy"], at_least=least)
        if "c" in rate:
            yield Row(title + "a C loop", "run-steps/s", rate[ours], rate["c"], {"learn": 0.4}.get(ours))
        yield Row(title + "NumPy in Horner form", "run-steps/s", rate[ours], rate["horner"])
        yield Row(title + "two bare compiled fields", "run-steps/s", rate[ours], rate["allowed"], at_least=0.5)

    title = f"(a) {runs:,} Forsaken runs, learn with default logs : without"
    yield Row(title, "ns/run-step", 1e9 / rate["default"], 1e9 / rate["learn"], at_most=1.3)
    title = f"(a) {runs:,} Forsaken runs, 10,000 calls with logs in CSV and TensorBoard : without"
    yield with_logs(title, agent, 10_000, rounds, device, at_most=1.3)


def advance(agent: rg.GameAgent) -> Callable[[], None]:
    """Return the agent's own compiled step, without `learn` around it."""
    return torch.no_grad()(lambda: agent._advance())


# -- (b) one run --------------------------------------------------------------------------------------------------
def one_run(rounds: int, device: str) -> Iterator[Row]:
    """Time eager steps of one run, both as `GameEnv` and as a `GameVectorEnv` of one."""
    payoffs = {"Bilinear": lambda x, y: (x * y).sum(-1), "Forsaken": rg.games.Forsaken().payoff}
    for game, payoff in payoffs.items():
        for solver, half_steps in (("gda", 1), ("extragradient", 2)):
            for shape in ((), (1,)):
                id = f"robustgames/{game}-v0"
                env = gym.make_vec(id, num_envs=1, device=device) if shape else gym.make(id, device=device)
                agent = rg.GameAgent(env, rg.make_solver(solver, lr=LR), z0=[0.3, 0.2])
                bare = BareLoop(payoff, torch.tensor([0.3, 0.2], device=device).expand(*shape, 2), half_steps)
                contestants = {
                    "ours": Contestant(learning(agent, half_steps), 1000),
                    "bare": Contestant(repeat(bare.step), 1000),
                }
                t = seconds_per_step(contestants, rounds, device)
                name = f"(b) {game}, {solver}, runs {shape} : bare loop"
                yield Row(name, "us/step", 1e6 * t["ours"], 1e6 * t["bare"], at_most=1.2)


# -- (c) two networks -----------------------------------------------------------------------------------------------
class RingGAN(rg.ZeroSumGame):
    """Φ = mean D(real) - mean D(G(noise)) on eight Gaussians: a WGAN without a constraint."""

    players = ("generator", "critic")

    def __init__(self) -> None:
        self.generator, self.critic = rg.MLP((2, 128, 128, 128, 2)), rg.MLP((2, 128, 128, 128, 1))
        self.sizes = (self.generator.size, self.critic.size)
        angle = torch.arange(8) * (torch.pi / 4)
        self.centers = torch.stack([angle.cos(), angle.sin()], -1)

    def draw(self, shape: tuple[int, ...], generator: Generator) -> tuple[Tensor, Tensor]:
        index = torch.randint(8, (*shape, 256), generator=generator, device=generator.device)
        normal = torch.randn(2, *shape, 256, 2, generator=generator, device=generator.device)
        return self.centers[index] + 0.05 * normal[0], normal[1]

    def start(self, player: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        return (self.generator, self.critic)[player].initial(shape, generator, self.dtype)

    def payoff(self, x: Tensor, y: Tensor, sample: tuple[Tensor, Tensor]) -> Tensor:
        real, noise = sample
        return (self.critic(y, real) - self.critic(y, self.generator(x, noise))).mean((-2, -1))


def ring_gan() -> GAN:
    """Return the same game as a `GAN`, whose field is written out."""
    generator, critic = rg.MLP((2, 128, 128, 128, 2)), rg.MLP((2, 128, 128, 128, 1))
    source = GaussianMixture.ring(modes=8, radius=1.0, std=0.05)
    return GAN(generator, critic, source, objective="wasserstein", batch_size=256)


def two_networks(rounds: int, device: str) -> Iterator[Row]:
    """Time ExtraAdam on a `GAN`, and on a payoff of two networks as a user writes it, and its two peers."""
    check_agreement()
    solver, ring = rg.make_solver("extra_adam", lr=1e-4), RingGAN().to(device)
    agents = {
        "GAN, runs ()": rg.GameAgent(rg.GameEnv(ring_gan(), device=device), solver),
        "GAN, runs (1,)": rg.GameAgent(rg.GameVectorEnv(ring_gan(), num_envs=1, device=device), solver),
        "any payoff, runs (1,)": rg.GameAgent(rg.GameVectorEnv(ring, num_envs=1, device=device), solver),
    }
    contestants = {name: Contestant(learning(agent, 2), 300) for name, agent in agents.items()}
    peers = {"one step of two Adams": adam_step, "two-call ExtraAdam": extra_adam_step}
    most = {"GAN": (1.5, 0.75), "any": (1.5, 0.75)}
    for name, peer in peers.items():
        step = peer(ring.generator.widths, ring.critic.widths, partial(ring.draw, ()), device)
        contestants[name] = Contestant(repeat(step), 100)
    t = {name: 1e3 * seconds for name, seconds in seconds_per_step(contestants, rounds, device).items()}
    for ours in agents:
        for name, target in zip(peers, most[ours[:3]], strict=True):
            yield Row(f"(c) ExtraAdam, 3 x 128, {ours} : {name}", "ms/step", t[ours], t[name], at_most=target)


def check_agreement(steps: int = 50) -> None:
    """Stop unless ours and the two-call ExtraAdam follow one path on a bilinear game, up to the place of eps."""
    matrix = torch.randn(4, 3, generator=Generator().manual_seed(0), dtype=torch.float64)
    z = torch.linspace(-1, 1, 7, dtype=torch.float64)
    ours = rg.trajectory(rg.make_solver("extra_adam", lr=0.01), rg.games.Bilinear(matrix.tolist()), z, steps)[-1]
    x, y = z[:4].clone().requires_grad_(), z[4:].clone().requires_grad_()
    step = two_call_step((x,), (y,), lambda: x @ matrix @ y, lr=0.01)
    for _ in range(steps):
        step()
    assert torch.allclose(ours, torch.cat([x, y]), rtol=0, atol=1e-5), "the two-call ExtraAdam is not ours"
