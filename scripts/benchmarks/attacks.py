"""Attacks: images per second of CPU time, and the accuracy left, against other libraries on two MNIST networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from benchmarks.attack_peers import Attack, Build, art_pgd, autoattack, bare_pgd, foolbox, torchattacks
from benchmarks.harness import Row
from benchmarks.races import Trial, compare, race, rows
from benchmarks.victims import adversarial, convolutions, held_out, natural, noise, perceptron
from torch import Tensor, nn

from robustgames.attacks import Victim, apgd, fgsm, pgd

PGD = {"steps": 40, "step_size": 0.01, "early": "last"}


def attacks(rounds: int, device: str, quick: bool = False) -> Iterator[Row]:
    """Yield all rows of the attacks suite."""
    many, few = (250, 20) if quick else (1000, 100)
    robust, standard = adversarial(device, quick), natural(device)
    trial = Trial(robust, held_out(many, device), rounds, device)
    yield from dense(trial)
    yield from stride_one(trial._replace(images=noise((3, 32, 32), few, device)))
    yield from small_network(trial._replace(images=noise((64,), many, device)))
    yield from dropping(trial._replace(model=standard))
    yield from precision(trial)
    yield from one_step(trial)
    yield from euclidean(trial)
    yield from auto_pgd(trial._replace(rounds=min(rounds, 3)))
    yield from sparse(trial._replace(images=held_out(few, device), rounds=1))
    yield from minimum_norm(trial._replace(model=standard, images=held_out(few, device), rounds=1))
    yield from ensemble(trial._replace(images=held_out(few, device), rounds=min(rounds, 3)))


def ours(attack: Callable[..., Tensor], *args: Any, precision: torch.dtype | None = None, **kwargs: Any) -> Build:
    """Return an attack of robustgames."""

    def build(model: nn.Module) -> Attack:
        victim = Victim(model, precision)
        return lambda x, y: attack(victim, x, y, *args, **kwargs)

    return build


# -- the rows ------------------------------------------------------------------------------------------------------
def dense(trial: Trial) -> Iterator[Row]:
    """PGD-40 in ℓ∞ on the robust network, all images to the end; another random start moves the accuracy by 1 point."""
    contestants = {
        "ours": ours(pgd, 0.3, **PGD),
        "torchattacks": torchattacks("PGD", eps=0.3, alpha=0.01, steps=40),
        "foolbox": foolbox("LinfPGD", 0.3, abs_stepsize=0.01, steps=40),
        "art": art_pgd(0.3, 0.01, 40),
        "bare loop": bare_pgd(),
    }
    least = {"torchattacks": 1.0, "foolbox": 1.7, "art": 1.7}
    yield from rows("PGD-40, robust net", trial, contestants, least, tolerance=1.5)


def stride_one(trial: Trial) -> Iterator[Row]:
    """PGD-40 in ℓ∞ on untrained networks of CIFAR's size, of stride 1, whose layers leave the cache."""
    for width in (16, 32):
        contestants = {
            "ours": ours(pgd, 0.3, **PGD),
            "torchattacks": torchattacks("PGD", eps=0.3, alpha=0.01, steps=40),
            "bare loop": bare_pgd(),
        }
        title = f"PGD-40, 3x32x32, stride 1, {width} channels"
        model = convolutions(width, trial.device)
        yield from rows(title, trial._replace(model=model), contestants, {"bare loop": 0.98}, tolerance=100.0)


def small_network(trial: Trial) -> Iterator[Row]:
    """PGD-40 in ℓ∞ on an untrained network 64-64-10: what the checks and the protocol cost."""
    contestants = {"ours": ours(pgd, 0.3, **PGD), "bare loop": bare_pgd()}
    model = perceptron(trial.device)
    yield from rows(
        "PGD-40, MLP 64-64-10", trial._replace(model=model), contestants, {"bare loop": 0.98}, tolerance=100.0
    )


def dropping(trial: Trial) -> Iterator[Row]:
    """PGD-40 in ℓ∞ on the standard network, fooled images leave."""
    contestants = {
        "ours": ours(pgd, 0.3, **{**PGD, "early": "drop"}),
        "torchattacks": torchattacks("PGD", eps=0.3, alpha=0.01, steps=40),
        "bare loop": bare_pgd(),
    }
    yield from rows("PGD-40 early=drop, standard net", trial, contestants, {"torchattacks": 4.0})


def precision(trial: Trial) -> Iterator[Row]:
    """PGD-40 with the arithmetic of the network in bfloat16; its examples are verified in float32."""
    contestants = {
        "ours": ours(pgd, 0.3, **PGD, precision=torch.bfloat16),
        "float32": ours(pgd, 0.3, **PGD),
    }
    yield from rows("PGD-40 bfloat16, robust net", trial, contestants, {}, tolerance=1.5)


def one_step(trial: Trial) -> Iterator[Row]:
    """FGSM."""
    contestants = {
        "ours": ours(fgsm, 0.3),
        "torchattacks": torchattacks("FGSM", eps=0.3),
        "foolbox": foolbox("LinfFastGradientAttack", 0.3),
        "art": art_pgd(0.3, 0.3, 1),
    }
    yield from rows("FGSM, robust net", trial, contestants, {})


def euclidean(trial: Trial) -> Iterator[Row]:
    """PGD-40 in ℓ2; torchattacks draws its start elsewhere in the ball, and only we project on ball and box."""
    contestants = {
        "ours": ours(pgd, 2.0, "l2", steps=40, step_size=0.125, early="last"),
        "torchattacks": torchattacks("PGDL2", eps=2.0, alpha=0.125, steps=40),
        "foolbox": foolbox("L2PGD", 2.0, abs_stepsize=0.125, steps=40),
        "art": art_pgd(2.0, 0.125, 40, norm=2),
    }
    yield from rows("PGD-40 l2, robust net", trial, contestants, {}, tolerance=3.0)


def auto_pgd(trial: Trial) -> Iterator[Row]:
    """APGD-CE of 100 steps."""
    contestants = {
        "ours": ours(apgd, 0.3, early="drop"),
        "pyautoattack": autoattack("Linf", 0.3, ["apgd-ce"]),
    }
    yield from rows("APGD-CE, robust net", trial, contestants, {})


def sparse(trial: Trial) -> Iterator[Row]:
    """ℓ1 of radius 20 on the network that was trained against ℓ∞: the strength is what counts."""
    contestants = {
        "ours APGD": ours(apgd, 20.0, "l1", early="drop"),
        "pyautoattack": autoattack("L1", 20.0, ["apgd-ce"]),
        "SLIDE of ours": ours(pgd, 20.0, "l1", steps=100),
        "foolbox L1PGD": foolbox("L1PGD", 20.0, steps=100),
        "foolbox SLIDE": foolbox("SparseL1DescentAttack", 20.0, steps=100),
    }
    results = race(trial, contestants)
    yield from compare("l1", results, {}, tolerance=100.0)
    again = race(trial, {"ours": ours(apgd, 20.0, "l1", restarts=5, early="drop")})["ours"]  # as AutoAttack in l1
    yield Row("l1 APGD, 5 restarts, what is left : limit", "%", again.robust, 1.0, at_most=1.0, note=str(again))


def minimum_norm(trial: Trial) -> Iterator[Row]:
    """The nearest misclassified points in ℓ2, on the standard network."""
    from robustgames.attacks.deepfool import deepfool
    from robustgames.attacks.minimum_norm import ddn

    crossing = {
        "ours": ours(deepfool),
        "foolbox": foolbox("L2DeepFoolAttack", None),
        "torchattacks": torchattacks("DeepFool"),
    }
    yield from rows("DeepFool, standard net", trial, crossing, {}, tolerance=float("inf"))
    decoupled = {"ours": ours(ddn), "foolbox": foolbox("DDNAttack", None)}
    yield from rows("DDN-100, standard net", trial, decoupled, {}, tolerance=float("inf"))


def ensemble(trial: Trial) -> Iterator[Row]:
    """The standard AutoAttack."""
    from robustgames.attacks.ensemble import evaluate

    contestants = {
        "ours": ours(lambda *args: evaluate(*args).x_adv, 0.3),
        "pyautoattack": autoattack("Linf", 0.3),
    }
    few = 100 / len(trial.images[0])  # one image is that many percent
    yield from rows("AutoAttack, robust net", trial, contestants, {"pyautoattack": 2.0}, tolerance=max(0.5, few))
