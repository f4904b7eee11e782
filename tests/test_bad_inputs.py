"""Bad input to every command: one line that says what is wrong, exit code 2, and nothing left behind.

The command lines are data: `bad_inputs.txt`, where {run}, {control} ... are the folders of `places`. `hostile/` holds
modules of users with one mistake each.
"""

import os
import re
import shlex
import shutil
import signal
import time
import zipfile
from pathlib import Path

import pytest

from robustgames.agents import GameAgent
from robustgames.attacks.victim import Victim
from robustgames.cli import main
from robustgames.envs import ActionRobustEnv
from robustgames.envs.control.pendulum import RobustPendulumVectorEnv

HERE = Path(__file__).parent
LONGEST, SECONDS = 430, 5  # characters of the line with its label; CPU seconds of a command
BARS = re.compile(r"\d\s*(call|step)s?\b.*\[|\|.*\[\d\d:\d\d|^evaluating")
BEGUN = re.compile("to continue: robustgames train --resume|diverged")  # a run folder remains once training has begun


def sections():
    """Return {title: lines} of the list."""
    found = {}
    for line in (HERE / "bad_inputs.txt").read_text().splitlines():
        if line.startswith("# "):
            found[line[2:]] = lines = []
        elif line:
            lines.append(line)
    return found


SECTIONS = sections()


def only_run(folder):
    (config,) = folder.rglob("config.yaml")
    return config.parent


def train(words, out):
    assert main([*shlex.split(words), "--out", str(out)]) == 0
    return only_run(out)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The folders and files that the list names, and the folder of the users' modules."""
    work = tmp_path_factory.mktemp("bad")
    short = "--steps 20 --runs"
    known = {
        "run": train(f"train gda robustgames/Quadratic-v0 {short} 2", work / "game"),
        "control": train(f"train robust_ddpg robustgames/ActionRobustPendulum-v0 {short} 1", work / "control"),
        "classifier": train(f"train standard_training robustgames/DigitsAdversarial-v0 {short} 1", work / "digits"),
    }
    configs = {"badyaml": b"a: [", "list": b"- 1\n", "binary": bytes(range(128, 256))}
    configs["unknown_agent"] = b"agent: nope\nenv: robustgames/Quadratic-v0\n"
    for name, config in configs.items():
        (work / name).mkdir()
        (work / name / "config.yaml").write_bytes(config)
    for name in ("empty", "noyaml"):
        (work / name).mkdir()
    (work / "noyaml" / "result.json").write_text("{}")
    for name in ("text", "text.zip"):
        (work / name).write_text("hello\n")
    with zipfile.ZipFile(work / "real.zip", "w") as file:
        file.writestr("data", "x")
    for name in ("nocheckpoint", "cut", "foreign"):
        shutil.copytree(known["run"], work / name)
        for path in (work / name).glob("*.safetensors"):
            path.write_bytes(path.read_bytes()[:100]) if name == "cut" else path.unlink()
    shutil.copy(known["control"] / "checkpoint.safetensors", work / "foreign")
    shutil.copytree(HERE / "hostile", work / "here", ignore=shutil.ignore_patterns("__pycache__"))
    (work / "here" / "syntax.py").write_text("def f(:\n")
    names = ("empty", "text", "noyaml", "nocheckpoint", "cut", "foreign", *configs)
    return work / "here", {**known, "zip": work / "real.zip", **{name: work / name for name in names}}


def _meets(line):
    """Return whether a line is refused for what an env or network of somebody else does in a step."""
    return any(word in line for word in ("badenvs:", "--model mods:", "env_id=Pendulum-v1 g=nan"))


def files():
    found = {path for path in Path().rglob("*") if "__pycache__" not in path.parts}
    return found, {path for path in found if path.name == "config.yaml"}


def out_of_time(*_):
    raise TimeoutError("the command hangs")


STEPS = ((ActionRobustEnv, "step"), (RobustPendulumVectorEnv, "step"), (GameAgent, "_advance"), (Victim, "logits"))


@pytest.fixture
def steps(monkeypatch):
    """Yield the list to which every step of an env or a solver, and every pass of an attacked network, is added."""
    taken = []

    def counted(real):
        def step(self, *arguments, **keywords):
            taken.append(real.__qualname__)
            return real(self, *arguments, **keywords)

        return step

    for kind, name in STEPS:
        monkeypatch.setattr(kind, name, counted(getattr(kind, name)))
    return taken


def problems(line, known, capsys, taken=()):
    """Return what is wrong with the reply to a command line."""
    words = shlex.split(line)
    for name, path in known.items():
        words = [word.replace(f"{{{name}}}", str(path)) for word in words]
    before, began, stepped = files()[0], time.process_time(), len(taken)
    capsys.readouterr()
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(300)  # for a command that hangs
    try:
        code = main(words)
    except BaseException as error:
        code = f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    seconds, error = time.process_time() - began, capsys.readouterr().err
    printed = [text for text in re.split("[\r\n]", error) if text.strip() and not BARS.search(text)]
    printed = [text for text in printed if not text.startswith("warning:")]
    left = sorted(str(path) for path in files()[0] - before)
    shutil.rmtree("runs", ignore_errors=True)
    begun = len(printed) == 1 and BEGUN.search(printed[0])
    checks = {
        f"exit code {code!r}": code != 2,
        f"{len(printed)} lines": len(printed) != 1,
        "too long": any(len(text) > LONGEST for text in printed),
        f"left behind: {left[:2]}": bool(left) and not begun,
        f"{seconds:.0f} s": seconds > SECONDS,
        f"{len(taken) - stepped} steps": len(taken) > stepped and not begun and not _meets(line),
    }
    return [what for what, wrong in checks.items() if wrong], printed


@pytest.mark.parametrize("title", SECTIONS)
def test_bad_input_gets_one_line_and_exit_code_2_before_any_step(title, places, monkeypatch, capsys, steps):
    here, known = places
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    wrong = {}
    for line in SECTIONS[title]:
        found, printed = problems(line, known, capsys, steps)
        if found:
            wrong[line[:150]] = (found, printed)
    assert not wrong, "\n".join(f"{line}\n    {found}\n    {printed}" for line, (found, printed) in wrong.items())


def test_the_list_is_long_and_has_no_line_twice():
    lines = [line for lines in SECTIONS.values() for line in lines]
    assert len(lines) == len(set(lines)) >= 500
    assert not os.path.exists("/nowhere")


ORIGINS = {
    "train gda badgames:mine/Raises-v0 --steps 5": ("badgames.py:20", "not today"),
    "train gda badgames:mine/Exits-v0 --steps 5": ("badgames.py:123", "sys.exit(0)"),
    "train gda badgames:mine/NanPayoff-v0 --steps 5": ("badgames.py:76", "not finite"),
    "train gda badgames:mine/ProjectNan-v0 --steps 5": ("badgames.py:156", "diverged"),
    "train gda syntax:mine/X-v0": ("syntax.py:1", "SyntaxError"),
    "train gda exiting:mine/X-v0": ("exiting.py:3", "sys.exit(0)"),
    "train gda raising:mine/X-v0": ("raising.py:1", "no license"),
    "attack --model mods:raises_midway --data digits --images 10 --attack fgsm": ("mods.py:48", "no more today"),
    "attack --model mods:exits --data digits --images 10 --attack fgsm": ("mods.py:22", "sys.exit(0)"),
}
ENV = "train robust_ddpg robustgames/ActionRobust-v0 --steps 40 --runs 1 --set env_id=badenvs:bad/{}-v0"
ORIGINS |= {
    ENV.format("StepRaises"): ("badenvs.py:41", "the motor is hot"),
    ENV.format("StepExits"): ("badenvs.py:112", "sys.exit(0)"),
    ENV.format("StepFour"): ("badenvs.py:45", "unpack"),
    ENV.format("RewardString"): ("badenvs.py:55", "one"),
    ENV.format("RewardNan"): ("badenvs.py:65", "nan"),
}


@pytest.mark.parametrize("line", ORIGINS)
def test_an_error_of_users_code_names_its_file_and_line(line, places, monkeypatch, capsys):
    here, known = places
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    found, printed = problems(line, known, capsys)
    assert not found
    for words in ORIGINS[line]:
        assert words in printed[0]
