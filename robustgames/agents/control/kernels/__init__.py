"""The update of DDPG and TD3 for one run after another, and the actions of both players, compiled by Numba.

The formulas are those of `TemporalDifference` and `PolicyGame`, whose passes in PyTorch are the definition. `native.py`
calls `update` and `act`; at the sizes of control they then cost what their matrix products cost.

NaN is never hidden: the compiler may reorder sums and contract products, but has to assume that NaN and inf occur
(no "nnan", no "ninf"), and every comparison lets NaN pass, as those of PyTorch do.
"""
