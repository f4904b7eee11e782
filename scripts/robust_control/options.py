"""The options of `robustness.py`, and their checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from robust_control.methods import FORCE, METHODS, PEERS, Agent, Budget
from robust_control.training import ENV, method_of, read_run

from robustgames.envs.control.discrete_actions import check_continuous
from robustgames.envs.control.grid_words import parse_grid
from robustgames.envs.control.perturbations import checked
from robustgames.envs.control.uncertainty_sets import UncertaintySet, uncertainty_set
from robustgames.errors import GameError, check_whole_numbers, unknown
from robustgames.evaluation.rollouts import control_env


@dataclass(frozen=True)
class Options:
    """Train the methods that are missing, play them on the grid, and write the table and the figures.

    Attributes:
        agent: Hyper-parameters of all methods.
        env: Gymnasium id with continuous actions.
        methods: Methods to train: ddpg td3, nr_ddpg nr_td3 pr_ddpg pr_td3, the controls mixing and replacement,
            extra_td3 mixed_ne_ld, sac nr_sac pr_sac with sac_mixing sac_replacement, dr_td3 m2td3 soft_m2td3, rarl rap
            with forces (MuJoCo), sb3_ddpg sb3_td3. None are needed if all come from run folders.
        runs_from: Words NAME=RUN_FOLDER of `robustgames train`, whose policies are used instead of training a method.
        seeds: Runs of a method.
        seed: Seed of the first run.
        steps: Env steps of the protagonist in a run; the adversaries of rarl and rap have as many again.
        alpha: Share of the adversary in training.
        uncertainty: Parameters of dr_td3, m2td3 and soft_m2td3 in training, axis=low:high,axis=low:high.
        grid: Name of an uncertainty set, or words axis=v1,v2 and axis:body=v1,v2.
        episodes: Episodes in every cell of the grid.
        best_response: Env steps of a fresh adversary against a trained policy. 0 disables it.
        best_response_runs: Runs of each method that are attacked by one.
        best_response_learners: Adversaries against each of these runs, of which the strongest counts.
        attack_coupling: Coupling of that adversary, noisy or probabilistic, the same against all methods.
        attack_alpha: Share of that adversary, alpha if not given.
        attack_episodes: Episodes in which that adversary is evaluated.
        workers: Methods that run at a time, one core each.
        checkpoint: Env steps between two checkpoints of a training.
        training: Folder of the trained runs, OUT/training if not given. With that of another OUT, its policies are
            played on another grid.
        out: Folder of the results.
    """

    agent: tyro.conf.OmitArgPrefixes[Agent] = field(default_factory=Agent)
    env: str = "Pendulum-v1"
    methods: tuple[str, ...] = ("td3", "nr_td3", "pr_td3", "mixing", "replacement")
    runs_from: tuple[str, ...] = ()
    seeds: int = 8
    seed: int = 0
    steps: int = 8_000
    alpha: float = 0.3
    uncertainty: str = "mass=0.5:2"
    grid: tuple[str, ...] = ("tessler-mass-noise",)
    episodes: int = 5
    best_response: int = 0
    best_response_runs: int = 3
    best_response_learners: int = 1
    attack_coupling: str = "probabilistic"
    attack_alpha: float | None = None
    attack_episodes: int = 10
    workers: int = 1
    checkpoint: int = 10_000
    training: Path | None = None
    out: Path = Path("robustness")

    @property
    def budget(self) -> Budget:
        """The budget and the settings that all methods share."""
        return Budget(self.env, self.seeds, self.seed, self.steps, self.alpha, self.agent, self.uncertainty)

    @property
    def folders(self) -> dict[str, Path]:
        """Run folders by method, for the methods that are not trained here."""
        words = [word.partition("=") for word in self.runs_from]
        if wrong := ["".join(word) for word in words if not (word[0].isidentifier() and word[2])]:
            raise GameError(f"--runs-from takes NAME=RUN_FOLDER, got {wrong[0]!r}: e.g. --runs-from td3=runs/a/b")
        return {name: Path(folder) for name, _, folder in words}

    @property
    def names(self) -> list[str]:
        """The methods, which are the rows of the table."""
        return list(dict.fromkeys([*self.methods, *self.folders]))

    @property
    def attack(self) -> dict[str, Any]:
        """The coupling and the share of a fresh adversary, the same against all methods."""
        alpha = self.alpha if self.attack_alpha is None else self.attack_alpha
        return {"coupling": self.attack_coupling, "alpha": alpha}


def grid_of(words: Sequence[str]) -> UncertaintySet:
    """Return the grid of a name, or of words axis=v1,v2 and axis:body=v1,v2."""
    if not words:
        raise GameError("--grid is empty: give the name of an uncertainty set, or e.g. mass=0.5,1,2")
    found = parse_grid(words)
    return uncertainty_set(found) if isinstance(found, str) else UncertaintySet(found, "")


def check(options: Options) -> None:
    """Check all options before anything is trained.

    Raises:
        GameError: An option is wrong; the message names it.
    """
    at_least_1 = ("seeds", "steps", "checkpoint", "episodes", "attack_episodes", "workers")
    at_least_1 += ("best_response_runs", "best_response_learners")
    check_whole_numbers(options, seed=0, best_response=0, **dict.fromkeys(at_least_1, 1))
    for name in options.methods:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
        if METHODS[name].agent in PEERS and (agent := options.agent).lr != agent.critic_lr:
            raise GameError(f"lr is {agent.lr} and critic_lr {agent.critic_lr}: {name} has one, give the same twice")
        if METHODS[name].has_share and not options.alpha:
            raise GameError(f"alpha is 0: {name} would have no adversary, give its share, e.g. --alpha 0.1")
    if not options.names:
        raise GameError("no method: give some, e.g. --methods td3 pr_td3 mixing replacement")
    with control_env(ENV, {"env_id": options.env, "alpha": options.alpha}) as env:
        check_continuous(env.unwrapped)
    if any(METHODS[name].coupling == FORCE for name in options.methods):
        control_env(ENV, {"env_id": options.env, "coupling": FORCE}).close()
    env = control_env(ENV, {"env_id": options.env, **options.attack})
    for point in grid_of(options.grid).points(env):
        checked(point, env.unwrapped.physics)  # type: ignore[attr-defined]
    env.close()
    for name, folder in options.folders.items():
        _check_run(name, folder, options)


def _check_run(name: str, folder: Path, options: Options) -> None:
    run = read_run(folder)
    env_id, method, _ = method_of(name, run)
    if (env_id, run.runs, run.seed) != (options.env, options.seeds, options.seed):
        wanted = f"--env {env_id} --seeds {run.runs} --seed {run.seed}"
        raise GameError(f"{name} in {folder} has other runs than requested: give {wanted}, or leave it out")
    parts = ("agent", "coupling", "adversary", "solver")
    found, known = ({part: getattr(one, part) for part in parts} for one in (method, METHODS.get(name, method)))
    if found != known:
        raise GameError(f"{name} in {folder} has {found} and not {known}: give it a name of its own")
