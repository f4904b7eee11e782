"""Train the two classifiers of the page on saliency maps, and store their weights as float16.

    python examples/lecture/results/mnist_classifiers.py

Takes about four CPU minutes. The page reads the file, so a run of the page costs seconds.
"""

from pathlib import Path

import numpy as np
import torch

import robustgames as rg

SETTINGS = {"channels": (8, 16), "hidden": 32, "eps": 0.2}
MADRY = {"inner_steps": 4, "inner_lr": 0.1, "ema": 0.99}


def main() -> None:
    """Train both and write mnist_classifiers.npz next to this file."""
    torch.set_num_threads(1)
    game, weights = rg.games.MnistAdversarial(**SETTINGS), {}
    for name, solver, calls, settings in (
        ("standard", "standard_training", 1200, {}),
        ("robust", "adversarial_training", 12000, MADRY),
    ):
        scheme = rg.make_solver(solver, lr=4e-3, horizon=calls, **settings)
        agent = rg.GameAgent(rg.GameVectorEnv(game), scheme, seed=0).learn(
            calls, log_interval=calls
        )
        weights[name] = game.split(agent.best())[0][0].numpy().astype(np.float16)
        z = torch.from_numpy(weights[name].astype(np.float32))
        found = rg.evaluation.accuracies(game.held_out, z)
        print(name, {k: round(float(v), 3) for k, v in found.items()})
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **weights)


if __name__ == "__main__":
    main()
