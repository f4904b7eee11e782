"""The certificates by name. A new one is one class and one line of the table."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import Tensor

from robustgames.attacks.problem import Bounds, Radius
from robustgames.attacks.victim import Model, Victim
from robustgames.certificates.bounds import CROWN, IBP
from robustgames.certificates.certificate import Certificate
from robustgames.certificates.exact import MILP
from robustgames.certificates.linear import Linear
from robustgames.certificates.smoothing import Smoothing
from robustgames.certificates.verdicts import Verdicts
from robustgames.errors import unknown

CERTIFICATES: dict[str, type[Certificate]] = {kind.name: kind for kind in (IBP, CROWN, MILP, Smoothing, Linear)}


def certificate_of(method: str, **settings: Any) -> Certificate:
    """Return the certificate of a name with these settings.

    Raises:
        GameError: The name or a setting is unknown, or the value of a setting is wrong.
    """
    if method not in CERTIFICATES:
        raise unknown("certificate", method, CERTIFICATES)
    allowed = [field.name for field in fields(CERTIFICATES[method])]
    for name in settings:
        if name not in allowed:
            raise unknown(f"setting of {method}", name, allowed)
    return CERTIFICATES[method](**settings)


def certify(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    method: str = "crown",
    *,
    bounds: Bounds = (0.0, 1.0),
    **settings: Any,
) -> Verdicts:
    """Return for each image whether no input of its ball is misclassified: certified, falsified, or unknown.

    The ball is {u : |u - x| <= eps, low <= u <= high}. certified <= truth <= attacked: the share of certified images is
    a lower bound of the accuracy under every attack, and that of an attack an upper bound.

    Args:
        model: torch.nn.Module, inputs (N, ...) -> logits (N, C). For smoothing any function.
        x: Images (N, ...) inside the bounds.
        y: Their classes (N,).
        eps: Radius of the balls, one number or one per image.
        norm: "linf", "l2" or "l1", as far as the method covers it.
        method: "ibp", "crown" (default), "milp", "smoothing" or "linear", see `CERTIFICATES`.
        bounds: Bounds (low, high) of the inputs.
        **settings: Settings of the method, e.g. time_limit=10 of milp.

    Raises:
        GameError: An unknown method or setting, a norm that the method does not cover, a layer without bounds (the
            message names it), or wrong input as in `robustgames.attacks`.

    Example:
        >>> net = torch.nn.Identity()
        >>> x, y = torch.tensor([[0.9, 0.2], [0.6, 0.5]]), torch.tensor([0, 0])
        >>> found = certify(net, x, y, eps=0.2, method="ibp")
        >>> found.certified.tolist(), found.margin.round(decimals=3).tolist()
        ([True, False], [0.3, -0.3])
    """
    return certificate_of(method, **settings).certify(model, x, y, eps, norm, bounds)
