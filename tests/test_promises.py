"""Every game does with its default agent, as typed and within a minute, what its docstring says."""

import shlex
import time

import pytest
import torch

import robustgames as rg
from robustgames.cli.train import parse
from robustgames.envs.defaults import AGENTS, id_of
from robustgames.experiment import load, train

MINUTE = 60.0  # CPU seconds, where the yardstick takes YARDSTICK of them
YARDSTICK = 0.25
CLAIMS = {
    "Bilinear": {"distance": (0, 1e-6)},
    "Quadratic": {"distance": (0, 1e-6), "duality_gap": (0, 1e-6)},
    "DiracGAN": {"distance": (0, 0.01)},
    "MatrixGame": {"duality_gap": (0, 1e-5)},
    "MatchingPennies": {"duality_gap": (0, 1e-5)},
    "RockPaperScissors": {"duality_gap": (0, 1e-5)},
    "RandomMatrixGame": {"duality_gap": (0, 1e-5)},
    "RatioGame": {"duality_gap": (0, 1e-5)},
    "KuhnPoker": {"duality_gap": (0, 1e-5)},
    "RobustRegression": {"duality_gap": (0, 0.01)},
    "GlobalForsaken": {"distance": (0, 1e-6)},
    "WeakMinty": {"distance": (0, 1e-6)},
    "FiniteSumBilinear": {"distance": (0, 1)},  # from 5 or 6
    "RidgeBox": {"distance": (2**0.5 - 1e-5, 2**0.5 + 1e-5)},  # a corner
    "GaussianWGAN1D": {"distance": (0, 1e-5), "wasserstein": (0, 1e-5)},
    "LinearAttack": {"duality_gap": (0, 1e-6)},
    "DigitsAttack": {"accuracy": (0, 0.6)},
    "MnistAttack": {"accuracy": (0, 0.3)},
    "DigitsAdversarial": {"clean_accuracy": (0.9, 1), "pgd40_accuracy": (0.75, 1)},
    "MnistAdversarial": {"clean_accuracy": (0.9, 1), "pgd40_accuracy": (0.4, 1)},
    "GaussianMixture": {"modes": (25, 25), "high_quality": (0.75, 1)},
    "GaussianRing": {"modes": (8, 8), "high_quality": (0.85, 1)},
    "SwissRoll": {"wasserstein": (0, 0.2)},
    "DigitsGAN": {"frechet_digits": (0, 0.02), "classes": (10, 10)},
}
"""{game: {metric: least and largest value in every run}}."""
MEANS = {"GaussianMixture": ("high_quality", 0.9)}
"""{game: metric and least mean over the runs}."""
PERIODS = {
    "AlmostBilinear": 6.287111,
    "Forsaken": 7.548004,
    "Polar": 2 * torch.pi,
    "Letcher": 6.8513,
    "LetcherMarket": 13.5810,
}
"""{game: period of its stable cycle}."""
UNMEASURED = {"ImageGAN": "its images are the user's", "MnistGAN": "takes five minutes, see docs/explain/gans.md"}
"""{game: reason why its docstring promises nothing that a run of a minute can show}."""


def yardstick():
    """Return the CPU seconds of a fixed piece of work: passes of a small network, and many small operations."""
    images, z = torch.linspace(0, 1, 256 * 784).view(256, 1, 28, 28), torch.linspace(0, 1, 5000).view(5, 1000)
    layers = [torch.nn.Conv2d(1, 16, 4, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16 * 169, 64)]
    network = torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Linear(64, 10))
    began = time.process_time()
    for _ in range(25):
        network(images).logsumexp(-1).sum().backward()
    for _ in range(8000):
        z = z + 0.01 * (z * z.sum(-1, keepdim=True)).sin()
    return time.process_time() - began


def typed(game, folder):
    """Return the folder and the result of `robustgames train` with the default agent."""
    experiment, _, _ = parse(shlex.split(f"{AGENTS[game]} {id_of(game)}"))
    before = sorted(yardstick() for _ in range(3))[1]  # the first one is not warm
    folder, result = train(experiment, folder, progress_bar=False)
    slow = max(1, (before + yardstick()) / (2 * YARDSTICK))  # seconds alone tell the machine, and what runs beside
    print(game, AGENTS[game], result["cpu_seconds"], slow, {k: one["runs"] for k, one in result["metrics"].items()})
    assert result["cpu_seconds"] < MINUTE * slow and result["diverged"] == 0
    return folder, result


def test_every_game_has_a_claim_or_a_reason():
    assert set(AGENTS) == {*CLAIMS, *PERIODS, *UNMEASURED, "StepBox"}


@pytest.mark.slow
@pytest.mark.parametrize("game", CLAIMS)
def test_a_game_keeps_its_promise(game, tmp_path):
    metrics = typed(game, tmp_path)[1]["metrics"]
    for name, (low, high) in CLAIMS[game].items():
        assert all(low <= value <= high for value in metrics[name]["runs"]), (name, metrics[name])
    if game in MEANS:
        name, least = MEANS[game]
        assert metrics[name]["mean"] >= least


@pytest.mark.slow
def test_step_box_ends_at_its_point_or_on_the_cycle_along_the_walls(tmp_path):
    far = typed("StepBox", tmp_path)[1]["metrics"]["distance"]["runs"]
    assert all(distance < 1e-6 or 0.9 < distance <= 2**0.5 for distance in far)
    assert min(far) < 1e-6 and max(far) > 0.9  # of five starts, both occur


@pytest.mark.slow
@pytest.mark.parametrize("game", PERIODS)
def test_a_game_of_cycles_ends_on_its_cycle(game, tmp_path):
    folder, _ = typed(game, tmp_path)
    experiment, agent = load(folder)
    lr, z = experiment.settings["lr"], agent.z.double()
    solver, flow, turns = rg.make_solver(experiment.agent, lr=lr), agent.game.to(dtype=torch.float64), 12
    path = rg.trajectory(solver, flow, z, round(turns * PERIODS[game] / lr))
    cycles = [rg.diagnostics.limit_cycle(path[:, run], lr, torch.zeros(2)) for run in range(len(z))]
    found = [cycle.period for cycle in cycles if cycle is not None]
    assert found == pytest.approx([PERIODS[game]] * len(found), abs=0.05) and len(found) >= len(z) - 1
