"""Training against an attacker: rules, schemes, recipes, early stopping and the report of a collapse."""

import json
from itertools import pairwise

import pytest
import torch
from torch.nn import functional

import robustgames as rg
from robustgames import experiment
from robustgames.agents import callbacks
from robustgames.agents.callbacks import EarlyStopping
from robustgames.agents.learning import Checkpoint
from robustgames.checkpoints import load_checkpoint
from robustgames.cli import main
from robustgames.evaluation import accuracies, catastrophic_overfitting, final_certificates
from robustgames.games import MLP, AdversarialClassification, DigitsAdversarial, DigitsAttack, Oracle
from robustgames.solvers import SGD, BestResponse, Sign, Simultaneous, Steepest, Triangular, make_solver
from robustgames.solvers.danskin import min_norm_element
from robustgames.solvers.fitting import fit

F64 = torch.float64
LOOKAHEADS = ["none", "extra", "past"]
SCHEMES = ["simultaneous", "alternating", "extragradient", "past"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_game(cls=AdversarialClassification, count=20, width=6, batch=7, **settings):
    g = generator(3)
    data = torch.rand(count, width, dtype=F64, generator=g), torch.randint(3, (count,), generator=g)
    return cls(*data, MLP((width, 5, 3), "tanh"), **{"eps": 0.2, "batch_size": batch, **settings}).to(dtype=F64)


def play(solver, game, steps, seed=0):
    """Return the iterates z_0 … z_steps and the oracle that was asked."""
    oracle = Oracle(game, (), generator(seed))
    solver = fit(solver, oracle)
    z = game.initial((), oracle.generator)
    state, points = solver.init(oracle, z), [z]
    for _ in range(steps):
        z, state = solver.step(oracle, z, state)
        points.append(z)
    return torch.stack(points), oracle


def digits_agent(solver, runs=1, seed=0, z0=None, **settings):
    env = rg.GameVectorEnv(DigitsAdversarial, runs, device="cpu", **{"hidden": (64,), **settings})
    return rg.GameAgent(env, solver, seed=seed, z0=z0)


# -- rules ------------------------------------------------------------------------------------------------------
def test_the_triangular_rate_rises_over_a_quarter_and_falls_to_nearly_nothing():
    rate = Triangular(2.0, steps=100)
    values = [rate(k) for k in range(1, 101)]
    assert values[24] == 2.0 == max(values) and values[0] == 2.0 / 25 and values[99] == pytest.approx(2.0 / 76)
    up, down = values[:25], values[24:]
    assert all(b - a == pytest.approx(0.08) for a, b in pairwise(up))
    assert all(a - b == pytest.approx(2.0 / 76) for a, b in pairwise(down))
    assert rate(101) == rate(10**6) == values[-1] > 0
    assert [Triangular(1.0, 1)(k) for k in (1, 2)] == [1.0, 1.0]
    assert [Triangular(1.0, 3)(k) for k in (1, 2, 3)] == pytest.approx([1, 2 / 3, 1 / 3])
    for bad in ((0, 5), (float("inf"), 5), (1.0, 0)):
        with pytest.raises(rg.GameError, match="is not a schedule: peak must be positive and steps at least 1"):
            Triangular(*bad)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_steepest_steps_have_the_length_of_the_rate_in_every_row(norm):
    z, v = torch.zeros(2, 12, dtype=F64), torch.randn(2, 12, dtype=F64, generator=generator())
    rule = Steepest(0.3, norm, width=4)
    moved = rule.step(z, v, rule.init(z), generator())[0]
    order, dual = {"linf": (float("inf"), 1), "l2": (2, 2), "l1": (1, float("inf"))}[norm]
    rows, slopes = moved.view(2, 3, 4), v.view(2, 3, 4)
    torch.testing.assert_close(rows.norm(order, -1), torch.full((2, 3), 0.3, dtype=F64), rtol=1e-12, atol=0)
    torch.testing.assert_close((rows * slopes).sum(-1), 0.3 * slopes.norm(dual, -1), rtol=1e-12, atol=0)
    if norm == "linf":
        assert torch.equal(moved, Sign(0.3).step(z, v, {"k": 0}, generator())[0])
    whole = Steepest(0.3, norm)
    alone = whole.step(z, v, whole.init(z), generator())[0]
    torch.testing.assert_close(alone.norm(order, -1), torch.full((2,), 0.3, dtype=F64), rtol=1e-12, atol=0)


def test_an_attacker_that_steps_in_another_norm_than_its_ball_is_refused():
    oracle = Oracle(some_game(norm="l2"))
    for inner in (Sign(0.1), Steepest(0.1, "l1")):
        with pytest.raises(rg.GameError, match=r"the ball of the game is in l2: use norm='l2' \(--norm l2\)"):
            fit(BestResponse(SGD(0.1), inner), oracle)
    assert fit(make_solver("standard_training"), oracle) == make_solver("standard_training")  # no step, no norm


@pytest.mark.parametrize(
    ("name", "spelled"), [("linf", ["Linf", float("inf")]), ("l2", ["L2", 2]), ("l1", ["L1", 1.0])]
)
def test_a_norm_is_the_same_in_every_spelling(name, spelled):
    game, row = some_game(norm=name), torch.tensor([[3.0, float("nan"), -2.0]])
    rule = Steepest(0.1, name, coordinates=2 if name == "l1" else 1)
    for norm in spelled:
        other = some_game(norm=norm)
        assert other.norm == name and other.fingerprint() == game.fingerprint() and repr(other) == repr(game)
        assert Steepest(0.1, norm, coordinates=rule.coordinates) == rule  # in L1 two coordinates were refused
        fit(BestResponse(SGD(0.1), Steepest(0.1, norm)), Oracle(other))  # "steps in l2, the ball of the game is in L2"
        assert make_solver("adversarial_training", norm=norm) == make_solver("adversarial_training", norm=name)
        step = Steepest(0.1, norm).step(row, row, {"k": 0}, generator())[0]
        torch.testing.assert_close(step, Steepest(0.1, name).step(row, row, {"k": 0}, generator())[0], equal_nan=True)
    with pytest.raises(rg.GameError, match=r"eps is 1.5: the radius of the attack is in \[0, 1\]"):
        some_game(norm="Linf", eps=1.5)


def test_fitting_sets_the_rows_of_the_attacker_and_of_nobody_else():
    oracle = Oracle(some_game(norm="l2"))
    fitted = fit(BestResponse(Steepest(0.1), Steepest(0.2, "l2")), oracle)
    assert (fitted.outer.width, fitted.inner.width) == (None, 6)
    pair = fit(Simultaneous((Steepest(0.1), Steepest(0.1))), oracle).rule
    assert [rule.width for rule in pair] == [None, 6]
    averaged = fit(make_solver("adversarial_training", norm="l2"), oracle)
    assert averaged.scheme.inner.width == 6
    assert fit(BestResponse(SGD(0.1), Steepest(0.1, width=3)), oracle).inner.width == 3
    universal = Oracle(some_game(attacker="universal", norm="l2"))
    assert fit(BestResponse(SGD(0.1), Steepest(0.1)), universal).inner.width is None
    alone = fit(Simultaneous(Steepest(0.1)), Oracle(DigitsAttack(count=3)))
    assert alone.rule.width == 64


def test_a_step_in_l1_is_shared_by_the_coordinates_of_largest_modulus():
    v = torch.tensor([[0.1, -3.0, 2.0, 0.0, 0.5, 0.0, 0.0, -1.0]], dtype=F64)  # two rows of four
    moved, _ = Steepest(0.6, "l1", 4, 2).step(torch.zeros_like(v), v, {"k": 0}, generator())
    assert moved.tolist() == [[0.0, -0.3, 0.3, 0.0, 0.3, 0.0, 0.0, -0.3]]
    one, _ = Steepest(0.6, "l1", 4).step(torch.zeros_like(v), v, {"k": 0}, generator())
    assert one.tolist() == [[0.0, -0.6, 0.0, 0.0, 0.0, 0.0, 0.0, -0.6]]
    assert make_solver("adversarial_training", norm="l1", inner_lr=2.0, coordinates=9, ema=0).inner.coordinates == 9
    for norm in ("linf", "l2"):
        with pytest.raises(rg.GameError, match="coordinates is 3: a number >= 1 for steps in l1"):
            make_solver("adversarial_training", norm=norm, coordinates=3)


# -- best responses ---------------------------------------------------------------------------------------------
def by_hand(game, lookahead, steps, ramp=0, answers=1, perturbation=0.0, lr=0.5, inner_lr=0.05, inner_steps=3, seed=0):
    """Return the weights after every step of adversarial training, written with torch.autograd alone."""
    g = generator(seed)
    x, _ = game.split(game.initial((), g))
    past, points = torch.zeros_like(x), [x]

    def drawn():
        return torch.randint(len(game.images), (game.batch_size,), generator=g)

    def slope_at_answer(x, k, index):
        a, b = game.images[index], game.labels[index]
        low, high = (-a).clamp_min(-game.eps), (1 - a).clamp_max(game.eps)
        eta = (-game.eps + 2 * game.eps * torch.rand(a.shape, dtype=F64, generator=g)).clamp(low, high)

        def loss(x, eta):
            return functional.cross_entropy(game.network(x, a + eta), b)

        for _ in range(inner_steps):
            eta = eta.detach().requires_grad_()
            (slope,) = torch.autograd.grad(loss(x, eta), eta)
            eta = (eta.detach() + inner_lr * slope.sign()).clamp(low, high)
        if k < ramp:
            eta = eta * (k / ramp)
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(leaf, eta), leaf)
        if not perturbation:
            return slope
        worse = (x + perturbation * x.norm() * slope / slope.norm()).requires_grad_()
        return torch.autograd.grad(loss(worse, eta), worse)[0]

    def slope(x, k):
        batch = drawn()
        return min_norm_element(torch.stack([slope_at_answer(x, k, batch) for _ in range(answers)]))

    for k in range(1, steps + 1):
        if lookahead == "none":
            x = x - lr * slope(x, k)
        else:
            first = slope(x, k) if lookahead == "extra" else past
            past = slope(x - lr * first, k)
            x = x - lr * past
        points.append(x)
    return torch.stack(points)


@pytest.mark.parametrize("ramp", [0, 3])
@pytest.mark.parametrize("lookahead", LOOKAHEADS)
def test_every_lookahead_equals_its_loop_written_by_hand(lookahead, ramp):
    game = some_game()
    solver = BestResponse(SGD(0.5), Sign(0.05), 3, lookahead=lookahead, ramp=ramp)
    points, oracle = play(solver, game, 5)
    expected = by_hand(game, lookahead, 5, ramp=ramp)
    torch.testing.assert_close(points[:, : game.sizes[0]], expected, rtol=0, atol=1e-14)
    assert (expected[1:] - expected[:-1]).abs().amax(-1).min() > 1e-4
    assert oracle.calls == 5 * {"none": 4, "extra": 8, "past": 4}[lookahead]


@pytest.mark.parametrize("lookahead", LOOKAHEADS)
@pytest.mark.parametrize(("answers", "perturbation"), [(3, 0.0), (1, 0.1), (2, 0.1)])
def test_several_answers_and_perturbed_weights_equal_the_loop(lookahead, answers, perturbation):
    game = some_game()
    chosen = {"lookahead": lookahead, "answers": answers, "perturbation": perturbation}
    solver = BestResponse(SGD(0.5), Sign(0.05), 3, **chosen)
    points, oracle = play(solver, game, 4)
    expected = by_hand(game, steps=4, **chosen)
    torch.testing.assert_close(points[:, : game.sizes[0]], expected, rtol=0, atol=1e-13)
    usual = by_hand(game, lookahead, 4)
    assert (expected - usual)[1:].abs().max() > 1e-4
    calls = answers * (3 + (2 if perturbation else 1)) * (2 if lookahead == "extra" else 1)
    assert oracle.calls == 4 * calls == 4 * solver.tally().calls


def test_label_smoothing_is_that_of_torch():
    game, plain = some_game(smoothing=0.2), some_game()
    sample = game.draw((), generator())
    x, y = game.split(game.initial((), generator()))
    scores = game.network(x, sample.images + y.view(7, 6))
    expected = functional.cross_entropy(scores, sample.labels, label_smoothing=0.2)
    torch.testing.assert_close(game.payoff(x, y, sample), expected)
    assert abs(float(plain.payoff(x, y, sample) - expected)) > 1e-3
    assert some_game(smoothing=0.0).fingerprint() == plain.fingerprint() != game.fingerprint()


@pytest.mark.parametrize("wrong", [{"smoothing": 1.0}, {"smoothing": -0.1}, {"smoothing": 0.1, "loss": "hinge"}])
def test_label_smoothing_needs_a_share_and_the_cross_entropy(wrong):
    with pytest.raises(rg.GameError, match=r"smoothing is .*: it lies in \[0, 1\), e.g. 0.1, and belongs to loss="):
        some_game(**wrong)


def test_fgsm_training_is_one_signed_step_from_zero():
    game = some_game(batch=None)
    points, _ = play(BestResponse(SGD(0.5), Sign(0.2), 1, "zero"), game, 3)
    x = game.split(points[0])[0]
    for k in (1, 2, 3):
        attacked = rg.attacks.fgsm(lambda a, x=x: game.logits(x, a), game.images, game.labels, 0.2)
        leaf = x.clone().requires_grad_()
        loss = functional.cross_entropy(game.logits(leaf, attacked), game.labels)
        x = x - 0.5 * torch.autograd.grad(loss, leaf)[0]
        torch.testing.assert_close(game.split(points[k])[0], x, rtol=0, atol=1e-13)


def test_the_ramp_lets_the_attack_grow_to_full_size():
    game = some_game()
    frozen = BestResponse(SGD(1e-300), Sign(0.4), 1, "zero", ramp=4)
    points, _ = play(frozen, game, 6)
    sizes = game.split(points)[1].abs().amax(-1)[1:]
    assert sizes.tolist() == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2])


@pytest.mark.parametrize("lookahead", LOOKAHEADS)
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_calls_of_a_step(lookahead, steps):
    _, oracle = play(BestResponse(SGD(0.1), Sign(0.1), steps, lookahead=lookahead), some_game(), 3)
    assert oracle.calls == 3 * (2 if lookahead == "extra" else 1) * (steps + 1)


# -- replays ----------------------------------------------------------------------------------------------------
class Counted(AdversarialClassification):
    """A game that notes its draws and the minibatch of every call."""

    def draw(self, shape, generator):
        sample = super().draw(shape, generator)
        self.drawn = [*getattr(self, "drawn", []), sample.index.clone()]
        return sample

    def field(self, z, sample=None, player=None):
        self.asked = [*getattr(self, "asked", []), sample.index.clone()]
        return super().field(z, sample, player)


@pytest.mark.parametrize("replays", [1, 3])
def test_a_sample_serves_so_many_steps(replays):
    game = some_game(Counted)
    play(Simultaneous((SGD(0.1), Sign(0.1)), replays), game, 9)
    asked = game.asked
    assert len(asked) == 9
    assert len({tuple(index.tolist()) for index in asked}) == 9 // replays
    assert all(torch.equal(asked[i], asked[i - i % replays]) for i in range(9))


def test_a_run_that_is_resumed_between_two_replays_goes_on_with_its_sample(tmp_path):
    whole, first = (digits_agent(make_solver("free_training", replays=4), 2) for _ in range(2))
    whole.learn(11)
    first.learn(6).save(tmp_path)
    env = digits_agent("gda", 2).env
    resumed = rg.GameAgent.load(tmp_path, env).learn(5, reset_num_timesteps=False)
    assert torch.equal(whole.z, resumed.z) and resumed.num_timesteps == 11


def test_a_step_of_the_env_does_not_disturb_the_replays():
    agents = [digits_agent(make_solver("free_training", replays=4)) for _ in range(2)]
    for agent in agents:
        agent.learn(6)
    kept = agents[1].oracle.generator.get_state()
    agents[1].env.step(dict(zip(agents[1].game.players, agents[1].game.split(agents[1].z), strict=True)))
    agents[1].oracle.generator.set_state(kept)
    agents[1].oracle.calls = 6
    after = [agent.learn(2, reset_num_timesteps=False).z for agent in agents]
    assert torch.equal(*after)


# -- recipes ----------------------------------------------------------------------------------------------------
def test_recipes_build_what_their_documentation_says():
    adam = "Adam(lr=0.003, betas=(0.9, 0.999), eps=1e-08)"
    best = (
        f"BestResponse(outer={adam}, inner=Sign(lr={{lr}}), inner_steps={{steps}}, start='random', hold=True, "
        "lookahead='none', ramp=0, answers=1, perturbation=0.0)"
    )
    assert repr(make_solver("fast_training")) == best.format(lr=0.125, steps=1)
    madry = best.format(lr=0.25 / 3, steps=3)
    assert (
        repr(make_solver("adversarial_training")) == f"Averaged(scheme={madry}, decay=0.99, lookahead=False, power=0)"
    )
    assert repr(make_solver("adversarial_training", ema=0)) == madry
    free = f"Simultaneous(rule=({adam}, Sign(lr=0.1)), replays=8)"
    assert repr(make_solver("free_training")) == free
    rest = "alternating=False, ahead=None, same_sample=False"
    assert repr(make_solver("game_training")) == f"Extragradient(rule=({adam}, Sign(lr=0.1)), {rest})"
    names = {scheme: type(make_solver("game_training", scheme=scheme)).__name__ for scheme in SCHEMES}
    assert list(names.values()) == ["Simultaneous", "Alternating", "Extragradient", "Optimistic"]
    inner = make_solver("adversarial_training", norm="l1", inner_lr=2.0, ema=0).inner
    assert inner == Steepest(2.0, "l1")
    standard = make_solver("standard_training")
    assert (standard.inner_steps, standard.start) == (0, "zero")


def last_rates(solver, horizon):
    """Return (last rate, highest rate, applications of the classifier's rule) of a run of `horizon` calls."""
    game, seen = some_game(batch=2), []
    scheme = getattr(solver, "scheme", solver)
    rule = scheme.outer if isinstance(scheme, BestResponse) else scheme.rule[0]
    agent = rg.GameAgent(rg.GameVectorEnv(game, 1, dtype="float64"), solver)
    for _ in range(10**6):
        if agent.num_timesteps >= horizon:
            break
        agent.learn(1, reset_num_timesteps=False, log_interval=10**9)
        state = agent.state.get("scheme", agent.state)
        state = state.get("rule", state)
        seen.append(state["x"]["k"])
    rates = [rule.lr(k) for k in range(1, seen[-1] + 1)]
    return rates[-1], max(rates), seen[-1]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *(("adversarial_training", {"lookahead": lookahead, "inner_steps": 2}) for lookahead in LOOKAHEADS),
        ("adversarial_training", {"lookahead": "none", "inner_steps": 2, "answers": 2, "perturbation": 0.01}),
        *(("game_training", {"scheme": scheme}) for scheme in SCHEMES),
        ("fast_training", {}),
        ("free_training", {}),
        ("standard_training", {}),
    ],
)
def test_a_horizon_ends_near_zero_with_the_run(name, settings):
    solver = make_solver(name, lr=0.01, horizon=120, **settings)
    last, highest, applied = last_rates(solver, 120)
    assert highest == 0.01 and 0 < last <= 0.05 / applied  # one of the last two of the schedule
    scheme = getattr(solver, "scheme", solver)
    if isinstance(scheme, BestResponse) and name != "standard_training":
        calls = 2 if name == "fast_training" else 6 if settings["lookahead"] == "extra" else 3
        calls = 8 if "answers" in settings else calls
        assert scheme.ramp == 120 // calls // 4


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("adversarial_training", {"inner_steps": -1}, "inner_steps is -1: a number >= 0"),
        ("adversarial_training", {"lookahead": "later"}, "lookahead is 'later': one of none, extra, past"),
        ("adversarial_training", {"norm": "l3"}, "unknown norm 'l3': did you mean"),
        ("adversarial_training", {"start": "one"}, "start is 'one': one of random, zero, keep"),
        ("adversarial_training", {"answers": 0}, "answers is 0: 1 to 8 answers"),
        ("adversarial_training", {"answers": 2, "start": "zero"}, "answers is 2: several of them differ"),
        ("adversarial_training", {"perturbation": 1.0}, r"perturbation is 1.0: a share of \|x\|"),
        ("game_training", {"scheme": "extra"}, "unknown scheme 'extra': did you mean extragradient"),
        ("free_training", {"replays": 0}, "replays is 0: a sample serves at least 1 step"),
        ("standard_training", {"epochs": 3}, "unknown setting of standard_training 'epochs'"),
        *((n, {"horizon": -1}, "horizon is -1: the oracle calls of the whole run") for n in
          ("adversarial_training", "free_training", "game_training", "standard_training", "fast_training",
           "ibp_training")),
    ],
)  # fmt: skip
def test_impossible_recipes_are_refused(name, settings, message):
    with pytest.raises(rg.GameError, match=message):
        make_solver(name, **settings)
    with pytest.raises(rg.GameError, match="ramp is -1"):
        BestResponse(SGD(0.1), SGD(0.1), ramp=-1)


# -- the oracle's points ----------------------------------------------------------------------------------------
def test_the_field_is_asked_at_the_projection_whether_or_not_it_was_made_before():
    game = some_game()
    oracle = Oracle(game, (), generator())
    z = 3 * game.initial((), generator(1))
    for _ in range(3):
        oracle.draw()
        for point in (z, oracle.project(z), oracle.place(oracle.project(z), 0, -oracle.game.split(z)[0])):
            v = oracle(point)
            fresh = Oracle(game)
            fresh.sample = oracle.sample
            projected = game.project(point, oracle.sample)
            assert torch.equal(oracle.asked, projected) and torch.equal(v, fresh(projected.clone()))
            assert torch.equal(v, game.field(projected, oracle.sample))


def test_what_was_feasible_for_one_sample_is_projected_for_the_next():
    game = some_game()
    oracle = Oracle(game, (), generator())
    oracle.draw()
    z = oracle.project(3 * game.initial((), generator(1)))
    assert oracle(z) is not None and oracle.asked is z  # no second projection
    moved = oracle.place(z, 1, 5 * game.split(z)[1])
    assert torch.equal(moved, game.project(moved, oracle.sample)) and oracle(moved) is not None
    assert oracle.asked is moved
    oracle.draw()
    v = oracle(moved)
    assert oracle.asked is not moved and not torch.equal(oracle.asked, moved)
    assert torch.equal(v, game.field(game.project(moved, oracle.sample), oracle.sample))
    for player, name in enumerate(game.players):
        oracle.draw()
        placed = oracle.place(oracle.project(z), player, game.split(z)[player] * 2)
        assert torch.equal(placed, game.project(placed, oracle.sample)), name


# -- catastrophic overfitting -----------------------------------------------------------------------------------
def test_a_classifier_that_resists_one_step_only_is_flagged():
    fgsm, several = torch.tensor([0.97, 0.95, 0.3, 0.5, float("nan")]), torch.tensor([0.4, 0.93, 0.0, 0.3, 0.1])
    flagged = catastrophic_overfitting({"clean_accuracy": fgsm, "fgsm_accuracy": fgsm, "pgd40_accuracy": several})
    assert flagged.tolist() == [True, False, False, False, False]
    assert catastrophic_overfitting({"fgsm_accuracy": fgsm}) is None
    shares = {"fgsm_accuracy": fgsm, "pgd40_accuracy": several}
    assert torch.equal(catastrophic_overfitting(shares, norm="Linf"), flagged)
    assert catastrophic_overfitting(shares, norm="L1") is None
    assert catastrophic_overfitting({"pgd40_accuracy": fgsm}) is None
    both = {"fgsm_accuracy": fgsm, "pgd40_accuracy": several}
    assert catastrophic_overfitting(both, norm="l2").any() and catastrophic_overfitting(both, norm="l1") is None


def test_standard_training_is_not_taken_for_it():
    agent = digits_agent("standard_training").learn(400)
    for eps in (0.02, 0.05, 0.1, 0.2):
        game = DigitsAdversarial(eps=eps, hidden=(64,)).held_out
        shares = accuracies(game, agent.z, 20)
        assert shares["clean_accuracy"] > 0.85 and not catastrophic_overfitting(shares, 20).any()
    assert shares["fgsm_accuracy"] < 0.5


def test_fast_training_with_too_large_a_step_collapses_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "train fast_training robustgames/DigitsAdversarial-v0 --set eps=0.25 hidden=[256,256] --inner-lr 0.5"
    assert main([*words.split(), "--steps", "1500", "--runs", "1", "--device", "cpu"]) == 0
    (folder,) = [path.parent for path in tmp_path.rglob("result.json")]
    result = json.loads((folder / "result.json").read_text())
    assert result["catastrophic_overfitting"] == [True]
    shares = {name: value["mean"] for name, value in result["metrics"].items()}
    assert shares["fgsm_accuracy"] > 0.5 > 0.4 > shares["pgd40_accuracy"] and shares["clean_accuracy"] > 0.9
    printed = " ".join(capsys.readouterr().out.split())
    assert "warning: catastrophic overfitting in 1 of 1 run of fast_training: FGSM is resisted, PGD is not" in printed


# -- early stopping ---------------------------------------------------------------------------------------------
@pytest.fixture
def heights(monkeypatch):
    """Let the accuracies at successive looks be the given rows."""

    def give(*rows):
        given = iter(rows)

        def given_accuracies(game, z, steps, processes):
            looked.append(z.clone())
            return {f"pgd{steps}_accuracy": torch.tensor(next(given)).expand(z.shape[:-1])}

        looked = []
        monkeypatch.setattr(callbacks, "accuracies", given_accuracies)
        return looked

    return give


@pytest.mark.parametrize("solver", ["standard_training", make_solver("standard_training", ema=0.9)])
def test_early_stopping_keeps_the_best_and_stops_after_its_patience(heights, solver, tmp_path):
    looked = heights([0.1], [0.5], [0.7], [0.6], [0.7], [0.4], [0.9])
    agent, early = digits_agent(solver), EarlyStopping(2, patience=3)
    agent.learn(100, callback=[early, Checkpoint(tmp_path, 1)], log_interval=1000)
    assert agent.num_timesteps == 1 + 2 * 5 and len(looked) == 6  # looks at 1, 3, 5, 7, 9, 11
    assert torch.equal(agent.best(), looked[2]) and torch.equal(agent.z, looked[2])
    assert early.accuracy.tolist() == pytest.approx([0.7])
    assert torch.equal(load_checkpoint(tmp_path)["z"], looked[2])  # also where a checkpoint was just written


def test_every_run_keeps_its_own_best(heights):
    looked = heights([0.1, 0.5], [0.2, 0.4], [0.3, 0.4], [0.1, 0.1], [0.1, 0.1])
    agent = digits_agent("standard_training", 2)
    agent.learn(5, callback=EarlyStopping(1, patience=2), log_interval=1000)
    assert torch.equal(agent.z, torch.stack([looked[2][0], looked[0][1]])) and len(looked) == 5


def test_a_run_that_leaves_the_numbers_goes_back_to_its_best(heights):
    nan = float("nan")
    looked = heights([0.2, nan], [0.3, nan], [nan, nan], [nan, 0.1])
    agent = digits_agent("standard_training", 2)
    agent.learn(4, callback=EarlyStopping(1, patience=9), log_interval=1000)
    assert torch.equal(agent.z, torch.stack([looked[1][0], looked[3][1]]))


def test_an_interrupted_training_stays_where_it_was(heights):
    heights([0.9], [0.1], [0.1], [0.1])

    def stop(inside, _):
        if inside["self"].num_timesteps == 3:
            raise KeyboardInterrupt
        return True

    agent, other = (digits_agent("standard_training") for _ in range(2))
    with pytest.raises(KeyboardInterrupt):
        agent.learn(9, callback=[EarlyStopping(1), stop], log_interval=1)
    assert torch.equal(agent.z, other.learn(agent.num_timesteps, log_interval=1).z)


def test_early_stopping_needs_held_out_images_and_sensible_numbers():
    agent = rg.GameAgent("robustgames/Bilinear-v0", "gda")
    with pytest.raises(rg.GameError, match=r"Bilinear\(\) has no held-out images to stop early by: use e.g. Digits"):
        agent.learn(3, callback=EarlyStopping(1))
    for bad in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(rg.GameError, match=r"interval, patience and attack_steps are .*: they must be >= 1"):
            EarlyStopping(*bad)


def test_patience_stops_a_run_of_the_command_line(heights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    looked = heights([0.1], [0.6], [0.5], [0.5])
    words = "train standard_training robustgames/DigitsAdversarial-v0 --set hidden=[8] validation=100 --patience 2"
    assert main([*words.split(), "--steps", "100", "--runs", "1", "--device", "cpu"]) == 0
    (folder,) = [path.parent for path in tmp_path.rglob("result.json")]
    saved = load_checkpoint(folder)
    assert len(looked) == 4 and saved["timesteps"] == 7  # looks at 1, 3, 5 and 7
    assert torch.equal(saved["z"], looked[1]) and experiment.read_experiment(folder).patience == 2


def test_one_run_that_diverges_does_not_stop_the_others():
    agent = digits_agent("fast_training", 3)
    agent.z[1] = float("nan")
    agent.learn(20, log_interval=5)
    shares = accuracies(agent.game.watched, agent.z, 3)
    assert agent.diverged == 1
    for share in shares.values():
        assert torch.isfinite(share).tolist() == [True, False, True]
    alone = accuracies(agent.game.watched, agent.z[2], 3)
    assert alone["clean_accuracy"] == shares["clean_accuracy"][2]


# -- does it train ----------------------------------------------------------------------------------------------
def robust(agent, steps=20):
    shares = accuracies(agent.game.held_out, agent.best(), steps)
    return float(shares["clean_accuracy"]), float(shares[f"pgd{steps}_accuracy"])


def test_training_in_l2_resists_attacks_in_l2():
    solver = make_solver("adversarial_training", norm="l2", inner_lr=0.5, ema=0.95)
    agent = digits_agent(solver, norm="l2", eps=1.0)
    before = robust(agent)[1]
    standard = digits_agent("standard_training", norm="l2", eps=1.0).learn(300, log_interval=1000)
    clean, after = robust(agent.learn(1200, log_interval=10_000))
    print(f"l2: start {before:.2f}, standard {robust(standard)[1]:.2f}, trained {after:.2f}, clean {clean:.2f}")
    assert after > before + 0.2 and after > robust(standard)[1] + 0.1 and clean > 0.8


@pytest.mark.parametrize(("settings", "least"), [({"trades": 6.0}, 0.5), ({"attacker": "universal"}, 0.4)])
def test_other_payoffs_and_attackers_train_too(settings, least):
    solver = make_solver("adversarial_training", ema=0.95)
    clean, attacked = robust(digits_agent(solver, **settings).learn(1000, log_interval=10_000))
    print(f"{settings}: clean {clean:.2f}, under PGD {attacked:.2f}")
    assert clean > 0.8 and attacked > least


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_remembered_attacker_plays_in_every_scheme(scheme):
    solver = make_solver("game_training", scheme=scheme, inner_lr=0.05)
    agent = digits_agent(solver, hidden=(32,), attacker="remembered").learn(300, log_interval=10_000)
    x, y = agent.game.split(agent.z)
    eta = y.view(1437, 64)
    assert eta.abs().max() <= 0.1 + 1e-6 and (agent.game.images + eta).min() >= -1e-6
    assert robust(agent)[0] > 0.7
    sample = agent.game.everything((1,))
    loss = agent.game.payoff(x, y, sample)
    assert loss > agent.game.payoff(x, torch.zeros_like(y), sample)  # what it remembers still hurts


def test_bfloat16_trains_as_float32_does():
    solver = make_solver("adversarial_training", ema=0)
    full, low = (digits_agent(solver, precision=p).learn(400, log_interval=10_000) for p in ("float32", "bfloat16"))
    assert low.z.dtype == torch.float32 and not torch.equal(full.z, low.z)
    images = full.game.held_out.images.unsqueeze(0)
    a, b = (game.logits(low.game.split(low.z)[0], images) for game in (low.game.held_out, low.game))
    assert (a - b).abs().max() < 0.02 * a.abs().max() and robust(low)[0] > 0.7


def test_a_start_point_is_measured_on_the_first_held_out_images():
    game = DigitsAdversarial(hidden=(8,))
    z = game.initial((1,), torch.Generator().manual_seed(0))
    some = game.on(game.held_out.images[:7], game.held_out.labels[:7])
    found, expected = final_certificates(game, z, 3, images=7), accuracies(some, z, 3)
    assert all(torch.equal(found[name], value) for name, value in expected.items()) and len(found) == len(expected)
    every, alone = final_certificates(game, z, 3, images=10**6), accuracies(game.held_out, z, 3)
    assert all(torch.equal(every[name], value) for name, value in alone.items())
