"""Attacks on models and inputs out of the ordinary: not finite, masked, narrow, in place, or written otherwise."""

import functools
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from robustgames import attacks
from robustgames.attacks.inputs import per_row
from robustgames.attacks.narrow import round_toward
from robustgames.attacks.reach import reachable_modules
from robustgames.errors import GameError

EPS = 0.1
BALL = {
    "fgsm": attacks.fgsm,
    "pgd": functools.partial(attacks.pgd, steps=5),
    "apgd": functools.partial(attacks.apgd, steps=8),
    "mm": functools.partial(attacks.mm, steps=4),
    "square": functools.partial(attacks.square, queries=30),
    "fab": functools.partial(attacks.fab, steps=6),
    "apgd_targeted": functools.partial(attacks.apgd_targeted, steps=5, loss="margin"),
    "fab_targeted": functools.partial(attacks.fab_targeted, steps=6),
}
SMALL = {
    "ddn": functools.partial(attacks.ddn, steps=10),
    "fmn": functools.partial(attacks.fmn, steps=10),
    "deepfool": functools.partial(attacks.deepfool, steps=10),
}
ALL = {**BALL, **{name: (lambda m, x, y, eps, f=f, **k: f(m, x, y, **k)) for name, f in SMALL.items()}}
every_attack = pytest.mark.parametrize("attack", ALL.values(), ids=list(ALL))
WHITE = {name: attack for name, attack in ALL.items() if name != "square"}
white_box = pytest.mark.parametrize("attack", WHITE.values(), ids=list(WHITE))


def network(classes=4, seed=0):
    """A random network whose classes are equally likely on the images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, classes)).eval()
    with torch.no_grad():
        net[-1].bias -= net(inputs(40)).mean(0)
    return net


def inputs(count):
    return 0.2 + 0.6 * torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(1))


def images(count=8):
    return inputs(count), network()(inputs(count)).argmax(-1)


# -- not finite ---------------------------------------------------------------------------------------------------
@every_attack
def test_logits_that_become_nan_during_the_search_are_an_error(attack):
    net, (x, y) = network(), images()
    calls = [0]

    def model(a):
        calls[0] += 1
        return net(a).masked_fill((torch.arange(len(a)) < 2).unsqueeze(-1) & (calls[0] > 1), float("nan"))

    if attack is attacks.fgsm:  # a single pass
        return
    with pytest.raises(GameError, match=r"logits that are not finite for [12] of \d+ inputs: look at its weights"):
        attack(model, x, y, EPS)


@pytest.mark.parametrize("start", range(1, 16))
def test_logits_that_become_nan_at_any_stage_of_an_evaluation_are_an_error(start):
    net, (x, y) = network(), images()
    calls = [0]

    def model(a):
        calls[0] += 1
        return net(a) * (float("nan") if calls[0] == start else 1)

    with pytest.raises(GameError, match=r"not finite for \d of \d inputs"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attacks.evaluate(model, x, y, 0.005, attacks=("fgsm", "pgd"), self_checks=start % 2 == 0)


def nan_at(rows):
    """Return a model whose gradient is NaN at inputs whose first number is exactly 0.5, and what it is otherwise."""
    net = network()

    class Spoil(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z, mask):
            ctx.save_for_backward(mask)
            return z.clone()

        @staticmethod
        def backward(ctx, g):
            return torch.where(ctx.saved_tensors[0], float("nan"), g), None

    def model(a):
        if len(a) != rows.shape[0]:
            return net(a)
        return net(Spoil.apply(a, rows.view(-1, 1, 1, 1)))

    return net, model


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "mm"])
def test_rows_with_a_nan_gradient_stay_and_are_counted(name):
    x, y = images()
    rows = torch.arange(8) < 3
    net, model = nan_at(rows)
    with pytest.warns(UserWarning, match="the gradient of 3 of 8 inputs is NaN: they stay where they are") as caught:
        out = BALL[name](model, x, y, EPS)
    assert sum("is NaN" in str(w.message) for w in caught) == 1
    assert torch.isfinite(out).all() and (out - x).abs().max() <= EPS + 1e-6
    assert torch.equal(out[~rows], BALL[name](net, x, y, EPS)[~rows])
    if name in ("fgsm", "mm"):  # they start from x
        assert torch.equal(out[rows], x[rows])


@pytest.mark.parametrize("name", ["ddn", "fmn", "deepfool", "fab"])
def test_minimum_norm_attacks_return_no_nan(name):
    x, y = images()
    rows = torch.arange(8) < 3
    net, model = nan_at(rows)
    more = () if name in SMALL else (9.0,)
    with pytest.warns(UserWarning, match=r"the gradient of \d of 8 inputs is NaN"):
        out = {**BALL, **SMALL}[name](model, x, y, *more)
    fooled = net(out).argmax(-1) != y
    same = (out == x).flatten(1).all(-1)
    assert torch.isfinite(out).all() and (fooled | same).all() and out.min() >= 0 and out.max() <= 1
    if name != "deepfool":
        assert same[rows].all()


STAYING = {
    **{name: BALL[name] for name in ("fgsm", "pgd", "apgd", "mm")},
    "pgd with momentum": functools.partial(attacks.pgd, steps=8, momentum=1.0),
    "pgd drop": functools.partial(attacks.pgd, steps=8, early="drop"),
    "pgd last": functools.partial(attacks.pgd, steps=8, early="last"),
    "apgd l2": functools.partial(attacks.apgd, norm="l2", steps=20),
    "pgd l1": functools.partial(attacks.pgd, norm="l1", steps=8),  # apgd shrinks its ball between phases
    "ddn": ALL["ddn"],
    "fmn": ALL["fmn"],
}


@pytest.mark.parametrize("start", [1, 2, 4])
@pytest.mark.parametrize("attack", STAYING.values(), ids=list(STAYING))
def test_a_row_is_where_its_gradient_became_nan(attack, start):
    """The gradient of the first three rows is NaN from pass `start` on: every later pass sees them unchanged."""
    (x, y), net, seen = images(), network(), []

    class Spoil(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return a.clone()

        @staticmethod
        def backward(ctx, g):
            lost = (torch.arange(len(g)) < 3) & (len(seen) >= start)
            return torch.where(lost.view(-1, 1, 1, 1), float("nan"), g)

    def model(a):
        if a.requires_grad:
            seen.append(a.detach().clone())
        return net(Spoil.apply(a))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = attack(model, x, y, 1e-4)  # fools none, so all rows stay in the loop
    after = [a[:3] for a in seen[start - 1 :]]
    assert all(torch.equal(a, after[0]) for a in after)
    if start == 1 and attack is not BALL["fgsm"]:
        assert len(after) > 1
        assert torch.equal(out[:3], after[0])


# -- masked gradients -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "mm", "ddn"])
def test_a_saturated_softmax_is_warned_of_with_the_loss_to_use(name):
    net, (x, y) = network(), images()
    with pytest.warns(UserWarning, match="the cross-entropy has no gradient at .* use loss='dlr' or 'margin'"):
        ALL[name](lambda a: 1e6 * net(a), x, y, 0.3)


def test_the_loss_that_the_warning_names_helps():
    net, (x, y) = network(), images()
    model = lambda a: 1e6 * net(a)  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loss in ("dlr", "margin"):
            masked, plain = (attacks.pgd(m, x, y, 0.3, loss=loss) for m in (model, net))
            assert ((net(masked).argmax(-1) != y) == (net(plain).argmax(-1) != y)).all()
            assert (net(masked).argmax(-1) != y).any()


@white_box
def test_rounding_is_warned_of_in_every_attack(attack):
    net, (x, y) = network(), images()
    with pytest.warns(UserWarning, match="of the inputs have no gradient: look for rounding"):
        attack(lambda a: net((8 * a).round() / 8), x, y, 0.05)


@every_attack
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_an_ordinary_model_raises_no_alarm(attack, scale):
    net, (x, y) = network(), images()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attack(lambda a: scale * net(a), x, y, EPS)


# -- training mode and inputs changed in place -----------------------------------------------------------------------
class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.net = nn.BatchNorm2d(3), network()

    def forward(self, a):
        return self.net(self.norm(a))

    def predict(self, a):
        return self.forward(a)


class Holder:
    def __init__(self, net):
        self.parts = {"nets": [net]}

    def __call__(self, a):
        return self.parts["nets"][0](a)


class Unregistered(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.nets = [net]

    def forward(self, a):
        return self.nets[0](a)


def call(net, scale, a):
    return net(a) * scale


GLOBAL = Normed()


def through_a_global(a):
    return GLOBAL(a)


CALLABLES = {
    "function": lambda net: lambda a: net(a),
    "partial": lambda net: functools.partial(call, net, 2.0),
    "keyword": lambda net: functools.partial(lambda a, net: net(a), net=net),
    "method": lambda net: net.predict,
    "object": Holder,
    "method of an object": lambda net: Holder(net).__call__,
    "unregistered": Unregistered,
    "default": lambda net: lambda a, net=net: net(a),
    "nested": lambda net: functools.partial(lambda f, a: f(a), lambda a: Holder(net)(a)),
}


@pytest.mark.parametrize("wrap", CALLABLES.values(), ids=list(CALLABLES))
@pytest.mark.parametrize("attack", [BALL["pgd"], BALL["square"], SMALL["ddn"]], ids=["pgd", "square", "ddn"])
def test_statistics_behind_a_callable_do_not_move(wrap, attack):
    net, (x, y) = Normed().train(), images()
    model, more = wrap(net), () if attack is SMALL["ddn"] else (EPS,)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.warns(UserWarning, match="the model is in training mode"):
        out = attack(model, x, y, *more)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training and net.norm.training
    assert torch.equal(out, attack(wrap(net.eval()), x, y, *more))


def test_a_global_that_a_function_names_is_found():
    GLOBAL.train()
    assert GLOBAL in reachable_modules(through_a_global) and GLOBAL.norm in reachable_modules(through_a_global)


def test_a_module_that_no_reference_leads_to_is_caught_when_it_runs():
    nets, (x, y) = iter([Normed().train()]), images()
    held = []

    class Hidden:
        __slots__ = ("get",)

        def __init__(self):
            self.get = iter(())

        def __call__(self, a):
            return (held or held.append(next(nets)) or held)[0](a)

    hidden = Hidden()
    hidden_call = np.frompyfunc(lambda _: hidden, 1, 1)  # no closure to look into
    with pytest.warns(UserWarning, match="is in training mode: it is attacked in evaluation mode"):
        attacks.pgd(lambda a: hidden_call(0)(a), x, y, EPS, steps=3)
    assert held[0].norm.num_batches_tracked == 0 and held[0].training and held[0].norm.training


@every_attack
def test_a_model_that_normalizes_in_place_is_attacked_like_one_that_does_not(attack):
    net, (x, y) = network(), images()
    before = x.clone()

    def in_place(a):
        a -= 0.5
        a *= 2
        return net(a)

    out = attack(in_place, x, y, EPS)
    assert torch.equal(x, before)
    assert torch.equal(out, attack(lambda a: net((a - 0.5) * 2), x, y, EPS))


# -- narrow types -----------------------------------------------------------------------------------------------------
@every_attack
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types_end_inside_ball_and_box_in_their_own_type(attack, dtype):
    net, (x, y) = network().to(dtype), images()
    x = x.to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = attack(net, x, y, EPS)
    assert out.dtype == dtype and torch.isfinite(out).all() and out.min() >= 0 and out.max() <= 1
    if attack in BALL.values():
        assert (out.double() - x.double()).abs().max() <= EPS
        assert (out != x).any()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_evaluations_agree_with_wide_ones(norm, dtype):
    net = network().to(dtype)
    x, _ = images(40)
    x = x.to(dtype)
    y, eps = net(x).argmax(-1), {"linf": 0.05, "l2": 0.15, "l1": 0.3}[norm]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = attacks.evaluate(net, x, y, eps, norm, ("apgd-ce", "fab-t"), self_checks=False)
        wide = attacks.evaluate(net.float(), x.float(), y, eps, norm, ("apgd-ce", "fab-t"), self_checks=False)
    order = {"linf": float("inf"), "l2": 2, "l1": 1}[norm]
    size = torch.linalg.vector_norm((found.x_adv.double() - x.double()).flatten(1), order, dim=-1)
    assert found.x_adv.dtype == dtype and size.max() <= eps * (1 + 1e-6)
    assert abs(found.robust_accuracy - wide.robust_accuracy) <= 0.1 and wide.robust_accuracy < 1


def test_rounding_toward_is_exact_on_all_halves():
    every = torch.arange(-32768, 32768).to(torch.int16).view(torch.float16)
    every = every[torch.isfinite(every)].float().unique()
    between = (every[:-1] + every[1:]) / 2
    assert torch.equal(round_toward(between, every[:1].expand_as(between), torch.float16).float(), every[:-1])
    assert torch.equal(round_toward(between, every[-1:].expand_as(between), torch.float16).float(), every[1:])
    assert torch.equal(round_toward(every, torch.zeros_like(every), torch.float16).float(), every)


# -- as people write them -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("norm", "name"),
    [(2, "l2"), (2.0, "l2"), (1, "l1"), (float("inf"), "linf"), (np.inf, "linf"), ("Linf", "linf"), ("L2", "l2")],
)
def test_norms_are_written_as_people_do(norm, name):
    net, (x, y) = network(), images()
    for attack in (BALL["pgd"], BALL["square"], SMALL["fmn"]):
        more = () if attack is SMALL["fmn"] else (EPS,)
        assert torch.equal(attack(net, x, y, *more, norm=norm), attack(net, x, y, *more, norm=name))
    one, two = (attacks.evaluate(net, x, y, EPS, n, ("fgsm",), self_checks=False).x_adv for n in (norm, name))
    assert torch.equal(one, two)


def test_radii_are_lists_arrays_and_tensors_with_one_value_per_input():
    net, (x, y) = network(), images()
    radii = [0.01 * k for k in range(8)]
    wanted = attacks.pgd(net, x, y, torch.tensor(radii), steps=3)
    for eps in (radii, tuple(radii), np.array(radii), torch.tensor(radii).view(-1, 1, 1, 1)):
        assert torch.equal(attacks.pgd(net, x, y, eps, steps=3), wanted)
    assert torch.equal(attacks.pgd(net, x, y, [0.1], steps=3), attacks.pgd(net, x, y, 0.1, steps=3))
    assert per_row("eps", 0.1, x.shape) == 0.1


def test_inputs_of_one_number_each():
    x, y = torch.tensor([0.55, 0.9, 0.2]), torch.tensor([0, 0, 1])
    model = lambda a: torch.stack([a - 0.5, 0.5 - a], -1)  # noqa: E731
    for name, attack in ALL.items():
        out = attack(model, x, y, EPS)
        assert out.shape == (3,), name
        assert name == "mm" or name in SMALL or (out - x).abs().max() <= EPS + 1e-6
        assert float(model(out)[0, 0]) < 1e-3, name
    assert attacks.evaluate(model, x, y, EPS, attacks=("pgd",)).robust.tolist() == [False, True, True]
    assert attacks.universal(model, x[:2], y[:2], EPS).shape == ()


REFUSED = {
    "radius per channel": (
        lambda net, x, y: attacks.pgd(net, x[:3], y[:3], torch.full((3, 1, 1), 0.1)),
        "eps has shape (3, 1, 1) for inputs of shape (3, 3, 2, 2): one for all or one for each is needed, of shape "
        "(3,) or (3, 1, 1, 1)",
    ),
    "smoothness per channel": (
        lambda net, x, y: attacks.mm(net, x[:3], y[:3], 0.1, smoothness=torch.full((3, 1, 1), 0.1)),
        "smoothness has shape (3, 1, 1) for inputs of shape (3, 3, 2, 2): one for all or one for each is needed, of "
        "shape (3,) or (3, 1, 1, 1)",
    ),
    "bounds": (
        lambda net, x, y: attacks.pgd(net, x, y, 0.1, bounds=(1, 0)),
        "bounds are (1, 0): low <= high is needed, e.g. (0, 1)",
    ),
    "one bound": (
        lambda net, x, y: attacks.pgd(net, x, y, 0.1, bounds=1.0),
        "bounds are 1.0: a pair (low, high) is needed, e.g. (0, 1)",
    ),
    "targets": (
        lambda net, x, y: attacks.pgd(net, x, y, 0.1, targets=y),
        "targets are the labels of 8 of 8 inputs: a target is a wrong class to lead to, e.g. (y + 1) % classes",
    ),
    "binary column": (
        lambda net, x, y: attacks.pgd(lambda a: net(a)[:, :1], x, y % 2, 0.1),
        "the model returned (8, 1) for 8 inputs: logits of shape (8, classes >= 2) are needed; for one output z pass "
        "x -> [-z, z]",
    ),
    "norm": (lambda net, x, y: attacks.pgd(net, x, y, 0.1, 3), "unknown norm '3': known: l0, l1, l2, linf"),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_meant_is_one_line(call, message):
    with pytest.raises(GameError) as error:
        call(network(), *images())
    assert str(error.value) == message


def test_a_ball_that_covers_the_box_is_warned_of():
    net, (x, y) = network(), images()
    with pytest.warns(UserWarning, match=r"eps is 8, which covers the box \[0, 1\]: every input is allowed.*eps=8/255"):
        attacks.pgd(net, x, y, 8)
    with pytest.warns(UserWarning, match="eps=8/255"):
        attacks.evaluate(net, x, y, 8, attacks=("fgsm",), self_checks=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attacks.pgd(lambda a: net(a / 255), 255 * x, y, 8, bounds=(0, 255))
        attacks.fab(net, x, y, 8.0, steps=3)
