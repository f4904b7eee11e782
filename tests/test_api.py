"""The public interface is written down in api.txt, so that it changes knowingly.

`python tests/test_api.py > tests/api.txt` writes the list again.
"""

import importlib
import inspect
import re
from pathlib import Path

# what README and docs show; everything else may change without notice
MODULES = (
    "robustgames",
    "robustgames.attacks",
    "robustgames.certificates",
    "robustgames.data",
    "robustgames.data.corruptions",
    "robustgames.envs",
    "robustgames.envs.parallel",
    "robustgames.evaluation",
    "robustgames.evaluation.action_bounds",
    "robustgames.evaluation.generators",
    "robustgames.evaluation.modes",
    "robustgames.evaluation.observation_attacks",
    "robustgames.evaluation.policy_smoothing",
    "robustgames.evaluation.robustness",
    "robustgames.evaluation.smoothed_episodes",
    "robustgames.evaluation.transport",
    "robustgames.evaluation.under_corruption",
    "robustgames.evaluation.worst_case",
    "robustgames.experiment",
    "robustgames.figures",
    "robustgames.games",
    "robustgames.games.densities",
    "robustgames.solvers",
    "robustgames.solvers.danskin",
    "robustgames.solvers.diagnostics",
    "robustgames.sweeps",
    "robustgames.testing",
    "robustgames.zoo",
)


def public_names(module):
    """Return the names in `__all__`, or else the public functions and classes that a module defines."""
    listed = getattr(module, "__all__", None)
    own = (n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__)
    return sorted(listed if listed is not None else (n for n in own if not n.startswith("_")))


def signature(function):
    """Return the parameters of a function with their defaults, without annotations."""
    parameters = inspect.signature(function).parameters.values()
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters if p.name != "self"]
    return re.sub(r"<(?:function|class) ['\"]?([\w.]+).*?>", r"\1", str(inspect.Signature(bare)))  # no addresses


def lines_of(path, value):
    """Yield a line for a function, a constant or a module, and for a class also its own methods and attributes."""
    if not inspect.isclass(value):
        yield f"{path}{signature(value) if inspect.isfunction(value) else ''}"
        return
    yield f"{path}{signature(value.__init__) if inspect.isfunction(value.__init__) else ''}"
    for name, member in sorted(vars(value).items()):
        if not name.startswith("_"):
            function = getattr(member, "__func__", member)
            yield f"    .{name}{signature(function) if inspect.isfunction(function) else ''}"


def interface():
    """Return the public interface as text; a name that several modules export is described where it comes first."""
    seen, lines = {}, []
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        lines.append(f"# {module_name}")
        for name in public_names(module):
            value = getattr(module, name)
            described = inspect.isclass(value) or inspect.isfunction(value)
            if described and id(value) in seen:
                lines.append(f"{name} = {seen[id(value)]}")
                continue
            seen[id(value)] = f"{module_name}.{name}"
            lines += lines_of(name, value)
        lines.append("")
    return "\n".join(lines)


def test_public_interface_is_the_one_written_down():
    written = (Path(__file__).parent / "api.txt").read_text()
    assert interface().strip().split("\n") == written.strip().split("\n"), "see the docstring of this file"


if __name__ == "__main__":
    print(interface())
