"""Games of attack and of adversarial training: their losses, attackers, payoffs and the solutions that are known."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from safetensors.torch import save_file
from scipy.optimize import linprog
from torch.nn import functional

import robustgames as rg
from robustgames.data import digits
from robustgames.games import (
    MLP,
    AdversarialClassification,
    DigitsAdversarial,
    DigitsAttack,
    Frozen,
    LinearAttack,
    MnistAdversarial,
    Network,
    Oracle,
    ThreatModel,
    small_cnn,
)
from robustgames.games.augmentation import SIZES, distort, patches
from robustgames.games.losses import CLASS_LOSSES, as_logits, predictions
from robustgames.testing import check_game

F64 = torch.float64
NORMS = ["linf", "l2", "l1"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_game(outputs=3, count=12, width=9, batch=5, **settings):
    g = generator(3)
    images = torch.rand(count, width, dtype=F64, generator=g)
    labels = torch.randint(max(outputs, 2), (count,), generator=g)
    game = AdversarialClassification(
        images, labels, MLP((width, 6, outputs), "tanh"), **{"eps": 0.2, "batch_size": batch, **settings}
    )
    return game.to(dtype=F64)


# -- losses of empirical risk minimization ----------------------------------------------------------------------
CLOSED_FORMS = {
    "cross_entropy": lambda s, b: np.log1p(np.exp(-b * s)),
    "logistic": lambda s, b: np.log1p(np.exp(-b * s)),
    "squared": lambda s, b: (s - b) ** 2,
    "hinge": lambda s, b: np.maximum(0, 1 - b * s),
}


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_losses_of_one_score_equal_their_closed_forms(name):
    scores = torch.linspace(-3, 3, 13, dtype=F64)
    for label, sign in ((0, -1), (1, 1)):
        got = CLASS_LOSSES[name](scores.unsqueeze(-1), torch.full((13,), label))
        np.testing.assert_allclose(got, CLOSED_FORMS[name](scores.numpy(), sign), rtol=1e-14)


@pytest.mark.parametrize("name", ["logistic", "squared", "hinge"])
def test_losses_of_several_scores_add_up_one_class_against_the_rest(name):
    scores = torch.randn(2, 7, 4, dtype=F64, generator=generator())
    labels = torch.randint(4, (2, 7), generator=generator(1))
    signs = np.where(np.arange(4) == labels.numpy()[..., None], 1, -1)
    expected = CLOSED_FORMS[name](scores.numpy(), signs).sum(-1)
    np.testing.assert_allclose(CLASS_LOSSES[name](scores, labels), expected, rtol=1e-13)


def test_cross_entropy_is_minus_the_log_probability_of_the_label():
    scores = torch.randn(2, 7, 4, dtype=F64, generator=generator())
    labels = torch.randint(4, (2, 7), generator=generator(1))
    p = np.exp(scores.numpy()) / np.exp(scores.numpy()).sum(-1, keepdims=True)
    expected = -np.log(np.take_along_axis(p, labels.numpy()[..., None], -1))[..., 0]
    np.testing.assert_allclose(CLASS_LOSSES["cross_entropy"](scores, labels), expected, rtol=1e-12)


def test_one_score_and_its_two_logits_are_the_same_classifier():
    scores = torch.randn(50, 1, dtype=F64, generator=generator())
    labels = torch.randint(2, (50,), generator=generator(1))
    assert torch.equal(predictions(scores), predictions(as_logits(scores)))
    two, one = (CLASS_LOSSES["cross_entropy"](s, labels) for s in (as_logits(scores), scores))
    torch.testing.assert_close(two, one, rtol=1e-13, atol=0)


# -- the linear attack ------------------------------------------------------------------------------------------
def margins(game, eta):
    """Return b <x, a + η> + b bias of every row, in numpy."""
    w = game.network.weights
    b = 2 * game.labels - 1
    return (((game.images + eta.view(game.images.shape)) @ w[:-1] + w[-1]) * b).numpy()


@pytest.mark.parametrize("norm", NORMS)
def test_the_solution_of_the_linear_attack_is_the_dual_norm_where_the_box_is_far(norm):
    eps, dual = 0.003, {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    game = LinearAttack(eps, count=569, norm=norm).to(dtype=F64)
    inside = ((game.images >= eps) & (game.images <= 1 - eps)).all(-1).numpy()
    assert 100 < inside.sum() < 569
    drop = eps * np.linalg.norm(game.network.weights[:-1].numpy(), dual)
    after, before = margins(game, game.solution()), margins(game, torch.zeros(569 * 30, dtype=F64))
    np.testing.assert_allclose(after[inside], (before - drop)[inside], rtol=0, atol=1e-8)  # single bounds
    assert (after >= before - drop - 1e-8).all()  # the box can only protect
    loss = np.log1p(np.exp(-(before - drop)))[inside].mean()
    rows = np.log1p(np.exp(-after))[inside].mean()
    assert abs(loss - rows) < 1e-8


def worst_drop(g, low, high, eps, norm):
    """Return max <g, η> over ball and box by a linear program; in l2 by bisection on η = min(s |g|, room)."""
    if norm == "linf":
        bounds = list(zip(np.maximum(low, -eps), np.minimum(high, eps), strict=True))
        return -linprog(-g, bounds=bounds).fun
    if norm == "l1":  # η = u - v, u, v >= 0, sum u + v <= eps
        bounds = [(0, h) for h in high] + [(0, -d) for d in low]
        return -linprog(np.concatenate([-g, g]), A_ub=np.ones((1, 2 * len(g))), b_ub=[eps], bounds=bounds).fun
    room, least, most = np.where(g > 0, high, -low), 0.0, 1e9
    for _ in range(200):
        s = (least + most) / 2
        least, most = (s, most) if np.linalg.norm(np.minimum(s * abs(g), room)) < eps else (least, s)
    return (abs(g) * np.minimum(least * abs(g), room)).sum()


@pytest.mark.parametrize("norm", NORMS)
def test_the_solution_of_the_linear_attack_solves_the_program_where_the_box_binds(norm):
    eps = {"linf": 0.3, "l2": 0.8, "l1": 1.5}[norm]
    game = LinearAttack(eps, count=20, norm=norm).to(dtype=F64)
    w, a = game.network.weights[:-1].numpy(), game.images.numpy()
    signs = 2 * game.labels.numpy() - 1
    best = [worst_drop(-b * w, -row, 1 - row, eps, norm) for row, b in zip(a, signs, strict=True)]
    drop = margins(game, torch.zeros(600, dtype=F64)) - margins(game, game.solution())
    np.testing.assert_allclose(drop, best, rtol=1e-6)
    dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    assert (drop < eps * np.linalg.norm(w, dual) - 1e-3).mean() > 0.5  # the box did bind


@pytest.mark.parametrize(
    ("name", "lr", "norm"),
    [("pgd", 0.05, "linf"), *((name, 1e6, norm) for name in ("gda", "extragradient") for norm in NORMS)],
)  # signed steps solve the problem in the maximum norm only
def test_training_free_solvers_find_the_solution_of_the_linear_attack(name, lr, norm):
    env = rg.GameVectorEnv(LinearAttack, 2, dtype="float64", device="cpu", norm=norm)
    agent = rg.GameAgent(env, rg.make_solver(name, lr=lr), seed=1)
    before = agent.game.metrics(agent.z)["distance"]
    agent.learn(40)
    solution = agent.game.solution()
    values, best = agent.game.metrics(agent.z), agent.game.metrics(solution.expand(2, -1))
    assert before.min() > 0.1 and values["distance"].max() < 1e-8
    torch.testing.assert_close(values["loss"], best["loss"], rtol=0, atol=1e-6)
    assert rg.diagnostics.duality_gap(agent.game, agent.z).abs().max() < 1e-9


@pytest.mark.parametrize("loss", ["cross_entropy", "logistic", "hinge"])
def test_the_linear_attack_is_a_game_that_keeps_its_contract(loss):
    game = LinearAttack(0.05, count=8, loss=loss)
    check_game(game)
    assert torch.equal(game.best_response(game.solution(), 1), game.solution())
    assert torch.equal(game.solution(), LinearAttack(0.05, count=8).solution())


# -- attacks on trained classifiers -----------------------------------------------------------------------------
@pytest.mark.parametrize(("id", "width", "right"), [("DigitsAttack", 64, 0.93), ("MnistAttack", 784, 0.91)])
def test_the_classifier_under_attack_is_good_and_has_no_coordinates(id, width, right):
    env = gym.make(f"robustgames/{id}-v0", count=300)
    game = env.unwrapped.game
    assert game.sizes == (0, 300 * width) and not game.sets_follow_sample
    clean = game.metrics(torch.zeros(2, 300 * width))
    assert clean["accuracy"].min() > right and clean["loss"].shape == (2,)
    env = gym.make(f"robustgames/{id}-v0", count=5)
    check_env(env.unwrapped, skip_render_check=True)


def test_pgd_through_the_agent_is_the_attack_of_the_library():
    env = rg.GameVectorEnv(DigitsAttack, 1, dtype="float64", device="cpu", eps=0.15)
    game = env.game
    agent = rg.GameAgent(env, rg.make_solver("pgd", lr=0.02), z0=[0.0] * game.sizes[1]).learn(20)
    none = torch.empty(0, dtype=F64)
    attacked = rg.attacks.pgd(
        lambda a: game.logits(none, a), game.images, game.labels, 0.15, steps=20, step_size=0.02, start="zero",
        early="last",
    )  # fmt: skip
    played = game.images + agent.z.view(game.images.shape)
    torch.testing.assert_close(played, attacked, rtol=0, atol=1e-6)
    accuracy = game.metrics(agent.z)["accuracy"]
    assert accuracy < 0.3 < 0.9 < game.metrics(0 * agent.z)["accuracy"]


def test_an_attack_of_another_norm_by_its_id():
    env = gym.make("robustgames/DigitsAttack-v0", norm="l2", eps=1.0, count=20)
    game = env.unwrapped.game
    check_env(env.unwrapped, skip_render_check=True)
    z = game.start(1, (), generator())
    rows = 10 * z.view(20, 64)
    inside = game.project(rows.flatten()).view(20, 64)
    assert (inside.norm(dim=-1) <= 1 + 1e-6).all() and (inside.norm(dim=-1) > 0.9).any()
    assert (game.images + inside).min() >= -1e-6 and (game.images + inside).max() <= 1 + 1e-6
    assert (inside.abs().amax(-1) > 0.15).any()  # the ball of another norm


def test_a_frozen_network_is_the_network_at_its_weights():
    net = MLP((9, 5, 3))
    w = net.initial((), generator(), F64)
    frozen = Frozen(net, w)
    images = torch.rand(4, 6, 9, dtype=F64, generator=generator())
    assert frozen.size == 0 and frozen.initial((4,), generator(), F64).shape == (4, 0)
    torch.testing.assert_close(frozen(torch.empty(4, 0), images), net(w.expand(4, -1), images), rtol=0, atol=1e-14)
    with pytest.raises(rg.GameError, match=r"weights have shape \(3,\): the network has \(68,\)"):
        Frozen(net, torch.zeros(3))


# -- the three attackers ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("attacker", "rows"), [("minibatch", 5), ("remembered", 12), ("universal", 1)])
def test_the_strategies_of_every_attacker_are_feasible_after_projection(attacker, rows, norm):
    game = some_game(attacker=attacker, norm=norm, eps=0.4)
    assert game.sizes == (MLP((9, 6, 3)).size, rows * 9)
    sample = game.draw((2,), generator())
    z = game.initial((2,), generator())
    far = z + torch.randn(z.shape, dtype=F64, generator=generator(1))
    x, y = game.split(game.project(far, sample))
    assert torch.equal(x, game.split(far)[0])
    size = game.threat.size(y.view(2, rows, 9))
    assert (size <= 0.4 + 1e-12).all() and (size > 0.3).any()
    seen = game.attacker.attacked(y, sample)
    assert seen.shape == (2, 5, 9) and seen.min() >= -1e-12 and seen.max() <= 1 + 1e-12
    check_game(game)


def test_a_remembered_attacker_moves_the_perturbations_of_the_minibatch_only():
    game = some_game(attacker="remembered")
    oracle = Oracle(game, (2,), generator())
    oracle.draw()
    z = oracle.project(0.5 * game.initial((2,), generator(1)))
    v = game.split(oracle(z))[1].view(2, 12, 9)
    for run in range(2):
        drawn = torch.zeros(12, dtype=torch.bool).scatter(0, oracle.sample.index[run], True)
        assert 0 < drawn.sum() < 12 and torch.equal((v[run] != 0).any(-1), drawn)
    images = game.attacker.attacked(game.split(z)[1], oracle.sample)
    own = game.split(z)[1].view(2, 12, 9)[1, oracle.sample.index[1, 3]]
    assert torch.equal(images[1, 3], game.images[oracle.sample.index[1, 3]] + own)


def test_a_universal_perturbation_is_clipped_to_the_box_image_by_image():
    game = some_game(attacker="universal", eps=0.9)
    sample = game.draw((), generator())
    y = torch.linspace(-0.9, 0.9, 9, dtype=F64)
    seen = game.attacker.attacked(y, sample)
    assert torch.equal(seen, (sample.images + y).clamp(0, 1)) and ((seen == 0) | (seen == 1)).any()
    far = torch.cat([torch.zeros(game.sizes[0], dtype=F64), 2 * y])
    assert torch.equal(game.project(far, sample)[-9:], (2 * y).clamp(-0.9, 0.9))


# -- payoffs and views of a game --------------------------------------------------------------------------------
@pytest.mark.parametrize("outputs", [1, 4])
def test_the_payoff_of_trades_is_the_clean_loss_and_a_divergence(outputs):
    game, plain = (some_game(outputs, trades=beta) for beta in (6.0, 0.0))
    sample = game.draw((), generator())
    z = game.project(game.initial((), generator(1)), sample)
    x, y = game.split(z)
    clean, attacked = (as_logits(game.logits(x, a)) for a in (sample.images, sample.images + y.view(5, 9)))
    p, q = clean.softmax(-1), attacked.softmax(-1)
    divergence = (p * (p.log() - q.log())).sum(-1)
    expected = functional.cross_entropy(clean, sample.labels) + 6 * divergence.mean()
    torch.testing.assert_close(game.payoff(x, y, sample), expected, rtol=1e-12, atol=0)
    zero = torch.zeros_like(y)
    torch.testing.assert_close(game.payoff(x, zero, sample), plain.payoff(x, zero, sample), rtol=1e-13, atol=0)
    assert divergence.min() > 1e-6 and game.split(game.field(z, sample))[1].abs().max() > 1e-6


def test_the_same_classifier_on_other_images():
    game = some_game(norm="l2", loss="hinge", trades=3.0, attacker="remembered")
    images, labels = torch.rand(7, 9, generator=generator()), torch.zeros(7, dtype=torch.long)
    other = game.on(images, labels)
    assert (other.norm, other.eps, other.loss, other.trades) == ("l2", 0.2, "hinge", 0.0)
    assert other.batch_size is None and other.images.dtype == F64 and other.sizes == (game.sizes[0], 63)
    x = game.network.initial((2,), generator(), F64)
    sample = other.draw((2,), generator())
    assert torch.equal(sample.images[1], images.double())
    scores = game.network(x, images.double().expand(2, 7, 9))
    expected = CLASS_LOSSES["hinge"](scores, labels.expand(2, 7)).mean(-1)
    assert torch.equal(other.payoff(x, torch.zeros(2, 63, dtype=F64), sample), expected)


def test_validation_images_are_kept_from_training():
    data, game = digits(), DigitsAdversarial(hidden=(8,), validation=300)
    assert len(game.images) == 1137 and len(game.watched.images) == 300 and len(game.held_out.images) == 360
    assert torch.equal(torch.cat([game.images, game.watched.images]), data.train_images)
    assert torch.equal(game.held_out.images, data.test_images)
    plain = DigitsAdversarial(hidden=(8,))
    assert torch.equal(plain.watched.images, data.test_images[:250]) and len(plain.images) == 1437
    drawn = game.draw((), generator()).index
    assert drawn.max() < 1137


@pytest.mark.parametrize("side", [8, 28])
def test_augmentation_keeps_range_and_shape_and_repeats_with_its_generator(side):
    images = torch.rand(2, 30, side * side, generator=generator())
    first, again, other = (distort(images, generator(seed)) for seed in (1, 1, 2))
    assert first.shape == images.shape and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], distort(images[:1], generator(2))[0])


def test_augmentation_moves_a_point_by_little():
    square = torch.zeros(400, 28, 28)
    square[:, 13:15, 13:15] = 1
    moved = distort(square.flatten(1), generator()).view(400, 28, 28)
    place = torch.arange(28.0) - 13.5
    mass = moved.sum((1, 2))
    down, right = (((moved.sum(axis) * place).sum(-1) / mass) for axis in (2, 1))
    assert mass.min() > 2 and mass.max() < 7
    for shift in (down, right):  # up to 2 pixels, and the warp: 3 % of 14 pixels in each standard deviation
        assert 2 / 3**0.5 * 0.8 < shift.std() < 1.7 and shift.abs().max() < 2 + 4 * 0.42 + 0.5


def test_a_game_with_augmentation_draws_other_images_of_the_same_labels():
    game = DigitsAdversarial(hidden=(8,), augment=True)
    sample = game.draw((2,), generator())
    plain = game.images[sample.index]
    assert sample.images.shape == plain.shape and (sample.images - plain).abs().mean() > 0.05
    assert torch.equal(sample.labels, game.labels[sample.index])
    assert (sample.images.mean() / plain.mean() - 1).abs() < 0.1  # nothing is lost but at the border


def kinds(eta, eps):
    """Return how many images have a start that is constant on each kind of patch and on no larger one, and interior."""
    square, found = eta.view(-1, 28, 28), dict.fromkeys((*SIZES, "uniform"), 0)
    for one in square:
        fits = ["uniform"] if bool((one.abs() < eps * (1 - 1e-6)).any()) else []
        for height, width in SIZES if not fits else ():
            h = height or 28
            blocks = one[::h, ::width].repeat_interleave(h, 0).repeat_interleave(width, 1)[:28, :28]
            fits += [(height, width)] if torch.equal(blocks, one) else []
        found[max(fits, key=lambda size: 0 if size == "uniform" else (size[0] or 28) * size[1])] += 1
    return found


def test_starts_at_patches_are_corners_of_six_kinds_with_equal_chance():
    uniform = 0.3 * (2 * torch.rand(2, 600, 784, generator=generator()) - 1)
    eta = patches(uniform, 0.3, generator(1))
    assert eta.shape == uniform.shape and eta.abs().max() <= 0.3
    counts = kinds(eta[0], 0.3)
    assert sum(counts.values()) == 600 and all(70 <= n <= 130 for n in counts.values()), counts  # 3.3 deviations
    assert abs(float(eta.mean())) < 0.005
    assert torch.equal(eta, patches(uniform, 0.3, generator(1)))


def test_a_game_starts_its_attacker_at_patches_inside_ball_and_box():
    game = some_game(width=784, starts="patches")
    oracle = Oracle(game, (3,), generator())
    oracle.draw()
    y = game.split(oracle.restart(oracle.initial(), 1))[1].view(3, 5, 784)
    attacked = oracle.sample.images + y
    assert y.abs().max() <= 0.2 + 1e-12 and attacked.min() >= -1e-12 and attacked.max() <= 1 + 1e-12
    assert ((y.abs() - 0.2).abs() < 1e-12).double().mean() > 0.5  # uniform ones are never there
    assert some_game(width=784, starts="uniform").fingerprint() == some_game(width=784).fingerprint()


def test_a_training_starts_from_stored_weights(tmp_path):
    torch.manual_seed(3)
    network = small_cnn((2, 3), 4)
    save_file({key: tensor.half() for key, tensor in network.state_dict().items()}, tmp_path / "w.safetensors")
    settings = {"channels": (2, 3), "hidden": 4, "weights": str(tmp_path / "w.safetensors")}
    game = MnistAdversarial(**settings)
    weights = game.start(0, (2,), generator())
    stored = torch.cat([p.detach().half().float().flatten() for p in network.parameters()])
    assert torch.equal(weights, stored.expand(2, -1))
    (tmp_path / "no.safetensors").write_text("no")
    for wrong in ({**settings, "hidden": 5}, {**settings, "weights": "none"}, {**settings, "weights": str(tmp_path)},
                  {**settings, "weights": str(tmp_path / "no.safetensors")}):  # fmt: skip
        with pytest.raises(rg.GameError, match=r"weights .* cannot be read|is not a plain file|is a folder"):
            MnistAdversarial(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"starts": "patch"}, "unknown starts 'patch': did you mean patches"),
        ({"starts": "patches", "norm": "l2"}, "starts='patches' are corners of balls in linf: not for l2, minibatch"),
        ({"starts": "patches", "attacker": "universal"}, "not for linf, universal"),
        ({"starts": "patches", "width": 10}, "starts='patches' need square images, not 10 pixels"),
    ],
)
def test_patches_need_square_images_and_the_ball_that_has_corners(wrong, message):
    with pytest.raises(rg.GameError, match=message):
        some_game(**wrong)


def test_bfloat16_gives_close_logits_and_keeps_the_weights():
    full, low = (DigitsAdversarial(hidden=(64,), precision=p) for p in ("float32", "bfloat16"))
    x = full.network.initial((2,), generator(), torch.float32)
    a, b = (game.logits(x, game.images[:50].expand(2, 50, 64)) for game in (full, low))
    assert b.dtype == torch.float32 and 0 < (a - b).abs().max() < 0.02
    net = Network(lambda: small_cnn((4, 4), 16))
    cnn = AdversarialClassification(torch.rand(6, 784), torch.arange(6), net, precision="bfloat16", batch_size=3)
    oracle = Oracle(cnn, (2,))
    oracle.draw()
    z = cnn.initial((2,), generator())
    assert oracle(z).dtype == torch.float32 and bool(torch.isfinite(oracle(z)).all())


# -- wrong input ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: some_game(augment=True, attacker="remembered"), "a remembered perturbation belongs to one image"),
        (lambda: some_game(augment=True, width=10), "augment distorts minibatches of square images, not batch_size=5"),
        (lambda: some_game(augment=True, batch=None), "not batch_size=None and 9 pixels: use augment=False"),
        (lambda: some_game(trades=-1.0), "trades is -1.0: the weight of the robust term is >= 0"),
        (lambda: some_game(loss="crossentropy"), "unknown loss 'crossentropy': did you mean cross_entropy?"),
        (lambda: some_game(attacker="rember"), "unknown attacker 'rember': did you mean remembered?"),
        (lambda: some_game(precision="float16"), "unknown precision 'float16': did you mean"),
        (lambda: some_game(norm="linfty"), "unknown norm 'linfty': did you mean linf?"),
        (lambda: some_game(eps=1.5), r"eps is 1.5: the radius of the attack is in \[0, 1\]"),
        (lambda: some_game(eps=-0.1, norm="l2"), "eps is -0.1: the radius of the attack is a finite number >= 0"),
        (lambda: some_game(batch=0), "batch_size is 0: at least 1 image"),
        (lambda: DigitsAdversarial(validation=1437), "validation is 1437: 0 to 1436 training images can be kept"),
        (lambda: DigitsAdversarial(validation=-1), "validation is -1"),
        (lambda: DigitsAttack(count=361), "count is 361: 1 to 360 held-out images can be attacked"),
        (lambda: LinearAttack(count=0), "count is 0: there are 1 to 569 samples"),
        (lambda: LinearAttack(loss="squared"), "the squared loss also grows with large margins"),
        (lambda: LinearAttack(loss="logistics"), "unknown loss 'logistics': did you mean logistic?"),
    ],
)
def test_impossible_games_are_refused_in_one_line(make, message):
    with pytest.raises(rg.GameError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("loss", ["cross_entropy", "logistic", "squared", "hinge"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_dtype_of_labels_does_not_change_the_payoff(loss, outputs):
    images, labels = torch.rand(5, 4, generator=generator()), torch.tensor([0, 1, 1, 0, 1])
    values = []
    for dtype in (torch.int64, torch.int32, torch.uint8, torch.bool):  # the margin of a uint8 label 0 was 255 times it
        game = AdversarialClassification(images, labels.to(dtype), MLP((4, outputs)), batch_size=None, loss=loss)
        x, y = game.split(torch.linspace(-1, 1, sum(game.sizes)))
        values.append(float(game.payoff(x, y, game.everything(()))))
    assert values == values[:1] * 4
    scores = MLP((4, outputs))(x, images + y.view(5, 4))
    if loss == "hinge" and outputs == 1:
        assert values[0] == pytest.approx(float((1 - (2 * labels - 1) * scores[:, 0]).relu().mean()))


@pytest.mark.parametrize(
    ("labels", "outputs", "said"),
    [
        (torch.tensor([[0], [1]]), 3, r"labels have shape \(2, 1\): \(2,\) is needed"),
        (torch.tensor([0, 3]), 3, "labels go up to 3: a network with 3 outputs takes labels 0 to 2"),
        (torch.tensor([0, 2]), 1, "labels go up to 2: a network with one output takes labels 0 and 1"),
    ],
)
def test_labels_that_do_not_fit_the_network_are_refused(labels, outputs, said):
    net, images = MLP((4, outputs)), torch.rand(2, 4)
    with pytest.raises(rg.GameError, match=said):
        AdversarialClassification(images, labels, net)
    with pytest.raises(rg.GameError, match=said):  # nor is a frozen network spared: two was played as a margin of three
        rg.games.ClassifierAttack(images, labels, net, torch.zeros(net.size))


def test_a_large_radius_is_allowed_where_it_means_something():
    assert some_game(eps=1.5, norm="l2").threat.eps == some_game(eps=1.5, norm="l1").threat.eps == 1.5
    assert ThreatModel("linf", 1.5).eps == 1.5  # inputs of an attack need not lie in [0, 1]
