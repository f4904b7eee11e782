"""The peers of the attacks, each as a function that builds attack(x, y) -> x_adv from a model."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Attack = Callable[[Tensor, Tensor], Tensor]
Build = Callable[[nn.Module], Attack]

INSTALL = {  # module: how to get it
    "torchattacks": "pip install --no-deps torchattacks   # it pins an old requests and wants torchvision",
    "foolbox": "pip install 'robustgames[peers]'",
    "art": "pip install 'robustgames[peers]'",
    "pyautoattack": "pip install 'robustgames[peers]'",
}


def available(contestants: dict[str, Build]) -> dict[str, Build]:
    """Return the contestants whose library is installed; the first word of a name is its module."""
    kept = {}
    for name, build in contestants.items():
        library = name.split()[0]
        if library not in INSTALL or importlib.util.find_spec(library) is not None:
            kept[name] = build
        else:
            print(f"{name} skipped: {INSTALL[library]}")
    return kept


def bare_pgd(eps: float = 0.3, size: float = 0.01, steps: int = 40) -> Build:
    """Return PGD in ℓ∞ as one writes it, in place if possible: the floor without other kernels."""

    def build(model: nn.Module) -> Attack:
        def attack(x: Tensor, y: Tensor) -> Tensor:
            low, high = (x - eps).clamp_(min=0), (x + eps).clamp_(max=1)
            z = torch.clamp(x + eps * (2 * torch.rand_like(x) - 1), low, high)
            for _ in range(steps):
                z.requires_grad_()
                (g,) = torch.autograd.grad(functional.cross_entropy(model(z), y, reduction="sum"), z)
                z = torch.clamp(z.detach() + size * g.sign_(), low, high)
            return z

        return attack

    return build


def torchattacks(name: str, *args: Any, **kwargs: Any) -> Build:
    """Return an attack of torchattacks."""

    def build(model: nn.Module) -> Attack:
        import torchattacks  # type: ignore[import-not-found]

        return getattr(torchattacks, name)(model, *args, **kwargs)

    return build


def foolbox(name: str, eps: float | None, **kwargs: Any) -> Build:
    """Return an attack of foolbox."""

    def build(model: nn.Module) -> Attack:
        import foolbox  # type: ignore[import-not-found]

        library: Any = foolbox  # which declares none of its exports

        device = next(model.parameters()).device
        wrapped = library.PyTorchModel(model, bounds=(0, 1), device=device)
        attack = getattr(library.attacks, name)(**kwargs)
        return lambda x, y: attack(wrapped, x, y, epsilons=eps)[1]

    return build


def art_pgd(eps: float, size: float, steps: int, norm: int | str = "inf", batch: int = 250) -> Build:
    """Return PGD of the Adversarial Robustness Toolbox, with one step and no random start: FGSM."""

    def build(model: nn.Module) -> Attack:
        from art.attacks.evasion import ProjectedGradientDescentPyTorch  # type: ignore[import-not-found]
        from art.estimators.classification import PyTorchClassifier  # type: ignore[import-not-found]

        device = next(model.parameters()).device
        wrapped = PyTorchClassifier(
            model, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1), device_type=device.type
        )
        attack = ProjectedGradientDescentPyTorch(
            wrapped,
            norm=norm,
            eps=eps,
            eps_step=size,
            max_iter=steps,
            num_random_init=int(steps > 1),
            batch_size=batch,
            verbose=False,
        )
        return lambda x, y: torch.from_numpy(attack.generate(x.cpu().numpy(), y.cpu().numpy())).to(x)

    return build


def autoattack(norm: str, eps: float, attacks: list[str] | None = None) -> Build:
    """Return AutoAttack by its authors, or some of its attacks."""

    def build(model: nn.Module) -> Attack:
        from pyautoattack import AutoAttack  # type: ignore[import-not-found]

        version = "standard" if attacks is None else "custom"
        device = next(model.parameters()).device
        library: Any = AutoAttack  # whose annotations are wrong
        peer = library(model, norm=norm, eps=eps, version=version, attacks=attacks, seed=0, device=device)
        if attacks is not None:
            peer.apgd.n_restarts, peer.apgd.use_largereps = 1, norm == "L1"  # as ours
        return lambda x, y: peer.run_standard_evaluation(x, y)[0]

    return build
