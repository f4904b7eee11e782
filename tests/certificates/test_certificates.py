"""certified <= truth <= attacked: each certificate against closed forms, enumeration, random points and attacks."""

import itertools
from functools import cache

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

import robustgames as rg
from robustgames.attacks.problem import pose_problem
from robustgames.certificates import CERTIFICATES, Certificate, certify
from robustgames.certificates.certificate import Task
from robustgames.certificates.relaxation import Relaxation
from robustgames.data import digits

BOUNDS = ("ibp", "crown", "milp")


def mlp(*widths, seed=0, activation=nn.ReLU, dtype=torch.float64):
    torch.manual_seed(seed)
    layers = [part for p, q in itertools.pairwise(widths) for part in (nn.Linear(p, q), activation())]
    return nn.Sequential(*layers[:-1]).to(dtype).requires_grad_(False)


class Residual(nn.Module):
    """Normalization, two branches that meet, pooling, and functions instead of modules."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, stride=1, groups=3)
        self.norm, self.head, self.pool = nn.BatchNorm2d(3), nn.Linear(12, 3), nn.AvgPool2d(2)
        self.register_buffer("mean", torch.tensor(0.4))
        self.norm.running_mean.uniform_(-0.3, 0.3)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        h = torch.relu(self.norm(self.first((x - self.mean) / 0.5)))
        h = h + torch.tanh(self.second(h))
        return self.head(nn.functional.leaky_relu(self.pool(h)).view(x.size(0), -1))


def residual():
    torch.manual_seed(3)
    return Residual().double().eval().requires_grad_(False)


@cache
def trained(attack_eps=0.08):
    """Return a network of 24-24 on the digits, trained by PGD, and 50 held-out digits."""
    data = digits()
    net = mlp(64, 24, 24, 10, dtype=torch.float32).requires_grad_(True)
    optimizer, generator = torch.optim.Adam(net.parameters(), 0.01), torch.Generator().manual_seed(0)
    for k in range(300):
        i = torch.randint(len(data.train_images), (128,), generator=generator)
        x, y = data.train_images[i], data.train_labels[i]
        if k > 50:
            x = rg.attacks.pgd(net, x, y, attack_eps, steps=3, step_size=0.05, early="last", generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.requires_grad_(False), data.test_images[:50], data.test_labels[:50]


def margins_of(net, points, y):
    """Return z_y - max_c z_c, (N,)."""
    z = net(points)
    own = z.gather(1, y.view(-1, 1)).squeeze(1)
    return own - z.scatter(1, y.view(-1, 1), -torch.inf).amax(1)


@pytest.mark.parametrize("eps", [0.05, 0.1])
def test_certified_below_truth_below_attacked(eps):
    net, x, y = trained()
    found = {name: certify(net, x, y, eps, method=name) for name in BOUNDS}
    attacked = rg.attacks.evaluate(net, x, y, eps).robust
    ibp, crown, exact = (found[name].certified for name in BOUNDS)
    assert (ibp <= crown).all() and (crown <= exact).all() and (exact <= attacked).all()
    assert not found["milp"].unknown.any()
    assert int(attacked.sum() - exact.sum()) <= 1 and 20 < exact.sum() < 50 and crown.sum() < exact.sum() + (eps < 0.1)
    assert (found["ibp"].margin <= found["crown"].margin).all()
    for verdicts in found.values():
        assert not (verdicts.certified & verdicts.falsified).any()
        assert torch.equal(verdicts.margin > 0, verdicts.certified)
        wrong = verdicts.x_adv[verdicts.falsified]
        assert (net(wrong).argmax(-1) != y[verdicts.falsified]).all()
        assert (verdicts.x_adv - x).abs().max() <= eps + 1e-6 and 0 <= verdicts.x_adv.min() <= verdicts.x_adv.max() <= 1


def enumerated(net, x, y, eps):
    """Return the exact least margin over a box by one linear program per activation pattern and class."""
    layers = [(part.weight.numpy(), part.bias.numpy()) for part in net if isinstance(part, nn.Linear)]
    widths, low, high = [len(b) for _, b in layers[:-1]], (x - eps).clamp_min(0), (x + eps).clamp_max(1)
    box, least = list(zip(low.tolist(), high.tolist(), strict=True)), np.inf
    for pattern in itertools.product([0.0, 1.0], repeat=sum(widths)):
        m, k, rows, most, signs = np.eye(len(x)), np.zeros(len(x)), [], [], list(pattern)
        for (w, b), width in zip(layers[:-1], widths, strict=True):
            m, k, on = w @ m, w @ k + b, np.array(signs[:width])
            signs = signs[width:]
            rows.append((1 - 2 * on)[:, None] * m)  # z >= 0 if on, <= 0 if off
            most.append((2 * on - 1) * k)
            m, k = on[:, None] * m, on * k
        w, b = layers[-1]
        m, k = w @ m, w @ k + b
        for c in set(range(len(b))) - {y}:
            solved = linprog(m[y] - m[c], np.concatenate(rows), np.concatenate(most), bounds=box)
            least = min(least, solved.fun + k[y] - k[c]) if solved.status == 0 else least
    return least


@pytest.mark.parametrize("seed", range(4))
def test_milp_is_the_minimum_over_all_activation_patterns(seed):
    net = mlp(3, 4, 3, 3, seed=seed)
    x = torch.rand(1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    y = net(x).argmax(-1)
    found = certify(net, x, y, 0.3, method="milp", minimize=True)
    exact = enumerated(net, x[0], int(y), 0.3)
    assert float(found.margin) == pytest.approx(exact, abs=2e-4) and float(found.margin) <= exact
    assert bool(found.certified) == (exact > 1e-4) and bool(found.falsified) == (exact < -1e-4)
    assert float(certify(net, x, y, 0.3).margin) <= exact + 1e-9


def test_milp_of_convolutions_branches_and_leaky_units_lies_between_crown_and_the_points():
    torch.manual_seed(1)
    net = (
        nn.Sequential(
            nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.LeakyReLU(0.1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2, 3)
        )
        .double()
        .requires_grad_(False)
    )
    x = torch.rand(4, 1, 4, 4, dtype=torch.float64)
    y = net(x).argmax(-1)
    exact, crown = certify(net, x, y, 0.2, method="milp", minimize=True), certify(net, x, y, 0.2)
    generator = torch.Generator().manual_seed(0)
    corners = 0.2 * torch.randint(2, (20_000, 4, 1, 4, 4), generator=generator).mul(2).sub(1)
    seen = torch.stack([margins_of(net, (x + eta).clamp(0, 1), y) for eta in corners[:2000]]).amin(0)
    assert (crown.margin <= exact.margin + 2e-4).all() and (exact.margin <= seen).all()
    assert float((seen - exact.margin).min()) < 0.05  # the minimum of some image is nearly at one of the corners


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("activation", [nn.ReLU, lambda: nn.LeakyReLU(0.2), nn.Tanh, nn.Sigmoid, nn.ELU])
def test_no_random_point_or_vertex_is_below_the_bound_of_crown(norm, activation):
    net, generator = mlp(4, 12, 12, 3, seed=1, activation=activation), torch.Generator().manual_seed(0)
    x = torch.rand(5, 4, dtype=torch.float64, generator=generator)
    y, eps = net(x).argmax(-1), 0.3
    bound = certify(net, x, y, eps, norm).margin
    threat = rg.games.ThreatModel(norm, eps)
    vertices = torch.tensor(list(itertools.product([-eps, eps], repeat=4)), dtype=torch.float64)
    tight = []
    for i in range(5):
        points = x[i].expand(20_000, 4)
        eta = threat.sample(points, generator)
        if norm == "linf":
            eta = torch.cat([eta, threat.project(x[i].expand(16, 4), vertices)])
        seen = margins_of(net, x[i] + eta, y[i].expand(len(eta))).min()
        assert bound[i] <= seen
        tight.append(float(seen - bound[i]))
    assert min(tight) < 0.5
    if norm == "linf":
        assert (certify(net, x, y, eps, method="ibp").margin <= bound).all()


@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_bounds_of_branches_pooling_and_normalization_hold(method):
    net, generator = residual(), torch.Generator().manual_seed(0)
    x = torch.rand(6, 1, 4, 4, dtype=torch.float64, generator=generator)
    y = net(x).argmax(-1)
    bound = certify(net, x, y, 0.05, method=method).margin
    signs = torch.randint(2, (500, *x.shape), generator=generator).mul(2).sub(1)
    seen = torch.stack([margins_of(net, (x + 0.05 * sign).clamp(0, 1), y) for sign in signs]).amin(0)
    assert (bound <= seen).all()
    assert torch.allclose(certify(net, x, y, 0.0, method=method).margin, margins_of(net, x, y), atol=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_linear_model_is_decided_exactly_and_crown_agrees(norm):
    net, generator = mlp(6, 4, dtype=torch.float32), torch.Generator().manual_seed(0)
    x = torch.rand(200, 6, generator=generator)
    y, eps = torch.randint(4, (200,), generator=generator), {"linf": 0.05, "l2": 0.1, "l1": 0.15}[norm]
    y = torch.where(torch.arange(200) < 150, net(x).argmax(-1), y)
    weights, bias = net[0].weight, net[0].bias
    worst = rg.attacks.linear_worst_case(weights, x, y, eps, norm, bias=bias)
    exact = margins_of(net, worst, y)
    found = certify(net, x, y, eps, norm, "linear")
    assert torch.allclose(found.margin.float(), exact, atol=1e-4) and (found.margin <= exact + 1e-7).all()
    sure = exact.abs() > 1e-4
    assert torch.equal(found.certified[sure], (exact > 0)[sure]) and torch.equal(
        found.falsified[sure], (exact < 0)[sure]
    )
    assert 20 < found.certified.sum() < 150
    crown = certify(net, x, y, eps, norm)
    inner = ((x - eps >= 0) & (x + eps <= 1)).all(-1)  # without an active box the dual norm is exact
    assert torch.allclose(crown.margin[inner], found.margin[inner], atol=1e-5) and inner.sum() > 10
    assert (crown.certified <= found.certified).all()


def test_intervals_contain_what_float32_computes():
    """The bounds are those of the computed logits; without the slack of rounding they would miss some of them."""
    net = mlp(64, 200, 200, 10, dtype=torch.float32, seed=5)
    x, missed = torch.rand(100, 64, generator=torch.Generator().manual_seed(0)), 0
    with pose_problem(net, x, net(x).argmax(-1), 0.0, "linf") as p:
        task = Task(p)
        task.low = task.high = task.a
        for unit in (None, 0.0):
            low, high = Relaxation(task, linear=False, unit=unit).values[-1]
            z = net(x).double()
            outside = int(((z < low) | (z > high)).sum())
            assert outside == 0 or unit == 0.0
            missed += outside
    assert missed > 500  # of 1,000 logits


def test_the_ball_contains_the_rounding_of_the_attacks():
    """A threshold at exactly a + eps: a perturbation that is rounded up crosses it in float32."""
    net = nn.Linear(1, 2, bias=True).requires_grad_(False)
    x, eps = torch.tensor([[0.1]]), 0.3
    edge = torch.nextafter(x + torch.tensor(eps), torch.tensor(1.0))
    net.weight[:] = torch.tensor([[0.0], [1.0]])
    net.bias[:] = torch.tensor([0.0, -float(edge) + 1e-8])
    for method in ("ibp", "crown", "linear"):
        assert not certify(net, x, torch.tensor([0]), eps, method=method).certified.any()


def test_one_radius_per_image_other_bounds_and_batches():
    net, x, y = trained()
    eps = torch.linspace(0.0, 0.2, 50)
    whole = certify(net, x, y, eps)
    single = torch.stack([certify(net, x[i : i + 1], y[i : i + 1], float(eps[i])).margin[0] for i in range(50)])
    assert torch.allclose(whole.margin, single, atol=1e-6)
    wide = certify(net, x, y, 0.1, bounds=(-1, 2)).margin
    assert (wide <= certify(net, x, y, 0.1).margin + 1e-9).all()
    for method, norm in (*((name, "linf") for name in BOUNDS), ("smoothing", "l2")):
        empty = certify(net, x[:0], y[:0], 0.1, norm, method)
        assert len(empty.certified) == 0 and empty.x_adv.shape == (0, 64)


def test_a_time_limit_leaves_images_unknown_and_wrong_ones_none():
    net, x, y = trained()
    found = certify(net, x, y, 0.1, method="milp", time_limit=1e-6)
    crown = certify(net, x, y, 0.1)
    assert torch.equal(found.certified, crown.certified) and found.unknown.any()
    assert found.table()["unknown"] == int(found.unknown.sum())


def test_parameters_modes_and_gradients_stay_as_they_were():
    net = residual().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = torch.rand(3, 1, 4, 4, dtype=torch.float64)
    for method in ("ibp", "crown"):
        with pytest.warns(UserWarning, match="training mode"):
            certify(net, x, torch.tensor([0, 1, 2]), 0.1, method=method)
    assert net.training and all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Branching(nn.Module):
    def forward(self, x):
        return x[:, :3] if x.sum() > 0 else -x[:, :3]


def hooked():
    net = mlp(4, 3)
    net[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return net


def sequence(*layers):
    return nn.Sequential(*layers).double()


WRONG = {
    "unknown certificate": ({"method": "crwn"}, "unknown certificate 'crwn': did you mean crown"),
    "unknown setting": ({"method": "crown", "steps": 3}, "unknown setting of crown 'steps'"),
    "norm of ibp": ({"method": "ibp", "norm": "l2"}, "ibp certifies in linf, not in l2: use crown, or norm='linf'"),
    "norm of milp": ({"method": "milp", "norm": "l1"}, "milp certifies in linf, not in l1: use crown"),
    "norm of smoothing": ({"method": "smoothing"}, "smoothing certifies in l2, not in linf: use crown, or norm='l2'"),
    "negative radius": ({"eps": -0.1}, "eps is -0.1"),
    "radius of nan": ({"eps": float("nan")}, "eps is nan"),
    "time limit": ({"method": "milp", "time_limit": 0}, "time_limit is 0: seconds for one image, more than 0"),
    "sigma": ({"method": "smoothing", "norm": "l2", "sigma": 0}, "sigma is 0: the standard deviation"),
    "alpha": ({"method": "smoothing", "norm": "l2", "alpha": 1}, "alpha is 1: the probability of an error"),
    "draws": ({"method": "smoothing", "norm": "l2", "draws": 0}, "draws is 0: at least 1 draw"),
    "a function": ({"model": lambda x: x[:, :3]}, "the model is a function: bounds follow the layers"),
    "a branch": ({"model": Branching()}, r"the layers of Branching cannot be listed \(TraceError"),
    "a hook": ({"model": hooked()}, "the logits of Sequential differ by .* from those of its layers"),
    "unknown layer": ({"model": sequence(nn.Linear(4, 4), nn.Softmax(-1))}, r"Softmax \(1\) has no bounds: known are"),
    "max pooling": (
        {"model": sequence(nn.Unflatten(1, (1, 2, 2)), nn.MaxPool2d(1), nn.Flatten())},
        r"crown has no bounds of MaxPool2d \(1\): use ibp, or smoothing",
    ),
    "tanh in milp": (
        {"model": sequence(nn.Linear(4, 4), nn.Tanh()), "method": "milp"},
        r"milp has no bounds of Tanh \(1\): only piecewise linear networks have a MILP",
    ),
    "relu in linear": (
        {"model": mlp(4, 5, 3), "method": "linear"},
        r"linear has no bounds of ReLU \(1\): the model is not linear, use crown or milp",
    ),
    "batch statistics": (
        {"model": sequence(nn.BatchNorm1d(4, track_running_stats=False))},
        r"BatchNorm1d \(0\) has no bounds",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused(case):
    settings, message = WRONG[case]
    settings = {"model": mlp(4, 3), "eps": 0.1, **settings}
    x, y = torch.rand(2, 4, dtype=torch.float64), torch.tensor([0, 1])
    with pytest.raises(rg.GameError, match=message) as caught:
        certify(x=x, y=y, **settings)
    assert "\n" not in str(caught.value)


def test_the_table_holds_every_certificate():
    assert set(CERTIFICATES) == {"ibp", "crown", "milp", "smoothing", "linear"}
    assert set(CERTIFICATES.values()) == set(Certificate.__subclasses__())
