r"""Attacks on observations: TD3, SA-TD3 and ATLA x seeds on one env, under attacks of the package and a learned one.

    python scripts/observations.py --env Pendulum-v1 --seeds 8 --steps 12000 --train-eps 0.3 --eps 0.15 0.3
    python scripts/observations.py --env Hopper-v5 --methods td3 random_shifts sa_td3 --seeds 3 --steps 300000 \
        --train-eps 0.075 --eps 0.075 --lr 3e-4 --critic-lr 3e-4 --tau 0.005 --learning-starts 10000

Trains every method, plays it without an attack and under `random`, `mad`, `critic` and `sarsa` of
`robustgames.evaluation.observation_attacks`, and under an adversary that TD3 trains against each frozen run in the
coupling "observation" (the optimal attack of an SA-MDP is a policy, Zhang et al. 2021). `worst` is the strongest of
them, for each run. Writes table.md to OUT, a JSON file for every finished part, and the run folders to OUT/training,
which `robustgames evaluate` can read. The same command continues an interrupted experiment; results of other settings
are not mixed in.

Equal between methods: the protagonist's env steps, networks, minibatches, rates, exploration noise, the starts of the
episodes, and the balls: their units σ are the standard deviations of the observations of plain TD3, which is trained
first. `atla` needs twice the env steps, since its adversary has half of them.

`random_shifts` is the control: TD3 whose observations are shifted by uniform points of the ball in training. A claim
that a learned adversary or a regularization makes robust has to beat it, not TD3 alone. Differences are in pairs of
runs of one seed, with 95 % intervals over runs and starts as in docs/explain/control.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from robust_control.files import claim
from robust_control.methods import Agent
from robust_control.training import whole_agent

from robustgames import experiment
from robustgames.agents.alternating import OnePlayerTD3
from robustgames.agents.control.episode_factory import make_separate
from robustgames.agents.control.player_episodes import PlayerEpisodes
from robustgames.checkpoints import CURRENT
from robustgames.errors import GameError, check_whole_numbers, unknown, writing
from robustgames.evaluation.intervals import of_returns
from robustgames.evaluation.observation_attacks import ATTACKS, attack_observations
from robustgames.evaluation.rollouts import play
from robustgames.evaluation.side_by_side import SideBySide
from robustgames.experiment.control import ControlExperiment
from robustgames.experiment.folder import locked, read_result, write_result

ENV = "robustgames/ActionRobust-v0"
ALONE = {"alpha": 0.0}
WALKS, WALK_SEED = 10, 2_000
METHODS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "td3": ("TD3", "robust_td3", {}),
    "random_shifts": ("TD3, random shifts in training", "atla", {"adversary": "random"}),
    "sa_td3": ("SA-TD3, steps", "sa_td3", {}),
    "sa_td3_interval": ("SA-TD3, intervals", "sa_td3", {"sa_maximizer": "interval"}),
    "atla": ("ATLA", "atla", {}),
}
"""Methods: name in the table, agent, settings of its own."""


@dataclass(frozen=True)
class Options:
    """Train what is missing, attack it, and write the table.

    Attributes:
        env: Gymnasium id whose observation is a vector of numbers.
        methods: Methods to train; td3 comes first, also if it is not named, since its observations are the units.
        seeds: Runs of a method.
        seed: Seed of the first run.
        steps: Env steps of the protagonist.
        turn: Env steps of a turn of ATLA.
        train_eps: Radius of the balls in training, in standard deviations.
        eps: Radii of the balls in evaluation.
        kappa: Weight of SA-TD3's regularization.
        kappa_interval: Weight of that with intervals, whose bound is larger.
        episodes: Episodes of a run under each attack.
        attacker_steps: Env steps of the learned adversary of each run. 0 leaves it out.
        checkpoint: Env steps between two checkpoints of a training.
        out: Folder of the results.
        agent: Hyper-parameters of all methods.
    """

    env: str = "Pendulum-v1"
    methods: tuple[str, ...] = tuple(METHODS)
    seeds: int = 8
    seed: int = 0
    steps: int = 12_000
    turn: int = 2_000
    train_eps: float = 0.3
    eps: tuple[float, ...] = (0.15, 0.3)
    kappa: float = 10.0
    kappa_interval: float = 1.0
    episodes: int = 10
    attacker_steps: int = 8_000
    checkpoint: int = 10_000
    out: Path = Path("observations")
    agent: tyro.conf.OmitArgPrefixes[Agent] = field(default_factory=Agent)

    @property
    def names(self) -> list[str]:
        """The methods with td3, in the order in which they are trained."""
        return list(dict.fromkeys(["td3", *self.methods]))


def describe(name: str, options: Options, scale: Sequence[float]) -> dict[str, Any]:
    """Return the fields of the `ControlExperiment` of a method."""
    _, agent, own = METHODS[name]
    env, twice = {"env_id": options.env}, agent == "atla" and "adversary" not in own
    common, solver = options.agent.settings()
    settings = {**common, **own}
    if agent == "atla":
        env |= {"coupling": "observation", "eps": [options.train_eps * unit for unit in scale]}
        settings |= {"turn": options.turn}
    else:
        env |= ALONE
    if agent == "sa_td3":
        kappa = options.kappa_interval if "sa_maximizer" in own else options.kappa
        ramp = {"sa_start": options.steps // 4, "sa_ramp": options.steps // 4}
        settings |= {"sa_kappa": kappa, "sa_eps": options.train_eps, "sa_scale": list(scale), **ramp}
    steps = options.steps * (1 + twice)
    counts = {"steps": steps, "runs": options.seeds, "seed": options.seed}
    fields = {"agent": agent, "env": ENV, "settings": settings, "solver_settings": solver, "env_settings": env}
    return {**fields, **counts}


def train(name: str, options: Options, scale: Sequence[float]) -> tuple[ControlExperiment, Any]:
    """Return the experiment of a method and its trained agent; train it, or resume its training, if need be."""
    folder, fields = options.out / "training" / name, describe(name, options, scale)
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder / "settings.json", json.loads(json.dumps(fields)))
    begun = [path.parent for path in folder.rglob(CURRENT)]
    if begun and read_result(begun[0]) is None:
        experiment.resume(begun[0], False)
    made = ControlExperiment(device="cpu", checkpoint=options.checkpoint, **fields)
    run = begun[0] if begun else experiment.train(made, folder, False)[0]
    return made, whole_agent(made, run)


def units(agent: Any, options: Options) -> list[float]:
    """Return the standard deviations of the observations of the runs of an agent, (p,), averaged over runs."""
    with SideBySide(ENV, {"env_id": options.env, **ALONE}, WALKS) as envs:
        walks = [envs.play(agent.policy(run), WALKS, WALK_SEED).states for run in range(options.seeds)]
    return [float(np.float32(x)) for x in np.mean([np.std(np.concatenate(walk), 0) for walk in walks], 0)]


def attack(made: ControlExperiment, agent: Any, eps: float, scale: Sequence[float], options: Options) -> dict[str, Any]:
    """Return the returns of every run under every attack, {name: (runs, episodes)}."""
    subject, env = made.subject(agent), {"env_id": options.env}
    found = attack_observations(
        subject.policies,
        subject.differentiable,
        ENV,
        eps,
        ATTACKS,
        options.episodes,
        env_settings={**env, **ALONE},
        scale=np.array(scale),
    )
    returns = {"nominal": found.nominal, **found.returns}
    if options.attacker_steps:
        shifts = {**env, "coupling": "observation", "eps": tuple(eps * unit for unit in scale)}
        returns["learned"] = learned(subject.policies, shifts, options)
    return {name: values.tolist() for name, values in returns.items()}


def learned(policies: Sequence[Any], shifts: dict[str, Any], options: Options) -> np.ndarray:
    """Return the returns under adversaries that TD3 trains, one against each run, (runs, episodes)."""
    envs = make_separate(ENV, len(policies), shifts)
    episodes = PlayerEpisodes(envs, "adversary", 10_000 + options.seed, lambda run: [policies[run]])
    attacker = OnePlayerTD3(episodes, None, 10_000 + options.seed, len(policies), device="cpu")
    attacker.learn(options.attacker_steps)
    rows = [
        play(ENV, policy, options.episodes, adversary=attacker.policy(run), env_settings=shifts).returns
        for run, policy in enumerate(policies)
    ]
    attacker.close()
    return np.stack(rows)


def part(name: str, eps: float, options: Options) -> Path:
    """Return the file of the returns of a method at one radius."""
    return options.out / "returns" / f"{name}-eps{eps:g}.json"


def run_all(options: Options) -> None:
    """Train and attack every method."""
    scale: list[float] = []
    asked = {"episodes": options.episodes, "attacker_steps": options.attacker_steps}
    for name in options.names:
        made, agent = train(name, options, scale)
        scale = scale or units(agent, options)
        for eps in options.eps:
            path = part(name, eps, options)
            if path.exists():
                continue
            path.parent.mkdir(exist_ok=True)
            returns = attack(made, agent, eps, scale, options)
            write_result(path.parent, path.name, {**asked, "scale": scale, "returns": returns})
            print(f"{name}, eps {eps:g}: done", file=sys.stderr, flush=True)
        agent.close()


def table(options: Options) -> str:
    """Return the table in Markdown: means over runs and starts; differences to the first method, in pairs of runs."""
    lines = []
    for eps in options.eps:
        rows = {name: json.loads(part(name, eps, options).read_text())["returns"] for name in options.names}
        found = {name: {key: np.array(v) for key, v in row.items()} for name, row in rows.items()}
        for returns in found.values():
            attacks = [values for key, values in returns.items() if key != "nominal"]
            strongest = np.stack([values.mean(1) for values in attacks]).argmin(0)
            returns["worst"] = np.stack([attacks[k][run] for run, k in enumerate(strongest)])
        columns = list(next(iter(found.values())))
        control = "random_shifts" if "random_shifts" in found else "td3"
        lines += [f"eps {eps:g}", "", f"| method | {' | '.join(columns)} | worst − {METHODS[control][0]} |"]
        lines.append("|---" * (len(columns) + 2) + "|")
        for name, returns in found.items():
            cells = [str(of_returns(returns[key]).intervals()[0]) for key in columns]
            pair = "" if name == control else str(of_returns(returns["worst"] - found[control]["worst"]).intervals()[0])
            lines.append(f"| {METHODS[name][0]} | {' | '.join(cells)} | {pair} |")
        lines.append("")
    return "\n".join(lines)


def main(options: Options) -> int:
    """Run the experiment; return 2 if the input is wrong."""
    try:
        check_whole_numbers(options, seed=0, attacker_steps=0, seeds=1, steps=1, turn=1, episodes=1, checkpoint=1)
        for name in options.methods:
            if name not in METHODS:
                raise unknown("method", name, METHODS)
        with writing(options.out):
            options.out.mkdir(parents=True, exist_ok=True)
        with locked(options.out):
            asked = {key: value for key, value in asdict(options).items() if key not in ("out", "methods", "eps")}
            claim(options.out / "settings.json", json.loads(json.dumps(asked)))
            run_all(options)
            (options.out / "table.md").write_text(table(options))
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command continues", file=sys.stderr)
        return 130
    print((options.out / "table.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
