"""Attacks that see labels or logits alone, and ℓ0: closed forms on linear classifiers, and the peers' strength."""

import warnings
from functools import cache
from itertools import combinations

import pytest
import torch
from torch import nn

from robustgames import attacks
from robustgames.attacks.ensemble import evaluate
from robustgames.attacks.hop_skip_jump import HopSkipJump
from robustgames.attacks.nes import NES, Estimated
from robustgames.attacks.problem import pose_problem
from robustgames.attacks.saving import to_8_bit
from robustgames.attacks.victim import Victim
from robustgames.certificates import certify
from robustgames.data import digits
from robustgames.errors import GameError
from robustgames.games import DigitsAdversarial
from robustgames.solvers.rules import Steepest

ORDERS = {"linf": float("inf"), "l2": 2.0}


def size(d, norm):
    return torch.linalg.vector_norm(d.flatten(1), ORDERS[norm], dim=-1)


def linear(classes=4, n=12, count=20, room=100.0):
    """Return a linear classifier, inputs that it classifies correctly, labels, and bounds that are no limit."""
    g = torch.Generator().manual_seed(5)
    model = nn.Linear(n, classes, dtype=torch.float64)
    model.weight.data = torch.randn(classes, n, generator=g, dtype=torch.float64)
    model.bias.data = torch.zeros(classes, dtype=torch.float64)
    x = torch.randn(count, n, generator=g, dtype=torch.float64)
    return model, x, model(x).argmax(-1), (-room, room)


def least(model, x, y, norm):
    """Return the distance to the nearest boundary of a linear classifier without a box, (N,)."""
    z, w = model(x).detach(), model.weight.detach()
    gaps = z.gather(1, y.unsqueeze(1)) - z
    slopes = torch.linalg.vector_norm(w[y].unsqueeze(1) - w, {"linf": 1.0, "l2": 2.0}[norm], dim=-1)
    return (gaps / slopes).scatter(1, y.unsqueeze(1), float("inf")).amin(1)


@cache
def trained():
    """Return a network of the digits with two hidden layers, and held-out images that it knows with their labels."""
    torch.manual_seed(0)
    x, y, held_x, held_y = digits()[:4]
    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(15):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    optimizer.zero_grad()
    right = net(held_x).argmax(-1) == held_y
    return net.eval(), held_x[right], held_y[right]


# -- HopSkipJump ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("norm", ORDERS)
def test_hop_skip_jump_reaches_the_nearest_boundary_of_a_linear_classifier(norm):
    model, x, y, bounds = linear()
    found = attacks.hop_skip_jump(model, x, y, norm, queries=5000, bounds=bounds)
    ratio = size(found - x, norm) / least(model, x, y, norm)
    assert (model(found).argmax(-1) != y).all()
    assert ratio.min() >= 1 - 1e-9 and ratio.median() < 1.03


@pytest.mark.parametrize("norm", ORDERS)
def test_hop_skip_jump_sees_labels_alone(norm):
    net, x, y = trained()

    def labels_only(inputs):
        return 3 * nn.functional.one_hot(net(inputs).argmax(-1), 10).to(inputs) - 1

    found, same = (attacks.hop_skip_jump(m, x[:20], y[:20], norm, queries=400) for m in (net, labels_only))
    assert torch.equal(found, same)
    assert torch.equal(found, attacks.hop_skip_jump(net, x[:20], y[:20], norm, queries=400))
    other = torch.Generator().manual_seed(1)
    assert not torch.equal(found, attacks.hop_skip_jump(net, x[:20], y[:20], norm, queries=400, generator=other))


@pytest.mark.parametrize("queries", [1, 2, 7, 50, 300])
def test_hop_skip_jump_keeps_its_budget_in_every_row(queries):
    net, x, y = trained()
    counts = torch.zeros(16, dtype=torch.long)

    class Counting(nn.Module):
        """A network that counts the queries of each row, which an additional coordinate names."""

        def forward(self, inputs):
            counts.index_add_(0, inputs[:, -1].long(), torch.ones(len(inputs), dtype=torch.long))
            return net(inputs[:, :-1])

    named = torch.cat([x[:16], torch.arange(16).unsqueeze(-1).to(x)], 1)
    low, high = (torch.cat([torch.full((16, 64), v), named[:, -1:]], 1) for v in (0.0, 1.0))
    found = HopSkipJump(queries=queries)
    with pose_problem(Counting(), named, y[:16], 0.0, "l2", (low, high), any_radius=True) as p:
        eta = found.run(p)
    assert counts.max() <= queries and counts.min() >= 1
    assert torch.isfinite(eta).all()
    if queries >= 300:
        assert counts.min() > queries - 60  # little is left over


def test_hop_skip_jump_leaves_misclassified_rows_and_those_without_a_start():
    net, x, y = trained()
    wrong = torch.where(torch.arange(10) % 2 == 0, (y[:10] + 1) % 10, y[:10])
    found = attacks.hop_skip_jump(net, x[:10], wrong, queries=300)
    assert torch.equal(found[::2], x[:10:2]) and (found[1::2] != x[1:10:2]).any(-1).all()
    constant = nn.Linear(4, 2)
    constant.weight.data.zero_()
    constant.bias.data = torch.tensor([2.0, 0.0])
    inputs = torch.rand(3, 4)
    victim = Victim(constant)
    assert torch.equal(attacks.hop_skip_jump(victim, inputs, torch.zeros(3).long(), queries=90, tries=20), inputs)
    assert victim.forwards == 3 * 21  # the input itself and 20 tries


def test_hop_skip_jump_leads_to_targets_with_one_input_and_without_a_box():
    net, x, y = trained()
    targets = (y[:30] + 1) % 10
    found = attacks.hop_skip_jump(net, x[:30], y[:30], queries=600, targets=targets)
    reached = net(found).argmax(-1) == targets
    assert reached.double().mean() > 0.9 and torch.equal(found[~reached], x[:30][~reached])
    alone = attacks.hop_skip_jump(net, x[:1], y[:1], queries=600)
    assert net(alone).argmax(-1) != y[:1]
    model, x, y, _ = linear()
    wide = attacks.hop_skip_jump(model, x, y, queries=600, bounds=(-float("inf"), float("inf")))
    assert torch.isfinite(wide).all() and (model(wide).argmax(-1) != y).all()
    assert len(attacks.hop_skip_jump(model, x[:0], y[:0])) == 0


# -- NES --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.02), ("l2", 0.06)])
def test_nes_reaches_the_largest_loss_of_a_linear_classifier(norm, eps):
    model, x, y, _ = linear(classes=2)
    x = 0.2 + 0.6 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    y = model(x).argmax(-1)
    stays = nn.Linear(12, 2, dtype=x.dtype)  # the same slopes and no change of class: rows stay to the end
    stays.weight.data, stays.bias.data = model.weight.data, torch.zeros(2, dtype=x.dtype)
    shift = 10 * nn.functional.one_hot(y, 2)

    def scores(inputs):
        return stays(inputs) + shift.repeat(len(inputs) // len(y), 1)

    def margin(inputs):
        z = scores(inputs).detach()
        return (z.gather(1, 1 - y.unsqueeze(1)) - z.gather(1, y.unsqueeze(1))).squeeze(1)

    found = attacks.nes(scores, x, y, eps, norm, queries=5000)
    best = attacks.linear_worst_case(model.weight.detach(), x, y, eps, norm)
    gain = (margin(found) - margin(x)) / (margin(best) - margin(x))
    assert gain.max() <= 1 + 1e-9 and gain.min() > 0.9 and gain.mean() > 0.95


def test_estimates_are_the_gradient_in_the_mean():
    net, x, y = trained()
    with pose_problem(net.double(), x[:3].double() * 0.8 + 0.1, y[:3], 0.1, "linf", loss="margin") as p:
        eta = torch.zeros_like(p.a)
        known = {name: getattr(p, name) for name in Estimated.__dataclass_fields__ if hasattr(p, name)}
        estimate = Estimated(**{**known, "pairs": 40_000, "sigma": 1e-5}).slope(eta)
        exact = p.slope(eta)
    net.float()
    assert (torch.cosine_similarity(estimate, exact) > 0.99).all()
    ratio = (estimate * exact).sum(-1) / exact.square().sum(-1)
    assert (ratio - 1).abs().max() < 0.02  # the length too


@pytest.mark.parametrize("loss", ["ce", "margin", "dlr"])
def test_nes_raises_the_loss_and_lowers_that_of_a_target(loss):
    net, x, y = trained()
    x, y = x[:20], y[:20]
    targets = (y + 1) % 10

    def values(inputs, **aim):
        with pose_problem(net, inputs, y, 0.0, "l2", loss=loss, **aim) as p:
            return p.losses(torch.zeros_like(p.a))[0]

    found = attacks.nes(net, x, y, 0.2, "l2", queries=300, sigma=0.01, loss=loss)
    assert (values(found) > values(x)).double().mean() > 0.9
    toward = attacks.nes(net, x, y, 0.2, "l2", queries=300, sigma=0.01, loss=loss, targets=targets)
    assert (values(toward, targets=targets) > values(x, targets=targets)).double().mean() > 0.9
    z, before = net(toward), net(x)
    gap, was = ((w.gather(1, targets[:, None]) - w.gather(1, y[:, None])).mean() for w in (z, before))
    assert gap > was


def test_nes_counts_its_queries_and_takes_no_gradient():
    net, x, y = trained()
    victim = Victim(net)
    found = attacks.nes(victim, x[:20], y[:20], 1e-6, queries=256)
    assert victim.forwards == 20 * 256 and victim.backwards == 0  # 5 steps of 51 and the last check; no row is fooled
    assert torch.equal(found, attacks.nes(net, x[:20], y[:20], 1e-6, queries=256))
    assert size(found - x[:20], "linf").max() <= 1e-6 + 1e-7
    wrong = (y[:20] + 1) % 10
    assert torch.equal(attacks.nes(net, x[:20], wrong, 0.1, queries=256), x[:20])
    assert len(attacks.nes(net, x[:0], y[:0], 0.1)) == 0


def test_nes_and_hop_skip_jump_ignore_the_gradients_of_others():
    """A mask of NaN gradients that an attack before left in the victim does not stop them."""
    net, x, y = trained()
    victim = Victim(net)
    victim.lost = torch.ones(20, dtype=torch.bool)
    assert torch.equal(
        attacks.nes(victim, x[:20], y[:20], 0.1, queries=256), attacks.nes(net, x[:20], y[:20], 0.1, queries=256)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NES(samples=3), "samples is 3: .*even"),
        (lambda: NES(queries=20), "queries is 20: a step takes samples . 1 = 51"),
        (lambda: NES(sigma=0.0), "sigma is 0.0"),
        (lambda: HopSkipJump(queries=0), "queries is 0: at least 1"),
        (lambda: HopSkipJump(draws=0), "draws is 0"),
        (lambda: attacks.hop_skip_jump(*trained(), "l1"), "l1"),
        (lambda: attacks.nes(*trained(), 1, "l0"), "l0"),
    ],
)
def test_bad_settings(call, message):
    with pytest.raises(GameError, match=message):
        call()


# -- ℓ0 -------------------------------------------------------------------------------------------------------
def fewest_changes(model, x, y):
    """Return the least number of coordinates that a linear classifier needs: |w_i| times the room, sorted, summed."""
    z, w = model(x).detach(), model.weight.detach()
    counts = []
    for rival in range(len(w)):
        slope = w[rival] - w[y]
        gain = torch.where(slope > 0, slope * (1 - x), -slope * x).sort(-1, descending=True).values.cumsum(-1)
        gap = z.gather(1, y.unsqueeze(1)) - z[:, rival : rival + 1]
        count = (gain < gap).sum(-1) + 1
        counts.append(torch.where((y == rival) | (count > x.shape[1]), 10**6, count))
    return torch.stack(counts).amin(0)


def test_fmn_changes_the_fewest_coordinates_of_a_linear_classifier():
    model, x, y, _ = linear(classes=2, n=30, count=60)
    x = torch.rand(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    y, best = model(x).argmax(-1), fewest_changes(model, x, model(x).argmax(-1))
    found = attacks.fmn(model, x, y, "l0")
    assert best.max() >= 5  # the inputs differ in difficulty
    assert (model(found).argmax(-1) != y).all() and ((found >= 0) & (found <= 1)).all()
    assert torch.equal((found != x).sum(-1), best)
    scaled = attacks.fmn(lambda t: model(t / 1000), 1000 * x, y, 0, bounds=(0.0, 1000.0))
    assert torch.equal((scaled != 1000 * x).sum(-1), best)


def test_fmn_in_l0_is_close_to_exhaustive_search():
    """No attack can change fewer coordinates than the search over all pairs at the walls, where a pair is enough."""
    net, x, y = trained()
    x, y = x[:40], y[:40]
    found = (attacks.fmn(net, x, y, "l0") != x).sum(-1)
    best = torch.full_like(found, 3)
    for k in (2, 1):
        sets = torch.tensor(list(combinations(range(64), k))).repeat_interleave(2**k, 0)
        corners = (torch.arange(len(sets)).unsqueeze(-1) >> torch.arange(k)) & 1
        for row, (image, label) in enumerate(zip(x, y, strict=True)):
            trials = image.repeat(len(sets), 1).scatter(1, sets, corners.to(x))
            if (net(trials).argmax(-1) != label).any():
                best[row] = k
    few = best < 3
    assert few.sum() >= 20 and (found >= best).all()
    assert found[few].double().mean() <= 1.1 * best[few].double().mean()


def test_l0_keeps_misclassified_rows_and_drops_what_is_not_needed():
    net, x, y = trained()
    wrong = (y[:5] + 1) % 10
    assert torch.equal(attacks.fmn(net, x[:5], wrong, "l0", steps=5), x[:5])
    counts = [(attacks.fmn(net, x[:100], y[:100], "l0", 20, search=s) != x[:100]).sum() for s in (0, 6)]
    assert counts[1] <= counts[0]


def test_l0_survives_gradients_that_are_nan():
    net, x, y = trained()

    class Rooted(nn.Module):
        def forward(self, inputs):
            return net(inputs) + 0 * (inputs[:, :1] - inputs[:, :1]).sqrt()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = attacks.fmn(Rooted(), x[:5], y[:5], "l0", steps=5)
    assert torch.equal(found, x[:5]) and any("NaN" in str(one.message) for one in caught)


def test_evaluate_counts_l0_exactly():
    net, x, y = trained()
    x, y = x[:100], y[:100]
    found = attacks.fmn(net, x, y, "l0")
    counts = (found != x).sum(-1)
    for eps in (1, 2, 3):
        report = evaluate(net, x, y, eps, "l0", ["fmn"])
        changed = (report.x_adv != x).sum(-1)
        assert changed.max() <= eps and (net(report.x_adv).argmax(-1) != y)[~report.robust].all()
        assert int((~report.robust).sum()) >= int((counts <= eps).sum()) - 2  # other draws
    with pytest.raises(GameError, match="apgd-ce attacks in linf and l2 and l1, not in l0: use fmn"):
        evaluate(net, x, y, 3, "l0")
    with pytest.raises(GameError, match="a whole number"):
        evaluate(net, x, y, 0.3, "l0", ["fmn"])


def test_8_bit_images_keep_their_number_of_pixels():
    net, x, y = trained()
    x = (x[:60] * 255).round() / 255
    found = attacks.fmn(net, x, y[:60], "l0")
    inside = (found != x).sum(-1) <= 2
    images = to_8_bit(net, x[inside], found[inside], y[:60][inside], 2, "l0")
    assert images.inside.all() and images.adversarial.double().mean() > 0.9
    assert ((images.images != (x[inside] * 255).round().to(torch.uint8)).sum(-1) <= 2).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda net, x, y: attacks.fgsm(net, x, y, 2, "l0"),
        lambda net, x, y: attacks.pgd(net, x, y, 2, "l0"),
        lambda net, x, y: attacks.apgd(net, x, y, 2, "l0"),
        lambda net, x, y: attacks.square(net, x, y, 2, "l0"),
        lambda net, x, y: attacks.fab(net, x, y, 2, "l0"),
        lambda net, x, y: attacks.deepfool(net, x, y, "l0"),
        lambda net, x, y: attacks.universal(net, x, y, 2, "l0"),
        lambda net, x, y: attacks.linear_worst_case(net[0].weight[:10], x, y, 2, "l0"),
        lambda net, x, y: attacks.checks.self_checks(net, x, y, 2, "l0", thorough=True),
        lambda net, x, y: certify(net, x, y, 2, "l0", method="crown"),
        lambda net, x, y: DigitsAdversarial(norm="l0", eps=2),
        lambda net, x, y: Steepest(0.1, "l0"),
    ],
)
def test_whatever_has_no_version_in_l0_says_so(call):
    net, x, y = trained()
    with pytest.raises(GameError, match="l0"):
        call(net, x[:3], y[:3])


# -- peers --------------------------------------------------------------------------------------------------------
def show(name, ours, theirs):
    print(f"{name}: ours {ours:.4f}, theirs {theirs:.4f}, ratio {ours / theirs:.3f}")


@pytest.mark.parametrize("steps", [100])
def test_l0_is_no_larger_than_foolbox(steps):
    foolbox = pytest.importorskip("foolbox")
    net, x, y = trained()
    aim = foolbox.Misclassification(y)
    theirs = foolbox.attacks.L0FMNAttack(steps=steps).run(foolbox.PyTorchModel(net, (0, 1), device="cpu"), x, aim)
    ours = attacks.fmn(net, x, y, "l0", steps)
    counts = []
    for found in (ours, theirs):
        assert (net(found).argmax(-1) != y).double().mean() > 0.99
        counts.append((found != x).sum(-1).double().mean())
    show(f"l0, {steps} steps", *counts)
    assert counts[0] <= 1.02 * counts[1]


@pytest.mark.slow
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("norm", ORDERS)
@pytest.mark.parametrize("peer", ["foolbox", "art"])
def test_hop_skip_jump_is_no_larger_than_its_peers(peer, norm, alone):
    """At equal queries per image, with the starts of a batch, and image by image with random starts as the peers."""
    pytest.importorskip({"foolbox": "foolbox", "art": "art"}[peer])
    net, x, y = trained()
    x, y, victim = x[150:190], y[150:190], Victim(net)  # the rule of starts was chosen on the images before
    theirs = PEERS[peer](Counted(victim), x, y, norm)
    queries = victim.forwards // len(x)
    if alone:
        draws = torch.Generator().manual_seed(0)
        ours = torch.cat(
            [
                attacks.hop_skip_jump(net, a[None], b[None], norm, queries, generator=draws)
                for a, b in zip(x, y, strict=True)
            ]
        )
    else:
        ours = attacks.hop_skip_jump(net, x, y, norm, queries)
    each = 1 if alone else len(x)  # passes as in the attack: on the boundary, rounding decides
    labels = [torch.cat([net(part).argmax(-1) for part in f.split(each)]) for f in (ours, theirs)]
    won, norms = [found != y for found in labels], [size(f - x, norm) for f in (ours, theirs)]
    both = won[0] & won[1]
    show(f"success, {norm}, {peer}", *(part.double().mean() for part in won))
    show(f"{norm}, {peer}, {queries} queries, alone={alone}", *(part[both].mean() for part in norms))
    assert won[0].double().mean() >= won[1].double().mean() - 0.02
    assert norms[0][both].mean() <= 1.02 * norms[1][both].mean()


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.06), ("l2", 0.35)])
def test_nes_is_as_strong_as_the_estimator_of_foolbox(norm, eps):
    foolbox = pytest.importorskip("foolbox")
    from foolbox.gradient_estimators import es_gradient_estimator

    net, x, y = trained()
    x, y = x[:60], y[:60]
    kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
    estimated = es_gradient_estimator(kind, samples=50, sigma=1e-3, bounds=(0, 1), clip=True)
    model = foolbox.PyTorchModel(net, (0, 1), device="cpu")
    theirs = [  # image by image: of a batch it estimates the gradient of the sum
        estimated(steps=19, rel_stepsize=0.2).run(model, a[None], foolbox.Misclassification(b[None]), epsilon=eps)
        for a, b in zip(x, y, strict=True)
    ]
    ours = attacks.nes(net, x, y, eps, norm, queries=20 * 51)
    shares = [(net(found).argmax(-1) != y).double().mean() for found in (ours, torch.cat(theirs))]
    show(f"success, {norm}, NES", *shares)
    assert shares[0] >= shares[1] - 0.02


class Counted(nn.Module):
    """A network whose passes a victim counts."""

    def __init__(self, victim):
        super().__init__()
        self.victim = victim

    def forward(self, inputs):
        return self.victim.logits(inputs.float())


def _foolbox(net, x, y, norm):
    import foolbox

    torch.manual_seed(0)
    model, attack = foolbox.PyTorchModel(net.eval(), (0, 1), device="cpu"), foolbox.attacks.HopSkipJumpAttack
    parts = [  # image by image: in a batch it divides all normals by the norm of all of them together
        attack(steps=8, constraint=norm).run(model, a[None], foolbox.Misclassification(b[None]))
        for a, b in zip(x, y, strict=True)
    ]
    return torch.cat(parts)


def _art(net, x, y, norm):
    import numpy as np
    from art.attacks.evasion import HopSkipJump as Theirs
    from art.estimators.classification import PyTorchClassifier

    np.random.seed(0)
    model = PyTorchClassifier(net, nn.CrossEntropyLoss(), (64,), 10, clip_values=(0, 1), device_type="cpu")
    attack = Theirs(model, norm=2 if norm == "l2" else np.inf, max_iter=8, verbose=False)
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


PEERS = {"foolbox": _foolbox, "art": _art}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_nes_sees_differences_in_a_narrow_type(dtype):
    """Points at a distance of 0.001 are the image itself in bfloat16, whose steps are 0.004 below 1."""
    torch.manual_seed(0)
    net, x = torch.nn.Linear(20, 2).to(dtype), (0.5 + 0.4 * torch.rand(40, 20)).to(dtype)
    y = net(x).argmax(1)
    x_adv = attacks.nes(net, x, y, 0.05, queries=520)
    w = (net.weight[1] - net.weight[0]).double() * (1 - 2 * y).view(-1, 1).double()
    gain, most = ((x_adv - x).double() * w).sum(1), 0.05 * w.abs().sum(1)
    open_ = net(x_adv).argmax(1) == y
    assert open_.any() and (gain / most)[open_].mean() > 0.6
