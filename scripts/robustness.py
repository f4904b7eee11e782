r"""Robustness of control: methods x seeds on one env, trained alike and played on one grid of perturbations.

    python scripts/robustness.py --env Pendulum-v1 --methods td3 nr_td3 pr_td3 mixing replacement --seeds 8 \
        --steps 8000 --alpha 0.3 --grid mass=0.5,1,1.5,2 action_noise=0,0.1,0.2,0.3 --out robustness
    python scripts/robustness.py ... --grid length=0.5,1,2 --training robustness/training --out robustness-length
    python scripts/robustness.py --env Hopper-v5 --methods --runs-from td3=RUN_A pr_td3=RUN_B ... --seeds 3

    python scripts/robustness.py --env Pendulum-v1 --methods td3 dr_td3 m2td3 soft_m2td3 --seeds 8 --steps 12000 \
        --uncertainty mass=0.5:2,length=0.5:1.5 --grid mass=0.5,0.75,1,1.25,1.5,1.75,2 length=0.5,0.75,1,1.25,1.5

Measures the return of the trained policies in every cell of the grid, without exploration and without an adversary, and
with --best-response their loss to fresh adversaries.

Writes table.md, figures, and a JSON file for every finished sweep to OUT, and the run folders, which `robustgames
evaluate` can read, to OUT/training. The same command continues an interrupted experiment; results of other settings are
not mixed in. Takes about a quarter of an hour of CPU with the defaults, and longer with --best-response.

Equal between methods: env steps, networks, minibatches, rates, the agent's own exploration noise, replay; delay and
number of updates between those on TD3; the episodes of every cell of the grid. Adversaries change the noise of the
executed actions, so methods do not explore equally: add a plain agent with more noise as a control. In run i our
methods begin with the same weights and the same first episode (in Pendulum, where episodes have one length, all their
seeds are equal), so run i of two of them is a pair.

`rarl` and `rap` push bodies of MuJoCo envs: their adversaries have forces and no share of the action, and learn in
turns, so they take as many env steps again as the protagonist.

What differs: the parameters of the env in training (nominal, or for dr_td3, m2td3 and soft_m2td3 of --uncertainty,
by chance or by candidates that learn); the disturbance of the actions (none, a policy, or chance), its coupling
(noisy: (1 - α) a + α ā; probabilistic: ā with probability α), and for `extra_td3` and `mixed_ne_ld` the solver of the
two policies. The chains of `mixed_ne_ld` have one step in the first 69,000 updates, as published. Stable-Baselines3 has
first weights and generators of its own, so its run i is not paired, which costs precision but adds no bias.

Reading the table: mean, worst and CVaR 10 % are over the cells of the grid; of ten cells or fewer, CVaR is the worst
one and not shown. Intervals are 95 % intervals over runs and starts, Student's with a correction for skewness;
docs/explain/control.md has their measured coverage. Fewer than five runs have none. Bold differences are not 0 after
Holm's correction for all comparisons of the table. Decide before looking which column counts. A random adversary alone
is wide data augmentation. A claim that a learned one makes robust has to beat the random controls of the same learner,
and not only the method without an adversary (SAC for its variants): `mixing` and `replacement` for TD3 and DDPG,
`sac_mixing` and `sac_replacement` for SAC, `dr_td3` for `m2td3` and `soft_m2td3`, `forces` for `rarl` and `rap`. A
policy can be flat over the grid because it does nothing anywhere: look at `nominal` first. Exploitability
(--best-response) is the loss of the frozen policy to a fresh adversary, in expectation a lower bound.
"""

from __future__ import annotations

import sys
from functools import partial

import tyro
from results import finished
from robust_control.methods import METHODS, Method
from robust_control.options import Options, check
from robust_control.parts import Result, parts, run, stored
from robust_control.report import report
from robust_control.training import method_of, read_run

from robustgames.errors import GameError, writing
from robustgames.evaluation.robustness import Sweep
from robustgames.experiment.folder import locked


def run_all(options: Options) -> list[str]:
    """Run every method, and return the reasons why some failed."""
    for name in options.names:  # other settings are refused before the first training
        for part in parts(options):
            stored(part, name, options)
    reasons = []
    for name, reason in finished(partial(run, options=options), options.names, options.workers):
        print(reason or f"{name}: done", file=sys.stderr, flush=True)
        reasons.append(reason)
    return [reason for reason in reasons if reason]


def results(options: Options) -> dict[str, Result]:
    """Return the finished results."""
    found = {}
    for name in options.names:
        if swept := stored("sweeps", name, options):
            attacked = stored("best_responses", name, options) if options.best_response else None
            method, alpha = _method(name, options)
            rest = Sweep.from_dict(swept["sweep"]), swept["steps"], swept["curve"], attacked and attacked["returns"]
            found[name] = Result(method, alpha, *rest)
    return found


def _method(name: str, options: Options) -> tuple[Method, float]:
    if name in options.folders:
        return method_of(name, read_run(options.folders[name]))[1:]
    method = METHODS[name]
    return method, method.share(options.alpha)


def main(options: Options) -> int:
    """Run the experiment; return 2 if the input is wrong, 1 if a training failed."""
    try:
        check(options)
        with writing(options.out):
            options.out.mkdir(parents=True, exist_ok=True)
        with locked(options.out):
            failed = run_all(options)
            if found := results(options):
                report(found, options.out, {"steps": options.best_response, **options.attack}, failed)
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command continues", file=sys.stderr)
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
