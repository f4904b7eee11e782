"""Games of users, each with one mistake."""

import sys

import torch

import robustgames as rg


class Fine(rg.ZeroSumGame):
    sizes = (1, 1)

    def payoff(self, x, y, sample):
        return (x * y).sum(-1)


@rg.register("mine/Raises-v0")
class Raises(Fine):
    def payoff(self, x, y, sample):
        raise RuntimeError("not today")


@rg.register("mine/RaisesLate-v0")
class RaisesLate(Fine):
    calls = 0

    def payoff(self, x, y, sample):
        RaisesLate.calls += 1
        if RaisesLate.calls > 12:
            raise RuntimeError("after a while")
        return (x * y).sum(-1)


@rg.register("mine/WrongShape-v0")
class WrongShape(Fine):
    def payoff(self, x, y, sample):
        return x * y


@rg.register("mine/NotATensor-v0")
class NotATensor(Fine):
    def payoff(self, x, y, sample):
        return 5.0


@rg.register("mine/Complex-v0")
class Complex(Fine):
    def payoff(self, x, y, sample):
        return (x * y).sum(-1) * 1j


@rg.register("mine/Integer-v0")
class Integer(Fine):
    def payoff(self, x, y, sample):
        return (x * y).sum(-1).long()


@rg.register("mine/NoGradient-v0")
class NoGradient(Fine):
    def payoff(self, x, y, sample):
        return (x * y).sum(-1).detach()


@rg.register("mine/Rounded-v0")
class Rounded(Fine):
    def payoff(self, x, y, sample):
        return (x * y).sum(-1).round()


@rg.register("mine/Constant-v0")
class Constant(Fine):
    def payoff(self, x, y, sample):
        return torch.zeros(x.shape[:-1])


@rg.register("mine/NanPayoff-v0")
class NanPayoff(Fine):
    def payoff(self, x, y, sample):
        return (x * y).sum(-1) * float("nan")


@rg.register("mine/InfPayoff-v0")
class InfPayoff(Fine):
    def payoff(self, x, y, sample):
        return (x * y).sum(-1) * float("inf")


@rg.register("mine/TwoArguments-v0")
class TwoArguments(Fine):
    def payoff(self, x, y):
        return (x * y).sum(-1)


@rg.register("mine/NoSizes-v0")
class NoSizes(rg.ZeroSumGame):
    def payoff(self, x, y, sample):
        return (x * y).sum(-1)


@rg.register("mine/NegativeSizes-v0")
class NegativeSizes(Fine):
    sizes = (-1, 2)


@rg.register("mine/FloatSizes-v0")
class FloatSizes(Fine):
    sizes = (1.5, 1.5)


@rg.register("mine/BadSets-v0")
class BadSets(Fine):
    sets = ("box", 3)


@rg.register("mine/SetsOfStrings-v0")
class SetsOfStrings(Fine):
    sets = "simplex"


@rg.register("mine/Exits-v0")
class Exits(Fine):
    def payoff(self, x, y, sample):
        sys.exit(0)


@rg.register("mine/InitRaises-v0")
class InitRaises(Fine):
    def __init__(self):
        raise KeyError("data")


@rg.register("mine/InitExits-v0")
class InitExits(Fine):
    def __init__(self):
        sys.exit(0)


@rg.register("mine/MetricsRaise-v0")
class MetricsRaise(Fine):
    def metrics(self, z, sample=None):
        raise ZeroDivisionError("division by zero")


@rg.register("mine/DrawRaises-v0")
class DrawRaises(Fine):
    def draw(self, shape, generator):
        raise OSError("the file of data is gone")


@rg.register("mine/StartWrongShape-v0")
class StartWrongShape(Fine):
    def start(self, player, shape, generator):
        return torch.zeros(7)


@rg.register("mine/ProjectNan-v0")
class ProjectNan(Fine):
    def project(self, z, sample=None):
        return z * float("nan")
