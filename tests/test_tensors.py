"""Trees are rebuilt, moved and searched as one kind of thing."""

from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
import torch
from torch import nn

from robustgames.checkpoints import load_checkpoint, save_checkpoint
from robustgames.tensors import Movable, map_tensors, rebuild, tensors_of


class Pair(NamedTuple):
    first: object
    second: object


@dataclass(frozen=True)
class Node:
    value: object
    label: str = "leaf"
    double: object = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "double", self.value * 2)


def negative(node, path):
    return -node if isinstance(node, int) else node


def test_every_kind_of_branch_is_rebuilt_as_its_own_kind():
    tree = {"list": [1, "a"], "tuple": (2, None), "pair": Pair(3, (4,)), "node": Node(5), 6: {}}
    built = rebuild(tree, negative)
    assert built == {"list": [-1, "a"], "tuple": (-2, None), "pair": Pair(-3, (-4,)), "node": Node(-5), 6: {}}
    assert type(built["pair"]) is Pair
    assert built["node"].double == -10  # computed by the constructor, not copied
    assert tree["list"] == [1, "a"] and tree["node"].value == 5


def test_what_does_not_change_is_the_same_object():
    tree = {"kept": [Pair("a", Node("b")), ("c",)], "changed": (1,)}
    assert rebuild(tree, lambda node, path: node) is tree
    built = rebuild(tree, negative)
    assert built is not tree and built["kept"] is tree["kept"]
    assert rebuild(Node, negative) is Node  # a class is a leaf
    assert rebuild("ab", negative) == "ab"


def test_paths_hold_keys_indices_and_fields():
    seen = []
    rebuild({"a": [Node((7,))]}, lambda node, path: seen.append(path) or node)
    a = ("a", 0)
    assert seen == [(), ("a",), a, (*a, "value"), (*a, "value", 0), (*a, "label")]


def test_a_replacement_is_not_visited():
    seen = []

    def replaced(node, path):
        seen.append(path)
        return [[0]] if path == ("a",) else node

    assert rebuild({"a": 1, "b": 2}, replaced) == {"a": [[0]], "b": 2}
    assert seen == [(), ("a",), ("b",)]


def test_map_tensors():
    tree = {"m": torch.ones(2), "k": 3, "pair": Pair(torch.zeros(1), None)}
    built = map_tensors(tree, lambda t: t + 1)
    assert built["m"].tolist() == [2.0, 2.0] and built["k"] == 3
    assert built["pair"].first.tolist() == [1.0] and built["pair"].second is None


class Holder(Movable):
    shared = (torch.ones(1), 3)

    def __init__(self):
        self.weights, self.count, self.module = torch.ones(2), torch.tensor(4), nn.Linear(2, 1)
        self.parts = {"list": [torch.zeros(3)], "pair": Pair(torch.zeros(1), Inner())}


class Inner(Movable):
    def __init__(self):
        self.points = torch.zeros(5)


def test_movables_move_whatever_they_hold_and_stay_as_they_were():
    holder = Holder()
    moved = holder.to(dtype=torch.float64)
    floats = [moved.weights, moved.module.weight, moved.shared[0], moved.parts["list"][0], moved.parts["pair"].first]
    assert {t.dtype for t in [*floats, moved.parts["pair"].second.points]} == {torch.float64}
    assert moved.count.dtype == torch.int64 and moved.shared[1] == 3
    assert {t.dtype for t in tensors_of(holder)} == {torch.float32, torch.int64}
    assert holder.module.weight.dtype == Holder.shared[0].dtype == torch.float32


def test_tensors_come_in_order_of_names():
    assert [len(t) for t in tensors_of(Holder()) if t.dim()] == [3, 1, 5, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int64])
def test_checkpoints_hold_trees(tmp_path, dtype):
    content = {"state": {"m": torch.arange(6, dtype=dtype).view(2, 3), "k": 3}, "parts": [torch.ones(1), {"a": None}]}
    save_checkpoint(tmp_path, content)
    loaded = load_checkpoint(tmp_path)
    assert torch.equal(loaded["state"]["m"], content["state"]["m"]) and loaded["state"]["m"].dtype == dtype
    assert loaded["state"]["k"] == 3 and loaded["parts"][0].tolist() == [1.0] and loaded["parts"][1] == {"a": None}


class Based(Movable):
    parts = (torch.zeros(1), torch.zeros(1))


class Listed(Based):
    parts = [torch.ones(1), torch.ones(1)]  # noqa: RUF012


class Worded(Based):
    parts = "none"


def test_an_attribute_of_a_class_replaces_that_of_its_base_whatever_its_type():
    moved = Listed().to(dtype=torch.float64)
    assert [float(part) for part in moved.parts] == [1.0, 1.0]
    assert {part.dtype for part in moved.parts} == {torch.float64}
    assert Listed.parts[0].dtype == torch.float32 and Worded().to(dtype=torch.float64).parts == "none"
