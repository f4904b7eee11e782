"""Networks of users, most of them broken."""

import sys

import torch
from torch import nn

not_a_module = 5
none = None


def good():
    torch.manual_seed(0)
    return nn.Linear(64, 10)


def raises():
    raise RuntimeError("the weights are missing")


def exits():
    sys.exit(0)


def wrong_size():
    return nn.Linear(63, 10)


def needs_argument(path):
    return nn.Linear(64, 10)


class NanLogits(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10] * float("nan")


def nan_logits():
    return NanLogits()


class RaisesMidway(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 2:
            raise ValueError("no more today")
        return x.flatten(1)[:, :10]


def raises_midway():
    return RaisesMidway()


class OneDimensional(nn.Module):
    def forward(self, x):
        return x.flatten(1).sum()


def one_dimensional():
    return OneDimensional()


def one_output():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Sigmoid())


def softmax():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(-1))


class Depends(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10] if x.sum() > 0 else -x.flatten(1)[:, :10]


def depends():
    return Depends()


def pooled():
    return nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 10))


def two_layers():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))


def hooked():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    net[1].register_forward_hook(lambda module, inputs, output: 2 * output)
    return net
