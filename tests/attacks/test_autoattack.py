"""AutoAttack, Square and the self-checks: what they find, what they claim, and what they refuse."""

import inspect
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache

import pytest
import torch
from torch import nn
from torch.autograd import grad

from robustgames import attacks, data
from robustgames.attacks import checks
from robustgames.attacks.attack import Attack
from robustgames.attacks.auto_pgd import APGD, TargetedAPGD
from robustgames.attacks.ensemble import autoattack, evaluate
from robustgames.attacks.fab import TargetedFAB
from robustgames.attacks.gradient import FGSM
from robustgames.attacks.majorize import MM
from robustgames.attacks.members import MEMBERS, PASSES, VERSIONS, Member
from robustgames.attacks.report import Report
from robustgames.attacks.square import Square, square
from robustgames.attacks.victim import Victim
from robustgames.errors import GameError

EPS = {"linf": 0.12, "l2": 0.7, "l1": 2.0}
ORDER = {"linf": float("inf"), "l2": 2, "l1": 1}


@cache
def network(classes=10):
    """A small network on digits, trained on FGSM examples."""
    images, labels, *_ = data.digits()
    images, labels = (part[labels < classes] for part in (images, labels))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, classes))
        adam = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(80):
            x = images.clone().requires_grad_()
            (g,) = torch.autograd.grad(nn.functional.cross_entropy(net(x), labels), x)
            loss = nn.functional.cross_entropy(net((images + 0.1 * g.sign()).clamp(0, 1)), labels)
            adam.zero_grad()
            loss.backward()
            adam.step()
    return net.eval()


def digits(count=40, classes=10):
    _, _, images, labels = data.digits()
    keep = (labels < classes).nonzero().squeeze(-1)[:count]
    return images[keep].view(-1, 1, 8, 8), labels[keep]


def accuracy(model, x, y):
    return float((model(x).argmax(-1) == y).double().mean())


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return evaluate(*args, **kwargs)


@dataclass(frozen=True)
class Custom(Attack):
    """An attack that calls a function."""

    find: Callable

    def run(self, p):
        return self.find(p)


@pytest.fixture
def short(monkeypatch):
    """The standard attacks with a fifth of their steps, and 200 queries."""
    monkeypatch.setitem(MEMBERS, "apgd-ce", Member(APGD(steps=20, early="drop")))
    monkeypatch.setitem(MEMBERS, "apgd-t", Member(TargetedAPGD(steps=20, early="drop")))
    monkeypatch.setitem(MEMBERS, "square", Member(Square(queries=200)))


# -- Square -----------------------------------------------------------------------------------------------------
def linear(p=8, dtype=torch.float64):
    w = torch.randn(2, p, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return (lambda x: x.flatten(1) @ w.T + torch.tensor([50.0, 0.0], dtype=dtype)), w[1] - w[0]


def rise(model, x, x_adv):
    before, after = (model(images) for images in (x, x_adv))
    return (after - before)[:, 1] - (after - before)[:, 0]


def test_square_reaches_the_best_corner_of_a_linear_model():
    model, w = linear()
    x = torch.full((5, 8), 0.5, dtype=torch.float64)
    x_adv = square(model, x, torch.zeros(5).long(), 0.2, queries=500)
    assert torch.allclose(rise(model, x, x_adv), 0.2 * w.abs().sum().expand(5), atol=1e-12)


@pytest.mark.parametrize(("norm", "dual", "share"), [("l2", 2, 0.6), ("l1", float("inf"), 0.6)])
def test_square_gets_most_of_the_best_rise_in_the_other_norms(norm, dual, share):
    model, w = linear(36)
    x = torch.full((5, 1, 6, 6), 0.5, dtype=torch.float64)
    x_adv = square(model, x, torch.zeros(5).long(), 0.4, norm, queries=1500)
    best = 0.4 * torch.linalg.vector_norm(w, dual)
    assert (rise(model, x, x_adv) > share * best).all() and (rise(model, x, x_adv) <= best + 1e-9).all()


@pytest.mark.parametrize("norm", ORDER)
@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (8, 8), (3, 5, 9), (2, 1, 4, 4), (2, 1, 1)])
def test_square_takes_inputs_of_any_shape(norm, shape):
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    w = torch.randn(3, x[0].numel(), generator=torch.Generator().manual_seed(1))
    x_adv = square(lambda x: x.flatten(1) @ w.T, x, torch.tensor([0, 1, 2, 0]), 0.2, norm, 30)
    size = torch.linalg.vector_norm((x_adv - x).flatten(1), ORDER[norm], dim=-1)
    assert x_adv.shape == x.shape and (size <= 0.2 + 1e-6).all() and x_adv.min() >= 0 and x_adv.max() <= 1


def test_square_needs_no_gradient_and_asks_no_more_than_its_queries():
    x, y = digits(20)
    net = network()
    victim = Victim(lambda x: torch.from_numpy(net(x).detach().numpy()))
    x_adv = square(victim, x, y, EPS["linf"], queries=300)
    assert victim.backwards == 0 and victim.forwards < 0.9 * 301 * 20
    assert accuracy(net, x_adv, y) < accuracy(net, x, y)


def test_square_leaves_as_soon_as_a_row_is_fooled():
    x, y = digits(20)
    victim = Victim(network())
    square(victim, x, (y + 1) % 10, 0.1, queries=300)
    assert victim.forwards == 20  # all wrong from the start: one pass shows it


def test_square_leads_to_targets():
    x, y = digits(20)
    goal = (y + 1) % 10
    x_adv = square(network(), x, y, 0.5, queries=400, targets=goal)
    assert accuracy(network(), x_adv, goal) > 0.8


@pytest.mark.parametrize(
    ("wrong", "text"), [({"queries": 0}, "at least 1 query"), ({"p_init": 0.0}, "share"), ({"p_init": 2}, "share")]
)
def test_square_refuses(wrong, text):
    x, y = digits(2)
    with pytest.raises(GameError, match=text):
        square(network(), x, y, 0.1, **wrong)


# -- the ensemble -----------------------------------------------------------------------------------------------
def test_the_ensemble_is_as_strong_as_its_worst_member_whatever_the_order():
    x, y = digits(60)
    net, names = network().double(), ("fgsm", "fab-t")  # without randomness
    try:
        alone = [quiet(net, x.double(), y, EPS["linf"], attacks=name).robust for name in names]
        assert not torch.equal(*alone)
        for order in (names, names[::-1]):
            both = quiet(net, x.double(), y, EPS["linf"], attacks=order)
            assert torch.equal(both.robust, alone[0] & alone[1])
            assert both.x_adv.dtype == torch.float64
    finally:
        network().float()


@pytest.mark.parametrize("norm", ORDER)
def test_every_member_stays_in_ball_and_box_and_counts_what_fools(norm, short):
    x, y = digits(25)
    for name in MEMBERS:
        if not name.endswith(("-5", "-rand")) and norm in MEMBERS[name].attack.norms:
            found = quiet(network(), x, y, EPS[norm], norm, name)
            size = torch.linalg.vector_norm((found.x_adv - x).flatten(1), ORDER[norm], dim=-1)
            assert (size <= EPS[norm] + 1e-5).all() and found.x_adv.min() >= 0 and found.x_adv.max() <= 1
            right = network()(found.x_adv).argmax(-1) == y
            assert torch.equal(right, found.robust), name
            same = (found.x_adv == x).flatten(1).all(-1)
            assert torch.equal(same, found.robust | ~found.clean), name
            assert found.robust.sum() < found.clean.sum(), name


def test_the_numbers_of_the_report_agree(short):
    x, y = digits(50)
    seen = []
    victim = Victim(network())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = evaluate(
            victim,
            x,
            y,
            EPS["linf"],
            attacks=("fgsm", "apgd-ce", "square"),
            batch_size=20,
            self_checks=False,
            progress=lambda *step: seen.append(step),
        )
    clean, fooled = int(found.clean.sum()), [tally.fooled for tally in found.attacks]
    assert found.clean_accuracy == clean / 50 and found.robust_accuracy == (clean - sum(fooled)) / 50
    assert [tally.attacked for tally in found.attacks] == [clean - sum(fooled[:i]) for i in range(3)]
    fgsm, apgd, black = found.attacks
    assert (fgsm.forwards, fgsm.backwards) == (2, 1)  # the second judges
    assert apgd.forwards <= 22 and apgd.backwards <= 20 and black.backwards == 0 and black.forwards <= 202
    attack = sum(tally.attacked * tally.forwards for tally in found.attacks)
    assert victim.forwards == pytest.approx(50 + attack + sum(fooled))  # clean, attacks, last judgment
    assert seen[-1] == ("square", black.attacked, black.attacked, clean - sum(fooled))
    assert [step[1] for step in seen if step[0] == "fgsm"] == [*range(20, clean, 20), clean]
    table = json.loads(json.dumps(found.table()))
    assert table["robust_accuracy"] == found.robust_accuracy and table["attacks"][0]["name"] == "fgsm"
    assert not found.interrupted and found.unfinished == 0


def test_a_success_that_does_not_repeat_counts_as_robust():
    x, y = digits(20)
    lies = [False]

    def model(images):
        return -network()(images) if lies[0] else network()(images)

    lies_at_start = Member(Custom(find=lambda p: lies.__setitem__(0, True) or torch.zeros_like(p.a)))
    with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning, match="judged again"):
        patch.setitem(MEMBERS, "liar", lies_at_start)
        found = evaluate(
            model, x, y, 0.1, attacks=["liar"], self_checks=False, progress=lambda *_: lies.__setitem__(0, False)
        )
    assert found.attacks[0].fooled == found.clean.sum() > 0
    assert torch.equal(found.robust, found.clean) and torch.equal(found.x_adv, x)
    assert f"{found.attacks[0].fooled} examples" in found.warnings[0]


def test_an_example_outside_the_ball_counts_as_robust_and_hides_nothing_from_the_attacks_after_it(monkeypatch):
    x, y = digits(20)
    far = 1 - 2 * x
    assert (network()(x + far).argmax(-1) != y).any()  # it would count
    monkeypatch.setitem(MEMBERS, "cheat", Member(Custom(find=lambda p: 1 - 2 * p.a)))
    with pytest.warns(UserWarning, match="examples of cheat left the ball or the box"):
        found = evaluate(network(), x, y, 0.1, attacks=["cheat"], self_checks=False)
    assert found.attacks[0].fooled == 0 and torch.equal(found.robust, found.clean) and torch.equal(found.x_adv, x)
    after, alone = (quiet(network(), x, y, 0.1, attacks=names) for names in (("cheat", "fgsm"), ("fgsm",)))
    assert torch.equal(after.robust, alone.robust) and after.attacks[1].fooled == alone.attacks[0].fooled > 0


def test_an_interruption_keeps_what_was_found(short):
    x, y = digits(60)
    whole = quiet(network(), x, y, EPS["linf"], attacks=("fgsm", "apgd-ce"), batch_size=25)

    def stop(name, done, total, robust):
        if name == "apgd-ce":
            raise KeyboardInterrupt

    found = quiet(network(), x, y, EPS["linf"], attacks=("fgsm", "apgd-ce"), batch_size=25, progress=stop)
    assert found.interrupted and found.attacks[0].fooled == whole.attacks[0].fooled > 0
    assert found.attacks[1].attacked == 25
    assert torch.equal(found.robust & whole.robust, whole.robust)
    assert found.unfinished == whole.attacks[1].attacked - 25
    assert accuracy(network(), found.x_adv, y) == pytest.approx(found.robust_accuracy)


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes(classes, short):
    x, y = digits(30, classes)
    with pytest.warns(UserWarning, match=f"needs 4 classes, the model has {classes}: apgd-t raises the margin"):
        found = evaluate(network(classes), x, y, 0.3, attacks=("fgsm", "apgd-t", "fab-t", "square"))
    assert found.robust_accuracy < found.clean_accuracy
    report = quiet(network(classes), x, y, 0.3, attacks=("apgd-t",))
    assert report.attacks[0].backwards <= 20 * (classes - 1)
    untargeted = quiet(network(classes), x, y, 0.3, attacks=("apgd-dlr",)).warnings
    assert (untargeted == ()) == (classes == 3)


def test_an_empty_batch_and_a_single_input(short):
    x, y = digits(1)
    assert evaluate(network(), x[:0], y[:0], 0.1).x_adv.shape == (0, 1, 8, 8)
    assert autoattack(network(), x, y, 0.3, version="standard").shape == x.shape


def test_it_repeats_itself_and_leaves_the_global_generator_alone(short):
    x, y = digits(30)
    state = torch.get_rng_state()
    one, two = (quiet(network(), x, y, EPS["linf"]) for _ in range(2))
    other = quiet(network(), x, y, EPS["linf"], generator=torch.Generator().manual_seed(7))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.x_adv, two.x_adv) and not torch.equal(one.x_adv, other.x_adv)
    assert replace(one.attacks[0], seconds=0) == replace(two.attacks[0], seconds=0)


def test_radii_and_bounds_of_each_input(short):
    x, y = digits(30)
    eps = torch.linspace(0, 0.3, 30)
    low, high = torch.zeros(30, 1, 8, 8), torch.ones(1, 8, 8)
    found = quiet(network(), x, y, eps, attacks=("fgsm", "apgd-ce", "square"), bounds=(low, high))
    size = (found.x_adv - x).abs().flatten(1).amax(-1)
    assert (size <= eps + 1e-6).all() and found.clean.sum() > found.robust.sum() and found.robust[0] == found.clean[0]


def test_a_search_in_bfloat16_is_judged_in_full_precision(short):
    x, y = digits(60)
    names = ("apgd-ce", "square")
    coarse = quiet(network(), x, y, EPS["linf"], attacks=names, precision=torch.bfloat16)
    fine = quiet(network(), x, y, EPS["linf"], attacks=names)
    assert torch.equal(network()(coarse.x_adv).argmax(-1) == y, coarse.robust) and coarse.x_adv.dtype == x.dtype
    assert abs(coarse.robust_accuracy - fine.robust_accuracy) < 0.06
    assert ((coarse.x_adv - x).abs() <= EPS["linf"] + 1e-6).all()


def test_the_random_version_averages_the_gradients(monkeypatch):
    x, y = digits(15)
    once = Member(APGD(steps=10, early="drop"), passes=20)
    monkeypatch.setitem(MEMBERS, "apgd-ce-rand", once)
    monkeypatch.setitem(MEMBERS, "apgd-dlr-rand", replace(once, loss="dlr"))
    noise = torch.Generator().manual_seed(0)

    def noisy(images):
        return network()(images + 0.05 * torch.randn(images.shape, generator=noise))

    found = quiet(noisy, x, y, 0.2, attacks="rand")
    assert found.robust_accuracy < 0.7 * found.clean_accuracy
    assert found.attacks[0].backwards > 20 and not any("pass to pass" in note for note in found.warnings)


def test_the_standard_version_has_the_published_settings():
    apgd, restarted = APGD(steps=100, restarts=1, early="drop"), APGD(steps=100, restarts=5, early="drop")
    assert VERSIONS["standard"] == ("apgd-ce", "apgd-t", "fab-t", "square")
    assert MEMBERS["apgd-ce"] == Member(apgd, l1=restarted) and MEMBERS["apgd-ce"].loss_for(2) == "ce"
    targeted = TargetedAPGD(steps=100, classes=9, restarts=1, early="drop")
    assert MEMBERS["apgd-t"] == Member(targeted, l1=replace(targeted, classes=5))
    assert [MEMBERS["apgd-t"].loss_for(classes) for classes in (3, 4)] == ["margin", "dlr"]
    assert MEMBERS["fab-t"] == Member(TargetedFAB(steps=100, classes=9, restarts=1, early="drop"))
    assert MEMBERS["square"] == Member(Square(queries=5000, p_init=0.8)) and MEMBERS["square"].loss_for(2) == "margin"
    assert MEMBERS["apgd-dlr-5"] == Member(restarted, "dlr") and MEMBERS["apgd-ce-rand"].passes == 20
    assert [MEMBERS["apgd-dlr-5"].loss_for(classes) for classes in (2, 3)] == ["margin", "dlr"]
    assert MEMBERS["apgd-ce"].attack_for("l1") is not MEMBERS["apgd-ce"].attack_for("l2")


def test_functions_and_table_have_the_same_defaults():
    pairs = {name: type(member.attack) for name, member in MEMBERS.items() if "-" not in name}
    assert set(pairs) == {"fgsm", "pgd", "fab", "square", "nes", "deepfool", "ddn", "fmn"}
    more = {"apgd": APGD, "apgd_targeted": TargetedAPGD, "fab_targeted": TargetedFAB, "mm": MM}
    for name, kind in (pairs | more).items():
        parameters = inspect.signature(getattr(attacks, name)).parameters
        settings = {field.name for field in fields(kind) if field.name in parameters}
        assert {key: parameters[key].default for key in settings} == {key: getattr(kind(), key) for key in settings}
        assert settings or kind is FGSM
        if "loss" in parameters:
            assert parameters["loss"].default == kind.loss


def test_versions_name_members_and_errors_name_what_is_allowed():
    assert set(sum(VERSIONS.values(), ())) <= set(MEMBERS)
    x, y = digits(2)
    for wrong, text in (
        ({"attacks": "standrad"}, "did you mean standard"),
        ({"attacks": ["apgd-c"]}, "did you mean apgd-ce"),
        ({"attacks": []}, "no attack is named"),
        ({"batch_size": 0}, "at least 1 input"),
        ({"norm": "l7"}, "unknown norm"),
    ):
        with pytest.raises(GameError, match=text):
            evaluate(network(), x, y, 0.1, **wrong)
    with pytest.raises(GameError, match="unknown version"):
        autoattack(network(), x, y, 0.1, version="fgsm")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_is_as_strong_as_the_reference(norm, short):
    reference = pytest.importorskip("pyautoattack")
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    _, _, x, y = data.digits()
    x, net, eps = x.view(-1, 1, 8, 8), network(), 0.7 * EPS[norm]
    judge = reference.AutoAttack(
        net,
        norm={"linf": "Linf", "l2": "L2"}[norm],
        eps=eps,
        seed=0,
        version="custom",
        attacks=["apgd-ce", "apgd-t", "square"],
    )
    same = {"n_iter": 20, "norm": judge.norm, "eps": eps, "seed": 0, "device": "cpu", "logger": judge.logger}
    judge.apgd, judge.apgd_targeted = APGDAttack(net, **same), APGDAttack_targeted(net, **same)
    judge.square.n_queries = 200
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, _ = judge.run_standard_evaluation(x, y, batch_size=360)
    ours = quiet(net, x, y, eps, norm, ("apgd-ce", "apgd-t", "square"), batch_size=360)
    assert 0.1 < ours.robust_accuracy <= accuracy(net, theirs, y) + 0.005


# -- the self-checks --------------------------------------------------------------------------------------------
class Masked(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.net = kind, network()

    def forward(self, x):
        if self.kind == "rounded":
            x = (x * 8).round() / 8
        if self.kind == "adaptive":
            with torch.enable_grad():
                probe = x.detach().requires_grad_()
                torch.autograd.grad(self.net(probe).sum(), probe)
        if self.kind == "broken":
            raise RuntimeError("broken")
        logits = self.net(x)
        if self.kind == "noisy":
            logits = logits + 0.1 * torch.randn(logits.shape, generator=torch.default_generator)
        if self.kind == "softmax":
            logits = logits.softmax(-1)
        return logits * (1e4 if self.kind == "saturated" else 1)


SIGNS = {
    "rounded": "no gradient: look for rounding",
    "saturated": "softmax is saturated",
    "noisy": "from pass to pass",
    "softmax": "probabilities",
    "adaptive": "when it predicts",
}


@pytest.mark.parametrize("kind", SIGNS)
def test_a_masked_model_is_recognized(kind):
    x, y = digits(60)
    with torch.random.fork_rng(), pytest.warns(UserWarning, match=SIGNS[kind]):
        notes = checks.self_checks(Masked(kind), x, y, 0.1)
    assert sum(SIGNS[kind] in note for note in notes) == 1


@pytest.mark.parametrize("norm", ORDER)
def test_a_plain_model_raises_no_alarm(norm):
    x, y = digits(100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checks.self_checks(network(), x, y, EPS[norm], norm, thorough=True) == []
        assert evaluate(network(), x, y, EPS[norm], norm, ("apgd-ce", "fab-t")).warnings == ()


def test_the_thorough_checks_see_that_gradients_lead_nowhere():
    x, y = digits(60)
    with pytest.warns(UserWarning, match="unlimited"):
        notes = checks.self_checks(Masked("rounded"), x, y, 0.1, thorough=True)
    assert any("stay correct under unlimited" in note for note in notes)


def test_more_steps_must_not_be_weaker(monkeypatch):
    monkeypatch.setattr(
        checks, "APGD", lambda steps: Custom(find=lambda p: 1 - 2 * p.a if steps == 10 else torch.zeros_like(p.a))
    )
    x, y = digits(60)
    with pytest.warns(UserWarning, match="more steps must not be weaker"):
        checks.self_checks(network(), x, y, 0.1, thorough=True)


def test_square_wins_over_gradients_that_are_masked(short):
    x, y = digits(60)
    with pytest.warns(UserWarning, match="gradients may be masked"):
        found = evaluate(Masked("rounded"), x, y, 0.2, attacks=("apgd-ce", "square"))
    assert found.attacks[1].fooled > found.attacks[0].fooled
    assert checks.black_box_wins([("apgd-ce", 500), ("square", 2)], 1000) == []
    assert checks.black_box_wins([("square", 500), ("apgd-ce", 2)], 1000) == []
    assert "fooled 3 of 1000" in checks.black_box_wins([("apgd-ce", 500), ("square", 3)], 1000)[0]


def by_functional(f, x):
    torch.autograd.functional.jacobian(lambda a: f(a).reshape(()), x)


GRADIENTS = {
    "grad": lambda f, x: torch.autograd.grad(f(x), x),
    "grad imported by name": lambda f, x: grad(f(x), x),
    "batched grad": lambda f, x: grad(f(x), x, torch.ones(2, 1), is_grads_batched=True),
    "Tensor.backward": lambda f, x: f(x).backward(),
    "autograd.backward": lambda f, x: torch.autograd.backward(f(x)),
    "func.grad": lambda f, x: torch.func.grad(lambda a: f(a).reshape(()))(x.detach()),
    "functional": by_functional,
}


@pytest.mark.parametrize("take", GRADIENTS.values(), ids=list(GRADIENTS))
@pytest.mark.parametrize("inner", [lambda a: a.sum(), lambda a: network()(a).square().sum()], ids=["sum", "network"])
def test_a_gradient_at_inference_is_found_however_it_is_taken(take, inner):
    x, y = digits(10)

    def adaptive(images):
        with torch.enable_grad():
            take(lambda a: inner(a).reshape(1), images.detach().clone().requires_grad_())
        return network()(images)

    with pytest.warns(UserWarning, match="when it predicts"):
        assert len(checks.self_checks(adaptive, x, y, 0.1)) == 1
    network().zero_grad()


def test_a_graph_without_a_gradient_raises_no_alarm():
    x, y = digits(10)

    def builds_a_graph(images):
        with torch.enable_grad():
            return network()(images.clone().requires_grad_() if not images.requires_grad else images)

    assert checks.self_checks(builds_a_graph, x, y, 0.1) == []


def test_the_checks_leave_profiling_and_autograd_as_they_were():
    import sys

    before = sys.getprofile(), torch.autograd.grad, torch.autograd.backward, torch.autograd._engine_run_backward
    x, y = digits(5)
    checks.self_checks(network(), x, y, 0.1)
    with pytest.raises(RuntimeError, match="broken"):
        checks.self_checks(Masked("broken"), x, y, 0.1)
    after = sys.getprofile(), torch.autograd.grad, torch.autograd.backward, torch.autograd._engine_run_backward
    assert all(one is other for one, other in zip(before, after, strict=True))


def test_the_report_of_nothing_is_not_a_number():
    x, y = digits(1)
    found = evaluate(network(), x[:0], y[:0], 0.1)
    assert isinstance(found, Report) and found.clean_accuracy != found.clean_accuracy and PASSES == 20
