"""Curves of an agent in MLflow: its logger gets one more writer.

python examples/tracking/track_with_mlflow.py
"""

import mlflow
from stable_baselines3.common.logger import KVWriter, Logger

import robustgames as rg


class MLflowWriter(KVWriter):
    """Writes the numbers of every log to the active run of MLflow."""

    def write(self, key_values, key_excluded, step=0):
        mlflow.log_metrics(
            {key: float(v) for key, v in key_values.items() if isinstance(v, int | float)},
            step=step,
        )

    def close(self):
        pass


agent = rg.GameAgent("robustgames/Forsaken-v0", rg.make_solver("extragradient", lr=0.01))
agent.set_logger(Logger(None, [MLflowWriter()]))
with mlflow.start_run():
    mlflow.log_params({"solver": "extragradient", "lr": 0.01})
    agent.learn(2_000)
