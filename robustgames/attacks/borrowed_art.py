"""The attacks of the Adversarial Robustness Toolbox (Nicolae et al. 2018), for `robustgames.attacks.borrowed`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn.functional import one_hot
from tqdm import tqdm

from robustgames.attacks.borrowed import classes_in
from robustgames.games.threat import NORMS

if TYPE_CHECKING:
    from robustgames.attacks.borrowed import Task

# of patches, speech, detectors, malware, videos or trees; with TensorFlow or Kornia; or led by data that there are not
UNSUITED = (
    *("AdversarialPatch", "AdversarialPatchNumpy", "AdversarialPatchPyTorch", "AdversarialPatchTensorFlowV2"),
    *("AdversarialTexturePyTorch", "CarliniWagnerASR", "CompositeAdversarialAttackPyTorch", "DPatch"),
    *("DecisionTreeAttack", "FeatureAdversariesNumpy"),
    *("FeatureAdversariesPyTorch", "FeatureAdversariesTensorFlowV2", "FrameSaliencyAttack", "GRAPHITEBlackbox"),
    *("GRAPHITEWhiteboxPyTorch", "HighConfidenceLowUncertainty", "ImperceptibleASR", "ImperceptibleASRPyTorch"),
    *("LaserAttack", "LowProFool", "MalwareGDTensorFlow", "OverTheAirFlickeringPyTorch", "OverloadPyTorch"),
    *("ProjectedGradientDescentTensorFlowV2", "RobustDPatch", "SNAL"),
)
# norm of attacks without a choice; others are judged in every norm
NORM_OF = {
    "BasicIterativeMethod": "linf",
    "CarliniL0Method": "l0",
    "CarliniL2Method": "l2",
    "CarliniLInfMethod": "linf",
    "VirtualAdversarialMethod": "l2",
}
TARGETED = ("SaliencyMapMethod", "TargetedUniversalPerturbation")  # which only lead to a class
# they bound something else than a norm of the perturbation
UNBOUNDED = ("ShadowAttack", "SpatialTransformation", "Wasserstein")
SINGLE = ("ShadowAttack", "SimBA")  # which take one input at a time
PROBABILITIES = ("SimBA", "VirtualAdversarialMethod")  # which refuse logits
OWN = ("estimator", "classifier", "eps", "norm", "targeted", "batch_size", "verbose", "summary_writer")


def library() -> Any:
    """Return the module of its attacks, which is loaded here: it is an extra, and slow to load."""
    return import_module("art.attacks.evasion")


@cache
def names() -> list[str]:
    """Return the names of its attacks."""
    return classes_in(library(), import_module("art.attacks").EvasionAttack, UNSUITED)


def arguments(name: str) -> list[str]:
    """Return the settings of an attack."""
    return [key for key in _parameters(name) if key not in OWN]


def norms(name: str) -> tuple[str, ...]:
    """Return the norms of an attack."""
    return (NORM_OF[name],) if name in NORM_OF else tuple(NORMS)


def minimal(name: str) -> bool:
    """Return whether an attack has no radius, and does not bound something else."""
    return "eps" not in _parameters(name) and name not in UNBOUNDED


def find(name: str, settings: Mapping[str, Any], task: Task) -> Any:
    """Return the perturbed inputs (N, ...)."""
    with torch.no_grad():
        classes = task.network(task.x[:1]).shape[-1]
    classifier = import_module("art.estimators.classification").PyTorchClassifier(
        nn.Sequential(task.network, nn.Softmax(-1)) if name in PROBABILITIES else task.network,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(task.x.shape[1:]),
        nb_classes=classes,
        clip_values=(task.low, task.high),
        device_type="gpu" if task.x.is_cuda else "cpu",
    )
    given = _parameters(name)
    options: dict[str, Any] = {"verbose": False, "batch_size": 1 if name in SINGLE else len(task.x)}
    options |= {"eps": task.eps, "norm": np.inf if task.norm == "linf" else int(NORMS[task.norm])}
    options["targeted"] = task.targets is not None
    if "eps" in given and "eps_step" in given:  # as long a part of the radius as by default
        options["eps_step"] = given["eps_step"].default / given["eps"].default * task.eps
    options = {key: value for key, value in options.items() if key in given} | dict(settings)
    if name in UNBOUNDED:
        options = {key: value for key, value in options.items() if key not in ("eps", "eps_step", "norm")}
    attack = getattr(library(), name)(classifier, **options)
    targets = task.likeliest() if name in TARGETED and task.targets is None else task.targets
    aim = one_hot(task.labels if targets is None else targets, classes)
    x, y = task.x.cpu().numpy(), aim.cpu().numpy()
    with patch.object(tqdm, "__init__", _without_bar), patch.object(np, "mat", np.asmatrix, create=True):  # of NumPy 1
        if name in SINGLE:
            return np.concatenate([attack.generate(x=x[k : k + 1], y=y[k : k + 1]) for k in range(len(x))])
        return attack.generate(x=x, y=y)


_bar = tqdm.__init__


def _without_bar(self: tqdm, *words: Any, **options: Any) -> None:
    """Show no progress: the attacks that others run inside do, whatever `verbose` says."""
    _bar(self, *words, **options | {"disable": True})


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    found = inspect.signature(getattr(library(), name).__init__).parameters
    return {key: parameter for key, parameter in found.items() if key != "self"}
