"""Checkpoints whose content was changed, with a right digest: restored, or refused in one line; older ones."""

import hashlib
import json
import warnings

import pytest
import torch
from safetensors.torch import save

import robustgames as rg
from robustgames import checkpoints
from robustgames.agents import RobustDDPG, RobustTD3
from robustgames.agents.robust_ddpg import OLDER

VALUES = {
    "missing": ...,
    "null": None,
    "negative": -1,
    "large": 10**12,
    "word": "x",
    "list": [],
    "dict": {},
    "number": 1e300,
    "deep": {"a": [[[[{"b": 1}]]]]},
    "scalar": torch.tensor(1.0),
    "double": torch.zeros(3, dtype=torch.float64),
    "bytes": torch.zeros(20, dtype=torch.uint8),
    "empty": torch.empty(0),
}
SMALL = {"learning_starts": 5, "batch_size": 4, "hidden": (4,), "buffer_size": 40}
SINGLE, BATCH = "robustgames/ActionRobustPendulum-v0", "robustgames/RobustPendulum-v0"
KINDS = {
    "gaussian": (RobustDDPG, SINGLE, {"runs": 2}),
    "ou": (RobustTD3, SINGLE, {"exploration": "ou", "normalize": True}),
    "parameter": (RobustDDPG, BATCH, {"runs": 2, "exploration": "parameter"}),
    "langevin": (RobustDDPG, BATCH, {"runs": 2, "solver": "extra_adam"}),
}


def trained(kind):
    make, env, options = KINDS[kind]
    return make(env, **SMALL, **options).learn(8)


def write(folder, content):
    """Write any content as a checkpoint whose digest is right."""
    tensors = {}
    text = json.dumps(checkpoints._pack(content, tensors), sort_keys=True)
    data = save(tensors, {"content": text, "digest": hashlib.sha256(text.encode() + save(tensors)).hexdigest()})
    (folder / checkpoints.CURRENT).unlink()  # tensors that were loaded from it are views of it
    (folder / checkpoints.CURRENT).write_bytes(data)


def paths(tree, path=()):
    """Yield the ways to all nodes of a tree but its root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths(item, (*path, key))


def changed(tree, path, value):
    """Return a tree with another value at the end of a path, or without it."""
    key, *rest = path
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    if rest:
        copy[key] = changed(tree[key], rest, value)
    elif value is ...:
        copy.pop(key)
    else:
        copy[key] = value
    return copy


def outcome(make, env, folder):
    """Return what is wrong with loading a checkpoint and learning from there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make.load(folder, env).learn(3, reset_num_timesteps=False)
    except rg.GameError as refused:
        return "more than one line" if "\n" in str(refused) else ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_control_checkpoint_is_restored_or_refused_in_one_line(kind, tmp_path):
    trained(kind).save(tmp_path)
    content, wrong = checkpoints.load_checkpoint(tmp_path), {}
    for path in paths(content):
        if path[0] in ("settings", "solver"):  # arguments, which their classes check
            continue
        for name, value in VALUES.items():
            write(tmp_path, changed(content, path, value))
            if said := outcome(*KINDS[kind][:2], tmp_path):
                wrong["/".join(map(str, path)), name] = said
    assert not wrong, "\n".join(f"{where}: {said[:150]}" for where, said in wrong.items())


@pytest.mark.parametrize("kind", ["gaussian", "ou", "parameter"])
def test_tensors_of_another_shape_or_type_are_refused(kind, tmp_path):
    """Not only restored without an error: a tensor that broadcasts would be silently wrong."""
    trained(kind).save(tmp_path)
    make, env, _ = KINDS[kind]
    content = checkpoints.load_checkpoint(tmp_path)
    for path in paths(content):
        found = content
        for key in path:
            found = found[key]
        if not isinstance(found, torch.Tensor) or found.dtype == torch.uint8 or found.numel() == 0:
            continue
        for other in (
            found.double() if found.dtype == torch.float32 else found.float(),
            found.flatten()[:1],
            found[None],
        ):
            write(tmp_path, changed(content, path, other))
            with pytest.raises(rg.GameError, match=r"checkpoint|the saved replay"):
                make.load(tmp_path, env)


# -- earlier versions --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["gaussian", "parameter"])
def test_a_control_checkpoint_of_an_earlier_version_continues_with_new_streams(kind, tmp_path):
    """0.1.0 drew all runs from one generator, and had neither numbers of episodes nor updates that are owed."""
    agent = trained(kind)
    agent.save(tmp_path)
    content = checkpoints.load_checkpoint(tmp_path)
    content["generator"] = torch.Generator().manual_seed(3).get_state()
    for name in ("owed", "callbacks"):
        del content[name]
    episodes = content["episodes"]
    for part in episodes.get("runs", {}).values():
        del part["episode"], part["lost"]
    if "resets" in episodes:
        del episodes["resets"], episodes["lost"]
        episodes["env"]["generator"] = torch.Generator().manual_seed(4).get_state()
    content["behavior"].pop("episode", None)
    if "block" in content["behavior"]:
        content["behavior"]["block"] = content["behavior"]["block"].transpose(0, 1).contiguous()
    write(tmp_path, content)
    make, env, _ = KINDS[kind]
    with pytest.warns(UserWarning, match=OLDER[:30]):
        other = make.load(tmp_path, env)
    assert torch.equal(other.z, agent.z) and other.num_timesteps == 8 and other.practice.replay.size == 8
    assert torch.equal(other.practice.replay.state_dict()["rows"], agent.practice.replay.state_dict()["rows"])
    assert other.learn(30, reset_num_timesteps=False).num_timesteps == 38


def entropic(tmp_path, zero=False):
    """Return a checkpoint of 0.1.0, which kept probabilities and no log-weights, and the agent."""
    agent = rg.GameAgent("robustgames/MatchingPennies-v0", rg.make_solver("mirror_descent", lr=0.1)).learn(20)
    agent.save(tmp_path)
    content = checkpoints.load_checkpoint(tmp_path)
    for path in [path for path in paths(content["state"]) if path[-1] == "w"]:
        content["state"] = changed(content["state"], path, ...)
    if zero:
        content["z"] = torch.tensor([0.0, 1.0, 0.5, 0.5]).expand_as(content["z"]).clone()
    write(tmp_path, content)
    return agent


def test_an_earlier_checkpoint_without_log_weights_continues_from_the_probabilities(tmp_path):
    agent = entropic(tmp_path)
    other = rg.GameAgent.load(tmp_path, "robustgames/MatchingPennies-v0")
    for one in (agent, other):
        one.learn(20, reset_num_timesteps=False)
    torch.testing.assert_close(agent.z, other.z, rtol=0, atol=1e-6)


def test_an_earlier_checkpoint_with_a_dead_action_is_refused(tmp_path):
    entropic(tmp_path, zero=True)
    with pytest.raises(rg.GameError, match=r"an action of probability 0 could not return, .*: repeat the run"):
        rg.GameAgent.load(tmp_path, "robustgames/MatchingPennies-v0")
