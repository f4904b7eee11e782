"""The recipes of examples/tracking, offline. They need packages that the project does not: else skipped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "tracking"


def run(name, tmp_path, **variables):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(
        [sys.executable, str(FOLDER / name)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_wandb_gets_the_curves(tmp_path):
    pytest.importorskip("wandb")
    run("track_with_wandb.py", tmp_path, WANDB_MODE="offline", WANDB_SILENT="true")
    (written,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = written.read_bytes()
    for name in (b"game/residual", b"residual", b"extragradient"):
        assert name in content


def test_mlflow_gets_the_curves(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    store = f"sqlite:///{tmp_path}/mlflow.db"
    run("track_with_mlflow.py", tmp_path, MLFLOW_TRACKING_URI=store)
    client = mlflow.MlflowClient(store)
    (found,) = client.search_runs(["0"])
    history = client.get_metric_history(found.info.run_id, "game/residual")
    assert [metric.step for metric in history][-1] == 2_000 and len(history) > 50
    assert history[-1].value == pytest.approx(found.data.metrics["game/residual"])
    assert found.data.params == {"solver": "extragradient", "lr": "0.01"}
