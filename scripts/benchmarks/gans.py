"""Generator against discriminator: one run, and ten seeds as one batch, against the usual loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from benchmarks.games import learning
from benchmarks.harness import Contestant, Row, repeat, seconds_per_step
from benchmarks.logs import with_logs
from torch import nn
from torch.nn.functional import softplus

import robustgames as rg
from robustgames.games import GaussianMixtureGAN

HIDDEN, BATCH = (128, 128, 128), 256


def gans(rounds: int, device: str, quick: bool) -> Iterator[Row]:
    """Yield all rows of the gans suite."""
    rounds = 1 if quick else max(3, rounds)
    yield from against_the_loop(rounds, device, seeds=1)
    yield from against_the_loop(rounds, device, seeds=10 if device == "cpu" else 64)
    title = "25 Gaussians, one run, 1,500 calls with all default logs : without"
    yield with_logs(title, agent(1, device), 150 if quick else 1500, rounds, device, at_most=1.05)


def agent(seeds: int, device: str, lipschitz: str = "none") -> rg.GameAgent:
    """Return ExtraAdam on the 25 Gaussians, non-saturating."""
    game = GaussianMixtureGAN(hidden=HIDDEN, batch_size=BATCH, lipschitz=lipschitz)
    env = rg.GameVectorEnv(game, num_envs=seeds, device=device)
    return rg.GameAgent(env, rg.make_solver("extra_adam", lr=1e-4))


def against_the_loop(rounds: int, device: str, seeds: int) -> Iterator[Row]:
    """Time a step of ExtraAdam (two fields) of all seeds against two rounds of two Adams (two gradients of each)."""
    contestants = {
        "ours": Contestant(learning(agent(seeds, device), 2), 300),
        "loop": Contestant(repeat(twice(plain_loop(device))), 60),
    }
    t = seconds_per_step(contestants, rounds, device)
    title = f"ExtraAdam, 3 x 128, {'one run' if seeds == 1 else f'{seeds} seeds as one batch'} : two torch Adams"
    note = "as many gradients of each player; minibatch 256"
    target = 2.4 if device == "cpu" else 8.0 if seeds > 1 else None
    yield Row(title, "seed-steps/s", seeds / t["ours"], 1 / t["loop"], at_least=target, note=note)


def plain_loop(device: str) -> Callable[[], None]:
    """Return one round of the usual loop: modules, a step of the discriminator, a step of the generator."""
    generator, critic = perceptron(2, 2).to(device), perceptron(2, 1).to(device)
    adams = [torch.optim.Adam(net.parameters(), 1e-4, (0.5, 0.9)) for net in (generator, critic)]
    source = GaussianMixtureGAN(hidden=(4,)).source
    own = torch.Generator(device).manual_seed(0)

    def step() -> None:
        real = source.sample((BATCH,), own, torch.float32)
        noise = torch.randn(BATCH, 2, generator=own, device=device)
        adams[1].zero_grad()
        fake = generator(noise).detach()
        (softplus(-critic(real)).mean() + softplus(critic(fake)).mean()).backward()
        adams[1].step()
        adams[0].zero_grad()
        softplus(-critic(generator(torch.randn(BATCH, 2, generator=own, device=device)))).mean().backward()
        adams[0].step()

    return step


def twice(step: Callable[[], None]) -> Callable[[], None]:
    """Return the step taken twice."""

    def both() -> None:
        step()
        step()

    return both


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Return a module with the hidden layers of ours."""
    layers = [layer for p, q in pairwise((inputs, *HIDDEN)) for layer in (nn.Linear(p, q), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(HIDDEN[-1], outputs))
