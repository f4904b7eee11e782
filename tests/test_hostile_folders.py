"""Run folders from strangers: no code of theirs runs, nothing hangs, nothing outside is written; one line, or right."""

import hashlib
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

import robustgames as rg
from robustgames import checkpoints, cli, experiment
from robustgames.disk import printable, write_new, write_whole
from robustgames.experiment import ControlExperiment, GameExperiment
from robustgames.experiment.folder import read_result

PENDULUM = "robustgames/ActionRobustPendulum-v0"
SECONDS, HANGS = 20, 120  # of the CPU, for a test; by the clock, which other work on the machine does not reach
EVIL = "import pathlib; pathlib.Path({canary!r}).write_text('ran')\n"

# -- the list of mutations ---------------------------------------------------------------------------------
CONFIG = [  # (text of config.yaml, its replacement)
    ("env: robustgames", "env: evil:robustgames"),
    ("env: robustgames/Bilinear-v0", "env: evil.sub:X/Y-v0"),
    ("env: robustgames/Bilinear-v0", "env: this:X/Y-v0"),
    ("env: robustgames/Bilinear-v0", "env: antigravity:X/Y-v0"),
    ("env: robustgames/Bilinear-v0", "env: 'evil:a:b'"),
    ("env: robustgames/Bilinear-v0", "env: ':evil'"),
    ("env: robustgames/Bilinear-v0", "env: nowhere:X/Y-v0"),
    ("env: robustgames/Bilinear-v0", "env: [evil]"),
    ("env: robustgames/Bilinear-v0", 'env: "robustgames/\\e[2J\\e]0;title\\a"'),
    ("env: robustgames/Bilinear-v0", 'env: "[red]x[/blue]"'),
    ("env: robustgames/Bilinear-v0", 'env: "a\\nb"'),
    ("env: robustgames/Bilinear-v0", "env: ../../x"),
    ("env: robustgames/Bilinear-v0", "env: null"),
    ("env_settings: {}", "env_settings: {game: evil:X}"),
    ("env_settings: {}", "env_settings: {game: evil}"),
    ("env_settings: {}", "env_settings: {game: evil.sub}"),
    ("env_settings: {}", "env_settings: {game: [evil]}"),
    ("env_settings: {}", "env_settings: {env_id: evil:X}"),
    ("env_settings: {}", "env_settings: {other: {deep: [evil:X]}}"),
    ("env_settings: {}", "env_settings: {evil:X: 1}"),
    ("env_settings: {}", "env_settings: {1: 2}"),
    ("env_settings: {}", "env_settings: [1]"),
    ("env_settings: {}", "env_settings: {noise: many}"),
    ("env_settings: {}", "env_settings: {wrappers: [evil]}"),
    ("env_settings: {}", "env_settings: {num_envs: 9}"),
    ("env_settings: {}", "env_settings: {bias: 2001-99-99}"),
    ("env_settings: {}", "env_settings: !!python/object/apply:os.system [touch CANARY]"),
    ("env_settings: {}", "env_settings: !!python/name:evil.X"),
    ("env_settings: {}", "env_settings: {a: &a [1], b: *a}"),
    ("env_settings: {}", "env_settings: &a {b: *a}"),
    ("env_settings: {}", "env_settings: {a: " + "[" * 25 + "]" * 25 + "}"),
    ("env_settings: {}", "env_settings: {a: " + "[" * 3000 + "]" * 3000 + "}"),
    ("env_settings: {}", "env_settings: {a: " + "9" * 5000 + "}"),
    ("env_settings: {}", "env_settings: {a: '" + "x" * 300_000 + "'}"),
    ("agent: extra_adam", "agent: evil:X"),
    ("agent: extra_adam", "agent: robust_ddpg"),
    ("agent: extra_adam", "agent: {a: 1}"),
    ("agent: extra_adam", "agent: 7"),
    ("  lr: 0.001", "  lr: evil:X"),
    ("  lr: 0.001", "  lr: [1]"),
    ("  lr: 0.001", "  unknown: 1"),
    ("steps: 40", "steps: -1"),
    ("steps: 40", "steps: many"),
    ("steps: 40", "steps: true"),
    ("seed: 0", "seed: 1.5"),
    ("runs: 2", "runs: 0"),
    ("runs: 2", "runs: 3"),
    ("runs: 2", "runs: [2]"),
    ("device: auto", "device: [1]"),
    ("device: auto", "device: evil:0"),
    ("average: null", "average: {a: 1}"),
    ("average: null", "average: evil:X"),
    ("compile: false", "compile: evil"),
    ("agent: extra_adam", "nothing: here"),
    ("agent: extra_adam", "\0"),
    ("agent: extra_adam", "- ]"),
]
KINDS = ["pipe", "folder", "link", "dangling", "zero", "empty", "bytes"]
PLACES = [
    "config.yaml",
    "checkpoint.safetensors",
    "previous.safetensors",
    "result.json",
    "progress.csv",
    "progress-40.csv",
    ".lock",
    ".seconds.json",
    "figures",
    "evaluation.json",
]
ENTRIES = ["z", "state", "generator", "solver", "seed", "timesteps", "steps", "fingerprint", "game"]
VALUES = {
    "missing": ...,
    "null": None,
    "negative": -1,
    "word": "x",
    "list": [],
    "dict": {},
    "large": 1e300,
    "deep": {"a": [[[[{"b": 1}]]]]},
    "tensor": torch.zeros(3, dtype=torch.float64),
    "bytes": torch.zeros(5056, dtype=torch.uint8),
}
RESULTS = [
    "[]",
    "1",
    "null",
    '"x"',
    "{}",
    "[" * 5000 + "]" * 5000,
    "{" + '"a": [' * 50 + "]" * 50 + "}",
    '{"agent": "\\u001b[2J", "env": "x"}',
    '{"agent": 1}',
    "NaN",
    "9" * 5000,
]
RESULT_ENTRIES = [("metrics", 1), ("metrics", {"residual": 1}), ("start", {"x": {}}), ("runs", "2"), ("env", "\x1b[2J")]

UNUSED = ("  - 8", "  - 9")  # the networks of a checkpoint have the sizes that it holds
CONTROL = [  # of a run of control: (what, how) as in `MUTATIONS`
    *(("config", ("agent: robust_ddpg", f"agent: {agent}")) for agent in ("robust_td3", "extra_adam", "evil:X")),
    *(("config", ("  alpha: 0.1", f"  alpha: {alpha}")) for alpha in ("-1", "[0.1, 0.2, 0.3]", "evil:X", "0.7")),
    *(("config", ("  alpha: 0.1", f"  {key}")) for key in ("env_id: evil:X-v0", "coupling: force", "perturbation: 5")),
    *(("config", ("  - 8", f"  - {size}")) for size in ("0", "evil:X", "99999999999")),
    ("config", UNUSED),
    *(("config", ("solver: adam", f"solver: {name}")) for name in ("evil:X", "mirror_descent", "[adam]")),
    ("config", ("solver_settings: {}", "solver_settings: {lr: evil:X}")),
    ("config", ("  batch_size: 8", "  batch_size: -1")),
    ("config", ("  buffer_size: 1000000", "  buffer_size: 10")),
    *(("content", (entry, value)) for entry in ("z", "practice", "episodes", "owed") for value in ("tensor", "dict")),
    ("cut", 1),
    ("flip", 1),
]

MUTATIONS = [
    *(("config", change) for change in CONFIG),
    *(("file", (place, kind)) for place in PLACES for kind in KINDS),
    *(("content", (entry, value)) for entry in ENTRIES for value in VALUES),
    *(("result", text) for text in RESULTS),
    *(("entry", change) for change in RESULT_ENTRIES),
    *(("cut", seed) for seed in range(10)),
    *(("flip", seed) for seed in range(10)),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A finished run of a game."""
    out = tmp_path_factory.mktemp("base")
    job = GameExperiment("extra_adam", "robustgames/Bilinear-v0", settings={"lr": 0.001}, steps=40, runs=2)
    folder, result = experiment.train(job, out, progress_bar=False)
    return folder, result["metrics"]


def content_of(folder):
    return checkpoints.load_checkpoint(folder)


def write_content(folder, content):
    """Write any content as a checkpoint whose digest is right."""
    tensors = {}
    text = json.dumps(checkpoints._pack(content, tensors), sort_keys=True)
    data = save(tensors, {"content": text, "digest": hashlib.sha256(text.encode() + save(tensors)).hexdigest()})
    for name in (checkpoints.CURRENT, checkpoints.PREVIOUS):
        (folder / name).write_bytes(data)


def plant(path, kind, outside):
    """Put something else in the place of a file."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("link", "dangling", "zero"):
        path.symlink_to({"link": outside, "dangling": outside.parent / "new", "zero": Path("/dev/zero")}[kind])
    else:
        path.write_bytes(b"" if kind == "empty" else np.random.default_rng(0).bytes(5000))


def mutate(folder, what, how, outside):
    """Apply one mutation of the list to a copy of the run."""
    config, checkpoint, result = (folder / n for n in ("config.yaml", checkpoints.CURRENT, "result.json"))
    if what == "config":
        text = config.read_text()
        assert how[0] in text
        config.write_text(text.replace(*how))
    elif what == "file":
        plant(folder / how[0], how[1], outside)
    elif what == "content":
        content, value = content_of(folder), VALUES[how[1]]
        content.pop(how[0])
        write_content(folder, content if value is ... else content | {how[0]: value})
    elif what == "result":
        result.write_text(how)
    elif what == "entry":
        result.write_text(json.dumps(json.loads(result.read_text()) | {how[0]: how[1]}))
    else:
        data, random = bytearray(checkpoint.read_bytes()), np.random.default_rng(how)
        at = int(random.integers(len(data)))
        if what == "flip":
            data[at] ^= int(random.integers(1, 256))
        checkpoint.write_bytes(data[:at] if what == "cut" else data)
        (folder / checkpoints.PREVIOUS).unlink()


@pytest.fixture
def alarm():
    """Fail a test that hangs."""

    def ring(number, frame):
        raise AssertionError(f"hangs: more than {HANGS} s")

    before, began = signal.signal(signal.SIGALRM, ring), time.process_time()
    signal.alarm(HANGS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert time.process_time() - began <= SECONDS


def name_of(mutation):
    return f"{mutation[0]}-{printable(str(mutation[1]))[:60]}"


def marked():
    """Yield the mutations; two of three of the contents and every second of the files are slow tests."""
    for i, mutation in enumerate(MUTATIONS):
        slow = {"content": i % 3 > 0, "file": i % 2 > 0}.get(mutation[0], False)
        yield pytest.param(mutation, id=name_of(mutation), marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("mutation", list(marked()))
def test_a_hostile_folder_is_one_line_or_the_right_result(mutation, base, tmp_path, monkeypatch, capsys, alarm):
    received, metrics = base
    folder, outside, canary = tmp_path / "received", tmp_path / "outside", tmp_path / "canary"
    shutil.copytree(received, folder)
    outside.write_text("mine")
    for name in ("evil.py", "matplotlib.py", "pygame.py", "X.py"):
        (folder / name).write_text(EVIL.format(canary=str(canary)))
    mutate(folder, *mutation, outside)
    monkeypatch.chdir(folder)
    resumed = [["train", "--resume", "."]] if mutation[0] in ("file", "result", "entry") else []
    for words in (["evaluate", "."], *resumed):
        code, (out, err) = cli.main(words), capsys.readouterr()
        assert code in (0, 2) and "Traceback" not in err and "\x1b" not in out + err
        refusals = [line for line in err.splitlines() if line.startswith("robustgames:")]
        if code == 2:
            assert len(refusals) == 1 and err.splitlines()[-1] == refusals[0]
        elif words[0] == "evaluate" and "using the previous checkpoint" not in err:
            found = json.loads((folder / "evaluation.json").read_text())["metrics"]
            assert {name: row["runs"] for name, row in found.items()} == {n: row["runs"] for n, row in metrics.items()}
    assert not canary.exists()
    assert outside.read_text() == "mine" and sorted(p.name for p in tmp_path.iterdir()) == ["outside", "received"]


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    """A finished run of control."""
    out = tmp_path_factory.mktemp("control")
    settings = {"hidden": [8], "batch_size": 8, "learning_starts": 10, "buffer_size": 1_000_000}
    env = {"alpha": 0.1}
    job = ControlExperiment("robust_ddpg", PENDULUM, settings=settings, env_settings=env, steps=20, runs=2)
    return experiment.train(job, out, progress_bar=False)[0]


@pytest.mark.parametrize("mutation", CONTROL, ids=name_of)
def test_a_hostile_run_of_control_is_one_line_or_the_right_result(
    mutation, control, tmp_path, monkeypatch, capsys, alarm
):
    folder, outside, canary = tmp_path / "received", tmp_path / "outside", tmp_path / "canary"
    shutil.copytree(control, folder)
    outside.write_text("mine")
    (folder / "evil.py").write_text(EVIL.format(canary=str(canary)))
    mutate(folder, *mutation, outside)
    monkeypatch.chdir(folder)
    for words in (
        ["evaluate", ".", "--grid", "mass=1,2", "--episodes", "1"],
        ["train", "--resume", ".", "--steps", "24"],
    ):
        code, (out, err) = cli.main(words), capsys.readouterr()
        assert code == (0 if mutation[1] == UNUSED else 2) and "Traceback" not in err and "\x1b" not in out + err
        assert sum(line.startswith("robustgames:") for line in err.splitlines()) == (code == 2)
    assert not canary.exists()


def test_there_are_200_of_them():
    assert len(MUTATIONS) >= 200 and len({name_of(m) for m in MUTATIONS}) >= 200


# -- who is asked ------------------------------------------------------------------------------------------
SADDLE = """
import pathlib
import robustgames as rg
pathlib.Path({canary!r}).write_text("ran")
@rg.register("{module}/Saddle-v0")
class Saddle(rg.ZeroSumGame):
    sizes = (1, 1)
    def payoff(self, x, y, sample):
        return (x * x - y * y).sum(-1)
"""


def project(folder, module, base):
    """Write a module with a game, and a run of it that names the module in its config."""
    folder.mkdir()
    (folder / f"{module}.py").write_text(SADDLE.format(canary=str(folder / "canary"), module=module))
    run = folder / "runs" / "one"
    shutil.copytree(base[0], run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("robustgames/Bilinear-v0", f"{module}:{module}/Saddle-v0"))
    shutil.rmtree(run / "figures")
    for name in (checkpoints.CURRENT, checkpoints.PREVIOUS, "result.json"):
        (run / name).unlink(missing_ok=True)
    game = GameExperiment("extra_adam", "robustgames/Quadratic-v0", runs=2)
    return run, game


def test_the_owner_of_a_run_is_not_asked_and_a_stranger_is(base, tmp_path, monkeypatch, capsys):
    """The module lies in a folder that contains the run: not asked. A copy of the run elsewhere: asked, by name."""
    run, _ = project(tmp_path / "mine", "hostile_own_module", base)
    monkeypatch.chdir(tmp_path / "mine")
    copied = tmp_path / "copied"
    shutil.copytree(run, copied)
    before = list(os.sys.path)
    assert cli.main(["evaluate", str(copied)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "names code (env: hostile_own_module:hostile_own_module/Saddle-v0): importing hostile_own_module runs" in said
    )
    assert str(tmp_path / "mine" / "hostile_own_module.py") in said and "--trust" in said
    assert not (tmp_path / "mine" / "canary").exists() and os.sys.path == before
    monkeypatch.setattr(os.sys, "path", before)
    assert cli.main(["evaluate", str(run)]) == 2  # has no checkpoint, but its module was imported
    assert "no checkpoint" in capsys.readouterr().err and (tmp_path / "mine" / "canary").exists()
    assert os.sys.path[-1] == str(tmp_path / "mine")


def test_with_trust_the_module_is_imported(base, tmp_path, monkeypatch, capsys):
    run, _ = project(tmp_path / "theirs", "hostile_trusted_module", base)
    shutil.copy(tmp_path / "theirs" / "hostile_trusted_module.py", run)
    monkeypatch.chdir(run)
    monkeypatch.setattr(os.sys, "path", list(os.sys.path))
    assert cli.main(["evaluate", "."]) == 2 and "--trust" in capsys.readouterr().err
    assert not (tmp_path / "theirs" / "canary").exists()
    assert cli.main(["evaluate", ".", "--trust"]) == 2 and "no checkpoint" in capsys.readouterr().err
    assert (tmp_path / "theirs" / "canary").exists()


def test_a_model_of_stable_baselines_is_not_unpickled_without_trust(tmp_path, monkeypatch, capsys):
    import stable_baselines3

    (tmp_path / "model.zip").write_bytes(b"PK")

    def load(*arguments, **options):
        raise AssertionError("unpickled")

    monkeypatch.setattr(stable_baselines3.TD3, "load", load)
    words = ["evaluate", str(tmp_path / "model.zip"), "--env", "robustgames/ActionRobustPendulum-v0"]
    assert cli.main(words) == 2
    assert "is a pickle of Stable-Baselines3, and loading it runs the code in it" in capsys.readouterr().err
    assert cli.main([*words, "--trust"]) == 2 and "unpickled" in capsys.readouterr().err


def test_settings_of_matplotlib_in_the_current_folder_are_not_read(tmp_path):
    import subprocess
    import sys

    (tmp_path / "matplotlibrc").write_text("figure.dpi: 7\n")
    root = str(Path(rg.__file__).parents[1])
    code = f"""
import sys
sys.path.insert(0, {root!r})
from robustgames import cli
cli.main(["evaluate", "none"])
import matplotlib
print(matplotlib.rcParams["figure.dpi"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split()[-1] == "100.0"


# -- files -------------------------------------------------------------------------------------------------
def test_links_at_temporary_names_are_not_followed(base, tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(base[0], folder)
    outside.write_text("mine")
    for name in (f"{checkpoints.CURRENT}.new", "result.json.new", "evaluation.json.new", "config.yaml.new"):
        (folder / name).symlink_to(outside)
    checkpoints.save_checkpoint(folder, content_of(folder))
    assert outside.read_text() == "mine" and not (folder / f"{checkpoints.CURRENT}.new").is_symlink()
    assert not (folder / checkpoints.CURRENT).is_symlink()


def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_kept(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("mine")
    link.symlink_to(target)
    write_whole(link, b"new")
    assert target.read_text() == "mine" and link.read_bytes() == b"new" and not link.is_symlink()


def test_what_a_killed_process_left_is_removed_and_what_another_one_writes_is_kept(base, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(base[0], folder)
    child = os.fork()
    if child == 0:
        os.replace = lambda *paths: os._exit(0)  # killed before the rename
        write_whole(folder / "figures" / "portrait.png", b"x")
    os.waitpid(child, 0)
    (left,) = (folder / "figures").glob("portrait.png.*.new")
    written = write_new(folder / "figures" / "other.png", b"y")  # by this process, which lives
    mine = folder / "my.new"
    mine.write_text("mine")
    for work in (experiment.resume, experiment.evaluate):
        assert work(folder, **({"progress_bar": False} if work is experiment.resume else {}))
        assert not left.exists() and written.exists() and mine.exists()
        left.write_bytes(b"x")


def test_many_writers_of_one_path_leave_one_whole_file(tmp_path):
    contents = [bytes([i]) * 100_000 for i in range(8)]
    threads = [threading.Thread(target=write_whole, args=(tmp_path / "f", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "f").read_bytes() in contents and [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_changed_result_is_computed_again(base, tmp_path):
    folder, metrics = tmp_path / "run", base[1]
    shutil.copytree(base[0], folder)
    (folder / "result.json").write_text('{"agent": "extra_adam", "metrics": 3}')
    with pytest.warns(UserWarning, match="it is ignored"):
        _, result = experiment.resume(folder, progress_bar=False)
    assert result["metrics"] == metrics and read_result(folder)["metrics"] == metrics


# -- the reader of checkpoints -----------------------------------------------------------------------------
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
QUIET = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@QUIET
@given(entry=st.sampled_from(ENTRIES), value=JSON)
def test_any_content_with_a_right_digest_is_restored_or_refused(base, tmp_path_factory, entry, value):
    folder = tmp_path_factory.mktemp("content")
    write_content(folder, content_of(base[0]) | {entry: value})
    env = rg.GameVectorEnv("robustgames.games.toy:Bilinear", num_envs=2)
    try:
        agent = rg.GameAgent.load(folder, env)
    except rg.GameError as refused:
        assert "\n" not in str(refused)
    else:
        agent.learn(4, reset_num_timesteps=False)
        assert entry in ("game", "seed", "timesteps", "steps", "solver")


@QUIET
@given(data=st.binary(max_size=300), cut=st.integers(0, 3000), flips=st.lists(st.integers(0, 2**16), max_size=3))
def test_any_bytes_are_a_checkpoint_or_refused(base, tmp_path_factory, data, cut, flips):
    folder, whole = tmp_path_factory.mktemp("bytes"), (base[0] / checkpoints.CURRENT).read_bytes()
    changed = bytearray(whole[: len(whole) - cut])
    for flip in flips:
        changed[flip % len(changed)] ^= 1 + flip % 255
    for content in (data, bytes(changed)):
        (folder / checkpoints.CURRENT).write_bytes(content)
        if content == whole:
            continue
        try:
            found = checkpoints.load_checkpoint(folder)
        except rg.GameError as refused:
            assert "\n" not in str(refused)
        else:  # a flip in the padding or in the order of the header
            with safe_open(folder / checkpoints.CURRENT, "pt") as file:
                assert json.loads(file.metadata()["content"])["timesteps"] == found["timesteps"] == 40
