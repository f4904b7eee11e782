"""Attacks on classifiers: pure functions attack(model, x, y, ...) -> x_adv, batched, on the device of x."""

from robustgames.attacks.gradient import apgd, apgd_targeted, fgsm, pga, pgd
from robustgames.attacks.victim import Victim

__all__ = ["Victim", "apgd", "apgd_targeted", "fgsm", "pga", "pgd"]
