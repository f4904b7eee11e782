"""Attacks on classifiers: pure functions attack(model, x, y, ...) -> x_adv, batched, on the device of x."""

from robustgames.attacks.auto_pgd import apgd, apgd_targeted
from robustgames.attacks.borrowed import borrowed
from robustgames.attacks.bpda import BPDA
from robustgames.attacks.deepfool import deepfool
from robustgames.attacks.ensemble import autoattack, evaluate
from robustgames.attacks.fab import fab, fab_targeted
from robustgames.attacks.gradient import fgsm, pga, pgd
from robustgames.attacks.hop_skip_jump import hop_skip_jump
from robustgames.attacks.majorize import mm
from robustgames.attacks.minimum_norm import ddn, fmn
from robustgames.attacks.nes import nes
from robustgames.attacks.square import square
from robustgames.attacks.transfers import Transfers, transfer
from robustgames.attacks.universal import linear_worst_case, universal
from robustgames.attacks.victim import Victim

__all__ = [
    "BPDA",
    "Transfers",
    "Victim",
    "apgd",
    "apgd_targeted",
    "autoattack",
    "borrowed",
    "ddn",
    "deepfool",
    "evaluate",
    "fab",
    "fab_targeted",
    "fgsm",
    "fmn",
    "hop_skip_jump",
    "linear_worst_case",
    "mm",
    "nes",
    "pga",
    "pgd",
    "square",
    "transfer",
    "universal",
]
