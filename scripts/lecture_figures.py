"""The lecture's figures of a standard and a robust classifier on MNIST, and a JSON file with their numbers.

    python scripts/lecture_figures.py [--standard RUN --robust RUN] [--out figures]

Measures accuracy against eps, loss surfaces and saliency maps on held-out images. RUN is a folder that `robustgames
train` wrote, of an env with held-out images (MnistAdversarial, DigitsAdversarial). Without one a small network is
trained here, on the MNIST images that a dependency ships.

Writes the figures and numbers.json to OUT. Takes about two minutes for the training of both networks, and less for two
run folders.
"""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn

from robustgames.agents import GameAgent
from robustgames.attacks import apgd, fgsm
from robustgames.attacks.victim import Model
from robustgames.errors import GameError, writing
from robustgames.experiment import GameExperiment, read_experiment
from robustgames.experiment.kept_files import with_kept_files
from robustgames.figures import attacks as draw
from robustgames.figures.style import save
from robustgames.figures.surfaces import loss_surface
from robustgames.games import HeldOut, Network

SMALL = {"channels": (16, 32), "hidden": 100, "eps": 0.3}
MADRY = {"inner_steps": 5, "inner_lr": 0.12}
L1 = 10 / 784  # radius per pixel


@dataclass(frozen=True)
class Options:
    """Train or load two classifiers, draw every figure, and write numbers.json.

    Attributes:
        standard: Run folder of a classifier trained on clean images.
        robust: Run folder of a classifier trained under attack. Its eps and norm are those of the figures.
        out: Folder of the figures.
        count: Number of held-out images that the numbers are measured on.
        image: Index of the held-out image whose loss surface is drawn.
        steps: Oracle calls of the robust training, if no run is given.
        seed: Seed of both trainings.
    """

    standard: Path | None = None
    robust: Path | None = None
    out: Path = Path("figures")
    count: int = 200
    image: int = 0
    steps: int = 9000
    seed: int = 0


def main(options: Options) -> int:
    torch.set_num_threads(1)
    out, count, image, seed = options.out, options.count, options.image, options.seed
    try:
        if not 0 <= image < count or count < 2:  # before minutes of training
            raise GameError(
                f"count is {count}, image {image}: there must be 2 images or more, and image is one of them"
            )
        agents = {
            "standard": load(options.standard) if options.standard else learn("standard_training", 800, seed),
            "robust": load(options.robust)
            if options.robust
            else learn("adversarial_training", options.steps, seed, **MADRY),
        }
        numbers = figures(agents, out, count, image)
        with writing(out):
            (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"figures and numbers.json are in {out}")
    return 0


def learn(solver: str, steps: int, seed: int, **settings: Any) -> GameAgent:
    """Return the agent of a solver, trained on MNIST for a number of oracle calls."""
    print(f"{solver}: {steps} oracle calls …", file=sys.stderr)
    settings |= {"lr": 3e-3, "horizon": steps}
    env = "robustgames/MnistAdversarial-v0"
    common = {"steps": steps, "runs": 1, "seed": seed, "device": "cpu"}
    agent = GameExperiment(solver, env, settings=settings, env_settings=SMALL, **common).make_agent()
    return agent.learn(steps, log_interval=steps)  # each log is an attack on the watched images


def load(folder: Path) -> GameAgent:
    """Return the agent of a run folder, on the CPU."""
    return GameAgent.load(folder, with_kept_files(read_experiment(folder), folder).make_agent().env)


def figures(agents: dict[str, GameAgent], out: Path, count: int, image: int) -> dict[str, Any]:
    """Draw everything into a folder; return the numbers."""
    game, x, y = held_out(agents, count)
    if image >= len(x):
        raise GameError(f"image is {image}: 0 … {len(x) - 1} are held out")
    models = {name: classifier(agent) for name, agent in agents.items()}
    eps, norm = game.eps, game.norm
    radii = [round(eps * k / 6, 6) for k in range(9)]
    attacks = {"FGSM": (fgsm, eps, norm), "APGD": (apgd, round(L1 * x.shape[1], 2), "l1")}
    accuracy, shares = draw.accuracy_against_eps(models, x, y, radii, norm, trained_at=eps)
    surface, losses = loss_surface(models, x[image : image + 1], y[image : image + 1], eps, norm)
    drawn = {
        "digits_under_attack": draw.digits_under_attack(models, x, y, attacks),
        "accuracy_against_eps": accuracy,
        "loss_surface": surface,
    }
    numbers: dict[str, Any] = {"images": len(x), "norm": norm, "accuracy_against_eps": shares}
    numbers["range_of_loss_surface"] = {name: [float(v.min()), float(v.max())] for name, v in losses.items()}
    for maps in ("gradient", "integrated"):
        try:
            figure, table = draw.saliency_figure(models["standard"], models["robust"], x, y, maps)
        except GameError as error:
            if "captum" not in str(error):
                raise
            print(f"no saliency_{maps}.png: {error}", file=sys.stderr)
            continue
        drawn[f"saliency_{maps}"] = figure
        numbers[f"saliency_{maps}"] = {
            name: {key: {"mean": mean, "standard_error": error} for key, (mean, error) in row.items()}
            for name, row in table.items()
        }
    for name, figure in drawn.items():
        with writing(out):
            save(figure, out / f"{name}.png")
    return numbers


def held_out(agents: dict[str, GameAgent], count: int) -> tuple[HeldOut, Tensor, Tensor]:
    """Return the robust agent's game, and the first held-out images and labels, which must be the same for both."""
    games = {name: agent.game.to("cpu") for name, agent in agents.items()}
    for name, game in games.items():
        if not isinstance(game, HeldOut):
            raise GameError(f"the {name} run is of {game!r}, without held-out images: give one of MnistAdversarial")
    standard, robust = (game.held_out for game in games.values())  # type: ignore[attr-defined]
    if standard.images.shape != robust.images.shape or not bool((standard.images == robust.images).all()):
        raise GameError("the two runs hold out different images: give two runs on the same data")
    return games["robust"], robust.images[:count], robust.labels[:count]  # type: ignore[return-value]


def classifier(agent: GameAgent) -> Model:
    """Return the classifier of an agent's first run."""
    game, z = agent.game.to("cpu"), agent.best().cpu()
    weights = z.reshape(-1, z.shape[-1])[0, : game.sizes[0]]
    network = game.network  # type: ignore[attr-defined]
    if not isinstance(network, Network):
        return lambda images: network(weights, images)
    module = copy.deepcopy(network.module)
    nn.utils.vector_to_parameters(weights, module.parameters())
    return module.eval()


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
