"""Transfer between linear models against its closed form."""

import pytest
import torch

from robustgames.attacks import transfer
from robustgames.errors import GameError

DUAL = {"linf": 1.0, "l2": 2.0}


def linear(seed, count=12):
    """Return a linear model of two classes and its weights, score w x + b."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(count, generator=generator)
    b = -0.5 * w.sum()
    return (lambda x: torch.stack([-(x @ w + b) / 2, (x @ w + b) / 2], 1)), w, b


@pytest.mark.parametrize("norm", DUAL)
def test_linear_models_transfer_as_their_angle_says(norm):
    # the perturbation against s is η = -y eps u_s, u_s = sign(w_s) or w_s / |w_s|; target t loses eps <w_t, u_s>
    models = {str(seed): linear(seed) for seed in range(3)}
    x = 0.3 + 0.4 * torch.rand(200, 12, generator=torch.Generator().manual_seed(9))  # the box is out of reach
    score = x @ models["0"][1] + models["0"][2]
    y, eps = (score > 0).long(), 0.1 if norm == "linf" else 0.25
    found = transfer({name: model for name, (model, _, _) in models.items()}, x, y, eps, norm, batch_size=64)
    sign = 2 * y - 1
    for s, (_, w_s, _) in enumerate(models.values()):
        u = w_s.sign() if norm == "linf" else w_s / w_s.norm()
        for t, (_, w_t, b_t) in enumerate(models.values()):
            margin = sign * (x @ w_t + b_t) - eps * float(w_t @ u)
            sure = margin.abs() > 0.025 * eps * float(w_t.norm())  # 40 steps end that near to it
            assert sure.double().mean() > 0.9
            assert torch.equal(found.right[s, t][sure], (margin > 0)[sure])
    assert found.clean_accuracy[0] == 1 and found.accuracy.shape == (3, 3)
    assert bool((found.accuracy.diagonal() < found.clean_accuracy).all())
    table = found.table()
    assert table["models"] == ["0", "1", "2"] and table["images"] == 200
    assert table["accuracy"][0][1] == pytest.approx(float(found.right[0, 1].double().mean()))


def test_no_models_are_refused_and_no_inputs_are_fine():
    with pytest.raises(GameError, match="no classifier is given"):
        transfer({}, torch.rand(2, 12), torch.zeros(2).long(), 0.1)


def test_radii_and_bounds_of_each_input_are_those_of_its_batch():
    torch.manual_seed(0)
    x, y = torch.rand(10, 6), torch.arange(10) % 3
    models = {"a": torch.nn.Linear(6, 3), "b": torch.nn.Linear(6, 3)}
    radii, low = torch.linspace(0, 0.3, 10), (x - 0.05).clamp_min(0)
    whole = transfer(models, x, y, radii, bounds=(low, 1.0))
    for eps in (radii, radii.tolist(), radii.view(-1, 1)):
        parts = transfer(models, x, y, eps, bounds=(low, 1.0), batch_size=4)
        assert parts.right.shape == (2, 2, 10) and torch.equal(
            parts.right[:, :, :1], parts.clean[:, :1].expand(2, 2, 1)
        )
        assert torch.equal(parts.right[0, 0], whole.right[0, 0])


def test_the_record_names_the_steps_that_were_taken():
    x, y = torch.full((2, 1), 0.55), torch.zeros(2).long()
    model = lambda x: torch.cat([x, 0.5 + 0 * x], 1)  # noqa: E731
    assert transfer({"a": model}, x, y, 0.1, steps=3).table()["attack"] == "PGD with momentum, 3 steps"
    assert transfer({"a": model}, x, y, 0.1).table()["attack"] == "PGD with momentum, 40 steps"


def test_verdicts_of_several_passes_do_not_depend_on_the_global_generator():
    class Noisy(torch.nn.Module):
        def forward(self, x):
            return torch.cat([x, 0.5 + 0 * x], 1) + 0.3 * torch.randn(len(x), 2)

    x = torch.rand(40, 1, generator=torch.Generator().manual_seed(0))
    y, found = (x[:, 0] < 0.5).long(), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(transfer({"a": Noisy()}, x, y, 0.05, eot=4, steps=3))
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(found[0].right, found[1].right) and torch.equal(found[0].clean, found[1].clean)
    assert 0 < found[0].clean_accuracy < 1
    generator = torch.Generator().manual_seed(5)
    other = transfer({"a": Noisy()}, x, y, 0.05, eot=4, steps=3, generator=generator)
    assert not torch.equal(other.clean, found[0].clean)


@pytest.mark.parametrize(("wrong", "said"), [({"batch_size": 0}, "batch_size is 0"), ({"eot": 0}, "eot is 0")])
def test_numbers_below_one_are_refused_by_name(wrong, said):
    with pytest.raises(GameError, match=said):
        transfer({"a": torch.nn.Linear(2, 2)}, torch.rand(2, 2), torch.zeros(2).long(), 0.1, **wrong)
