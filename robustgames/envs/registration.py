"""The ids, and how a user adds one.

An entry point is a string, so registering an env does not import it, nor PyTorch.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

import gymnasium as gym
from gymnasium.envs.registration import WrapperSpec

from robustgames.errors import GameError, shorten, unknown

if TYPE_CHECKING:
    from robustgames.games.game import Game

G = TypeVar("G", bound="type[Game]")

GAME, GAME_BATCH = "robustgames.envs.game_env:GameEnv", "robustgames.envs.game_env:GameVectorEnv"
CONTROLLED = "robustgames.envs.control.action_robust:ActionRobustEnv"
PHYSICS = "robustgames.envs.control"
PACKAGES = {  # MuJoCo 4 loads neither
    "gymnasium_robotics": 'pip install gymnasium-robotics "mujoco==3.10.0"',
    "shimmy": 'pip install "shimmy[dm-control]" "mujoco==3.17.0"',
}
"""{module of envs of others: how to install it}."""
ATTACKER = "robustgames.envs.black_box:BlackBoxAttack"

TOY, MATRIX = "robustgames.games.toy", "robustgames.games.matrix:MatrixGame"
ATTACK, TRAINING = "robustgames.games.attack", "robustgames.games.classification"
CYCLING, CONSTRAINED = "robustgames.games.cycling", "robustgames.games.constrained"
PLANAR, IMAGES = "robustgames.games.planar_gans", "robustgames.games.image_gans"

BUILT_IN: dict[str, dict[str, Any]] = {
    "robustgames/Bilinear-v0": {"game": f"{TOY}:Bilinear"},
    "robustgames/Quadratic-v0": {"game": f"{TOY}:Quadratic"},
    "robustgames/AlmostBilinear-v0": {"game": f"{TOY}:AlmostBilinear"},
    "robustgames/Forsaken-v0": {"game": f"{TOY}:Forsaken"},
    "robustgames/MatrixGame-v0": {"game": MATRIX},
    "robustgames/MatchingPennies-v0": {"game": MATRIX, "matrix": "matching_pennies"},
    "robustgames/RockPaperScissors-v0": {"game": MATRIX, "matrix": "rock_paper_scissors"},
    "robustgames/DiracGAN-v0": {"game": f"{TOY}:DiracGAN"},
    "robustgames/Polar-v0": {"game": f"{TOY}:Polar"},
    "robustgames/GlobalForsaken-v0": {"game": f"{CYCLING}:GlobalForsaken"},
    "robustgames/Letcher-v0": {"game": f"{CYCLING}:Letcher"},
    "robustgames/LetcherMarket-v0": {"game": f"{CYCLING}:LetcherMarket"},
    "robustgames/RidgeBox-v0": {"game": f"{CONSTRAINED}:RidgeBox"},
    "robustgames/StepBox-v0": {"game": f"{CONSTRAINED}:StepBox"},
    "robustgames/WeakMinty-v0": {"game": "robustgames.games.weak_minty:WeakMinty"},
    "robustgames/RatioGame-v0": {"game": "robustgames.games.ratio:RatioGame"},
    "robustgames/RandomMatrixGame-v0": {"game": "robustgames.games.matrix:RandomMatrixGame"},
    "robustgames/KuhnPoker-v0": {"game": "robustgames.games.sequence:KuhnPoker"},
    "robustgames/FiniteSumBilinear-v0": {"game": "robustgames.games.finite_sum:FiniteSumBilinear"},
    "robustgames/RobustRegression-v0": {"game": "robustgames.games.regression:RobustRegression"},
    "robustgames/LinearAttack-v0": {"game": f"{ATTACK}:LinearAttack"},
    "robustgames/DigitsAttack-v0": {"game": f"{ATTACK}:DigitsAttack"},
    "robustgames/MnistAttack-v0": {"game": f"{ATTACK}:MnistAttack"},
    "robustgames/DigitsAdversarial-v0": {"game": f"{TRAINING}:DigitsAdversarial"},
    "robustgames/MnistAdversarial-v0": {"game": f"{TRAINING}:MnistAdversarial"},
    "robustgames/GaussianMixture-v0": {"game": f"{PLANAR}:GaussianMixtureGAN"},
    "robustgames/GaussianRing-v0": {"game": f"{PLANAR}:GaussianRingGAN"},
    "robustgames/SwissRoll-v0": {"game": f"{PLANAR}:SwissRollGAN"},
    "robustgames/GaussianWGAN1D-v0": {"game": f"{PLANAR}:GaussianWGAN1D"},
    "robustgames/DigitsGAN-v0": {"game": f"{IMAGES}:DigitsGAN"},
    "robustgames/MnistGAN-v0": {"game": f"{IMAGES}:MnistGAN"},
    "robustgames/ImageGAN-v0": {"game": f"{IMAGES}:ImageGAN"},
}
ONE_PLAYER: dict[str, dict[str, Any]] = {
    "robustgames/DigitsBlackBox-v0": {"game": f"{ATTACK}:DigitsAttack"},
    "robustgames/MnistBlackBox-v0": {"game": f"{ATTACK}:MnistAttack", "patch": 4},
}
"""Envs for a reinforcement learner alone: the black-box attacker."""
CONTROL: dict[str, str] = {
    "robustgames/ActionRobustPendulum-v0": "Pendulum-v1",
    "robustgames/ActionRobustInvertedPendulum-v0": "InvertedPendulum-v5",
    "robustgames/ActionRobustHopper-v0": "Hopper-v5",
    "robustgames/ActionRobustWalker2d-v0": "Walker2d-v5",
    "robustgames/ActionRobustHalfCheetah-v0": "HalfCheetah-v5",
    "robustgames/ActionRobustAnt-v0": "Ant-v5",
    "robustgames/ActionRobustSwimmer-v0": "Swimmer-v5",
    "robustgames/ActionRobustReacher-v0": "Reacher-v5",
    "robustgames/ActionRobustHumanoid-v0": "Humanoid-v5",
    "robustgames/RobustPendulum-v0": "Pendulum-v1",
    "robustgames/RobustCartPole-v0": "CartPole-v1",
    "robustgames/RobustAcrobot-v0": "Acrobot-v1",
}
"""Control with an adversary; `robustgames/ActionRobust-v0` takes any other id as `env_id=`."""
BATCHED: dict[str, str] = {
    "robustgames/RobustPendulum-v0": f"{PHYSICS}.pendulum:RobustPendulumVectorEnv",
    "robustgames/RobustCartPole-v0": f"{PHYSICS}.cartpole:RobustCartPoleVectorEnv",
    "robustgames/RobustAcrobot-v0": f"{PHYSICS}.acrobot:RobustAcrobotVectorEnv",
}
"""The control envs of which `gym.make_vec` makes one batch in torch, and the classes of the batches."""
REPLACED = ("robustgames/RobustCartPole-v0", "robustgames/RobustAcrobot-v0")
"""Control envs with finitely many actions, of which the adversary replaces one, by coupling "probabilistic"."""
LARGEST_BATCH = 1_000_000


class ClassPath(str):
    """Name "module:Class" that holds the class itself, so the spec of an env can be written as JSON."""

    cls: type

    @classmethod
    def of(cls, game: type) -> ClassPath:
        """Return the path of a class."""
        path = cls(f"{game.__module__}:{game.__qualname__}")
        path.cls = game
        return path


@overload
def register(id: str) -> Callable[[G], G]: ...
@overload
def register(id: str, game: Game | type[Game] | str, **settings: Any) -> None: ...
def register(id: str, game: Game | type[Game] | str | None = None, **settings: Any) -> Callable[[G], G] | None:
    """Register a game as a Gymnasium id, for `gym.make`, `gym.make_vec` and `robustgames train`.

    Args:
        id: Id of the form "namespace/Name-v0".
        game: Game, its class, or "module:Class". Without it, `register(id)` decorates a class.
        **settings: Default arguments of the class.

    Raises:
        GameError: If the id is malformed.

    Example:
        >>> @register("mine/Saddle-v0")
        ... class Saddle(rg.ZeroSumGame):
        ...     sizes = (1, 1)
        ...     def payoff(self, x, y, sample):
        ...         return (x * x - y * y).sum(-1)
        >>> gym.make_vec("mine/Saddle-v0", num_envs=3).reset(seed=0)[0]["x"].shape
        torch.Size([3, 1])
    """
    if game is None:

        def decorate(cls: G) -> G:
            register(id, cls)
            return cls

        return decorate
    named = ClassPath.of(game) if isinstance(game, type) else game
    try:
        gym.register(id, entry_point=GAME, vector_entry_point=GAME_BATCH, kwargs={"game": named, **settings})
    except gym.error.Error as error:
        raise GameError(f"id {id!r} is malformed: write it as 'namespace/Name-v0'") from error
    return None


def register_all() -> None:
    """Register the package's own ids."""
    for id, settings in BUILT_IN.items():
        if id not in gym.registry:
            register(id, **settings)
    for id, settings in ONE_PLAYER.items():
        if id not in gym.registry:
            gym.register(id, entry_point=ATTACKER, kwargs=settings)
    for id, env_id in CONTROL.items():
        if id not in gym.registry:
            limit, settings = gym.spec(env_id).max_episode_steps, {"env_id": env_id}
            settings |= {"coupling": "probabilistic"} if id in REPLACED else {}
            gym.register(id, CONTROLLED, max_episode_steps=limit, vector_entry_point=BATCHED.get(id), kwargs=settings)
    if (id := "robustgames/ActionRobust-v0") not in gym.registry:
        limit = WrapperSpec("keep_time_limit", "robustgames.envs.control.action_robust:keep_time_limit", {})
        gym.register(id, entry_point=CONTROLLED, additional_wrappers=(limit,))


def entry_name(entry_point: Any) -> str | None:
    """Return "module:name" of an entry point, which may also be a class or missing."""
    if entry_point is None or isinstance(entry_point, str):
        return entry_point
    return f"{entry_point.__module__}:{getattr(entry_point, '__qualname__', '')}"


def is_batched(id: str) -> bool:
    """Return whether `gym.make_vec` makes one batch in torch of a registered id."""
    spec = gym.registry.get(id)
    return spec is not None and entry_name(spec.vector_entry_point) in BATCHED.values()


def game_ids() -> list[str]:
    """Return every registered id that is a game, the user's own included."""
    return sorted(id for id, spec in gym.registry.items() if entry_name(spec.entry_point) == GAME)


def control_ids() -> list[str]:
    """Return every registered id of a control env with an adversary, the user's own included."""
    return sorted(id for id, spec in gym.registry.items() if entry_name(spec.entry_point) == CONTROLLED)


def find_id(id: str, known: Callable[[], list[str]], listed: str = "robustgames list") -> str:
    """Import the module that an id may name; return the id without it.

    Raises:
        GameError: If the module or the id is unknown. The message shows close matches among `known()`, and the
            command `listed` that lists them.
    """
    module, _, name = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and error.name == module:
                how = PACKAGES.get(module, f"run from the folder of {module}.py")
                raise GameError(f"no module {module!r} for {id!r}: {how}") from error
            raise GameError(f"importing {module!r} failed with {type(error).__name__}: {error}") from error
    if name not in gym.registry:
        raise unknown("env", name, known(), listed)
    return name


def make(id: str, runs: int | None = None, **settings: Any) -> gym.Env | gym.vector.VectorEnv:
    """Make a game's env as Gymnasium does, with one-line errors.

    Args:
        id: Id of a game. It may name a module to import first, as in "my_games:mine/Ridge-v0".
        runs: Number of runs for `gym.make_vec`; `gym.make` is called if it is None.
        **settings: Settings of the env and of the game.

    Raises:
        GameError: If the module or the id is unknown, the id is not that of a game, or a setting is not a number.
    """
    name = find_id(id, game_ids)
    entry = entry_name(gym.spec(name).entry_point)
    if entry == CONTROLLED:
        raise GameError(f"{name} is control, not a game: robustgames train robust_ddpg {id}")
    if entry != GAME:
        control = f"robustgames train robust_ddpg robustgames/ActionRobust-v0 --set env_id={id}"
        raise GameError(f"{name} is not a game: `robustgames list` names the games; for control, {control}")
    _check_numbers(name, settings)
    return gym.make(name, **settings) if runs is None else gym.make_vec(name, num_envs=runs, **settings)


def _check_numbers(id: str, settings: dict[str, Any]) -> None:
    """Refuse words and lists for the settings of a game that are annotated as numbers."""
    from robustgames.envs.game_env import GameEnv, find_game

    game = find_game(gym.spec(id).kwargs["game"])
    batch = settings.get("batch_size")
    if isinstance(batch, int | float) and batch > LARGEST_BATCH:
        raise GameError(f"batch_size is {batch:,}: it must be at most {LARGEST_BATCH:,}, e.g. batch_size=128")
    made = [GameEnv, game] if isinstance(game, type) else [GameEnv]
    for name, parameter in [item for part in made for item in inspect.signature(part).parameters.items()]:
        kind = str(getattr(parameter.annotation, "__name__", parameter.annotation))
        value = settings.get(name)
        if kind in ("int", "float") and isinstance(value, str | list | dict):
            raise GameError(f"{id} cannot be made with {name}={shorten(repr(value))}: it must be a number ({kind})")
