"""The settings with which an agent starts on an env of this package, if no flag says otherwise.

A recipe's own defaults are those of its source, and serve any game. On the env of a row the command line, `train` and
`sweep`, uses the settings of the row instead; it prints them, and writes them to the config as if they had been typed.
In Python nothing is replaced: a recipe, `GameAgent` and `GameExperiment` have the defaults of their signatures, and
`defaults_of` returns a row. Every row is measured, see docs/explain/command_line.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

PREFIX, VERSION = "robustgames/", "-v0"  # of the ids of this package, which the tables leave out
STEPS = "steps"
"""Value of a setting that is to be the number of steps of the run."""

AGENTS: dict[str, str] = {
    "Bilinear": "extragradient",
    "Quadratic": "extragradient",
    "AlmostBilinear": "extragradient",
    "Forsaken": "extragradient",
    "MatrixGame": "optimistic_mwu",
    "MatchingPennies": "optimistic_mwu",
    "RockPaperScissors": "optimistic_mwu",
    "DiracGAN": "extragradient",
    "Polar": "extragradient",
    "GlobalForsaken": "eg_plus",
    "Letcher": "extragradient",
    "LetcherMarket": "extragradient",
    "RidgeBox": "extragradient",
    "StepBox": "extragradient",
    "WeakMinty": "eg_plus",
    "RatioGame": "optimistic_mwu",
    "RandomMatrixGame": "predictive_rm_plus",
    "KuhnPoker": "predictive_rm_plus",
    "FiniteSumBilinear": "same_sample_extragradient",
    "RobustRegression": "agraal",
    "LinearAttack": "pgd",
    "DigitsAttack": "pgd",
    "MnistAttack": "pgd",
    "DigitsAdversarial": "adversarial_training",
    "MnistAdversarial": "adversarial_training",
    "GaussianMixture": "extra_adam",
    "GaussianRing": "extra_adam",
    "SwissRoll": "extra_adam",
    "GaussianWGAN1D": "extragradient",
    "DigitsGAN": "adam",
    "MnistGAN": "adam",
    "ImageGAN": "adam",
}
"""{game: agent that does on it what its docstring says}."""

PLANAR, ADAMS = "GaussianMixture GaussianRing SwissRoll", "extra_adam optimistic_adam omd_adam"
CYCLES = "AlmostBilinear Forsaken Polar Letcher LetcherMarket"
GENERATOR = {"betas": (0.0, 0.99), "anneal": True, "average": 0.995}

DEFAULTS: dict[tuple[str, str], dict[str, Any]] = {
    # cycles of the flow: with the recipe's 0.1 a run misses them, or diverges from a start far out
    ("gda extragradient optimistic_gda", CYCLES): {"lr": 0.01},
    ("extragradient", "StepBox"): {"lr": 0.05},
    # a step as long as the weak Minty constant allows
    ("eg_plus", "WeakMinty"): {"lr": 0.5},
    ("optimistic_mwu", "MatchingPennies RockPaperScissors RandomMatrixGame"): {"lr": 0.3},
    ("mirror_prox", "MatchingPennies RockPaperScissors"): {"lr": 0.3},
    ("mirror_prox", "RandomMatrixGame"): {"lr": 1.0},
    # the noise of single terms keeps the last iterate as far from the saddle as it began
    ("same_sample_extragradient", "FiniteSumBilinear"): {"average": "uniform"},
    # 1e-3 covers a distance of 5 in 10,000 calls, and a constant rate stays at that of a step
    (ADAMS, "Bilinear Quadratic DiracGAN StepBox GaussianWGAN1D"): {"lr": 0.01, "anneal": True},
    ("pgd", "MnistAttack"): {"steps": 500},
    # without a ramp of the attack the network stays at chance; three steps of 0.083 do not reach eps = 0.3
    ("adversarial_training", "MnistAdversarial"): {
        "inner_steps": 4,
        "inner_lr": 0.15,
        "horizon": STEPS,
        "steps": 1000,
        "runs": 1,
    },
    ("extra_adam", PLANAR): {"lr": 8e-3, "anneal": True, "average": 0.995},
    ("adam", PLANAR): {"lr": 4e-3, "betas": (0.0, 0.9), "anneal": True, "average": 0.995},
    ("adam", "DigitsGAN"): {"lr": 1e-3, **GENERATOR, "steps": 4000, "runs": 2},
    ("adam", "MnistGAN"): {"lr": 5e-4, **GENERATOR, "steps": 4000, "runs": 1},
}
"""{(agents, games): settings}: of the agent, and average, anneal, steps and runs of `GameExperiment`."""


def id_of(game: str) -> str:
    """Return the id of a name in the tables."""
    return f"{PREFIX}{game}{VERSION}"


def agent_of(env: str) -> str:
    """Return the agent of `AGENTS` for the id of an env, and extragradient for others."""
    return AGENTS.get(env.removeprefix(PREFIX).removesuffix(VERSION), "extragradient")


def defaults_of(agent: str, env: str) -> dict[str, Any]:
    """Return the settings with which the command line starts an agent on an env; {} if they are the recipe's own.

    Args:
        agent: Name of the agent.
        env: Id of the env.

    Example:
        >>> defaults_of("extragradient", "robustgames/AlmostBilinear-v0")
        {'lr': 0.01}
    """
    found: dict[str, Any] = {}
    for (agents, games), settings in DEFAULTS.items():
        if agent in agents.split() and env in map(id_of, games.split()):
            found |= settings
    return found


def defaults_used(agent: str, env: str, given: Collection[str]) -> dict[str, Any]:
    """Return the settings of `defaults_of` that are in use because no flag was given for them.

    Args:
        agent: Name of the agent.
        env: Id of the env.
        given: Names of the settings that were given.
    """
    return {name: value for name, value in defaults_of(agent, env).items() if name not in given}


def in_words(settings: dict[str, Any]) -> str:
    """Return settings as they are typed.

    Example:
        >>> in_words({"lr": 8e-3, "betas": (0.0, 0.9), "anneal": True})
        '--lr 0.008 --betas 0 0.9 --anneal'
    """
    return " ".join(word for name, value in settings.items() for word in _typed(name, value))


def _typed(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    values = value if isinstance(value, tuple | list) else (value,)
    return [flag, *(f"{item:g}" if isinstance(item, float) else str(item) for item in values)]
