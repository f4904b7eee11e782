"""Interval bounds of a network's margins over boxes of images: training against all of a ball at once.

Source: Gowal et al. 2018, "On the effectiveness of interval bound propagation"; Mirman et al. 2018.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.layer_table import Parameters
from robustgames.games.layers import Dense, Interval
from robustgames.games.networks import MLP, Frozen, Network
from robustgames.games.tracing import Graph, attribute_of, trace


def margins(graph: Graph, layers: list[Any], values: list[Interval], labels: Tensor, unit: float = 0.0) -> Tensor:
    """Return lower bounds of z_y - z_c for every class c, (*S, B, C); 0 for the label itself.

    If the last layer is linear, its difference of two rows is bounded, not the difference of two bounds.

    Args:
        graph: Layers of the network.
        layers: Result of `Graph.layers`.
        values: Result of `Graph.bounds`.
        labels: Classes y, (*S, B).
        unit: Unit roundoff of the model; 0 stands for exact arithmetic.
    """
    low, high = values[graph.last]
    at = labels.unsqueeze(-1)
    last = layers[graph.last - 1] if graph.last else None
    if not isinstance(last, Dense):
        found = low.gather(-1, at) - high
        return found.scatter(-1, at, 0)
    before = values[graph.steps[graph.last - 1].inputs[0]]
    center, radius = (before[0] + before[1]) / 2, (before[1] - before[0]) / 2
    z = last(center)
    w, q = last.weight, last.weight.shape[-2]
    spread = (w.unsqueeze(-2) - w.unsqueeze(-3)).abs()  # (*S, y, c, p)
    reach = Dense(spread.flatten(-3, -2)).absolute(radius).unflatten(-1, (q, q))  # (*S, B, y, c)
    own = reach.take_along_dim(at.unsqueeze(-1), -2).squeeze(-2)
    found = z.gather(-1, at) - z - own
    if unit:
        slack = torch.as_tensor(last.rounding(unit, before))
        found = found - slack - slack.gather(-1, at)
    return found.scatter(-1, at, 0)


def mixed(clean: Tensor, worst: Tensor, share: Tensor, kappa: float | None) -> Tensor:
    """Return (1 - w) clean + w worst with w = (1 - κ) ρ / eps, for `share` = ρ / eps: the paper's κ falls from 1."""
    w = (1 - (kappa or 0.0)) * share
    return (1 - w) * clean + w * worst


def network_margins(
    network: MLP | Network, graph: Graph, weights: Tensor, images: Tensor, labels: Tensor, radii: Tensor
) -> Tensor:
    """Return lower bounds of z_y - z_c over the boxes [a - ρ, a + ρ] in [0, 1], (*S, B, C).

    Args:
        network: Network h.
        graph: Its layers.
        weights: Weights (*S, n).
        images: Images a, (*S, B, p).
        labels: Classes y, (*S, B).
        radii: Radii ρ, (*S, B, 1).
    """

    def bounded(parameters: Parameters, low: Tensor, high: Tensor, y: Tensor) -> Tensor:
        layers = graph.layers(parameters)
        return margins(graph, layers, graph.bounds(layers, low, high), y)

    low, high = (images - radii).clamp_min(0), (images + radii).clamp_max(1)
    if isinstance(network, MLP):  # all runs at once
        rows = dict(zip(graph.names, network.parts(weights), strict=True))
        return bounded(rows.__getitem__, low, high, labels)

    def parameters_of(run: Tensor) -> Parameters:
        views = network.views(run)
        return lambda path: views[path] if path in views else attribute_of(network.module, path)

    runs = weights.shape[:-1]
    each = (t.reshape(-1, *t.shape[len(runs) :]) for t in (weights, low, high, labels))
    found = [bounded(parameters_of(w), a, b, y) for w, a, b, y in zip(*each, strict=True)]
    return torch.stack(found).reshape(*runs, *found[0].shape)


def graph_of(game: Any) -> Graph:
    """Return the layers of the classifier of a game with the interval attacker.

    Raises:
        GameError: Interval bounds do not go with a setting of the game, or with a layer of the network.
    """
    for name, needed in (("norm", "linf"), ("loss", "cross_entropy"), ("trades", 0), ("precision", "float32")):
        if getattr(game, name) != needed:
            raise GameError(
                f"{name} is {getattr(game, name)}: attacker='interval' needs {name}={needed!r}; leave {name} out, or "
                "choose attacker='minibatch'"
            )
    if not 0 <= game.kappa <= 1:
        raise GameError(f"kappa is {game.kappa}: the weight of the clean loss is between 0 and 1, e.g. kappa=0.5")
    network, images = game.network, game.images
    if isinstance(network, Frozen):
        raise GameError("a frozen classifier is not trained: use attacker='minibatch', or robustgames.certificates")
    module = network.as_module(images.new_zeros(network.size)) if isinstance(network, MLP) else network.module
    graph = trace(module, images[:2].to(next(module.parameters())))
    if graph.shapes[graph.last] == (1,):
        raise GameError("the network has one output: attacker='interval' compares classes, give it two outputs")
    return graph
