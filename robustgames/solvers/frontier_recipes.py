"""Solvers with guarantees that gradient descent ascent and extragradient lack; part of the table `RECIPES`."""

from __future__ import annotations

from collections.abc import Callable

from robustgames.solvers.extragradient_recipes import (
    adaptive_eg_plus,
    adaptive_extragradient,
    agraal,
    anchored_popov,
    bc_seg_plus,
    curvature_eg_plus,
    eag,
    eg_plus,
    feg,
    omd_adam,
    rapp,
    same_sample_extragradient,
    tiada,
)
from robustgames.solvers.lookahead_recipes import (
    half_turn,
    half_turn_adam,
    lookahead_adam,
    lookahead_extragradient,
    lookahead_gda,
    rk4,
    smoothed_gda,
)
from robustgames.solvers.schemes import Scheme
from robustgames.solvers.second_order_recipes import (
    competitive_gd,
    consensus,
    follow_ridge,
    lead,
    newton,
    sga,
    stay_on_ridge,
)

FRONTIER: dict[str, Callable[..., Scheme]] = {
    "eg_plus": eg_plus,
    "adaptive_eg_plus": adaptive_eg_plus,
    "curvature_eg_plus": curvature_eg_plus,
    "bc_seg_plus": bc_seg_plus,
    "rapp": rapp,
    "same_sample_extragradient": same_sample_extragradient,
    "eag": eag,
    "anchored_popov": anchored_popov,
    "feg": feg,
    "agraal": agraal,
    "adaptive_extragradient": adaptive_extragradient,
    "tiada": tiada,
    "omd_adam": omd_adam,
    "lookahead_gda": lookahead_gda,
    "lookahead_extragradient": lookahead_extragradient,
    "lookahead_adam": lookahead_adam,
    "half_turn": half_turn,
    "half_turn_adam": half_turn_adam,
    "smoothed_gda": smoothed_gda,
    "rk4": rk4,
    "stay_on_ridge": stay_on_ridge,
    "consensus": consensus,
    "sga": sga,
    "competitive_gd": competitive_gd,
    "follow_ridge": follow_ridge,
    "lead": lead,
    "newton": newton,
}
