"""Curves of a run in Weights & Biases, which reads what is written for TensorBoard.

With `WANDB_MODE=offline` no account is needed.

python examples/tracking/track_with_wandb.py
"""

import wandb

from robustgames.experiment import GameExperiment, train

experiment = GameExperiment(
    "extragradient", "robustgames/Forsaken-v0", settings={"lr": 0.01}, steps=2_000
)
with wandb.init(project="robustgames", config=vars(experiment), sync_tensorboard=True) as run:
    folder, result = train(experiment, "runs", progress_bar=False)
    run.summary.update({name: row["mean"] for name, row in result["metrics"].items()})
