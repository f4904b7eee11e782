"""Adversarial examples on disk: 8-bit images keep ball and box, files come back as they were."""

import pytest
import torch
from torch import nn

from robustgames import data
from robustgames.attacks import pgd
from robustgames.attacks.saving import from_8_bit, load_examples, save_examples, to_8_bit
from robustgames.errors import GameError

ORDER = {"linf": float("inf"), "l2": 2, "l1": 1}
EPS = {"linf": 0.1, "l2": 0.6, "l1": 2.5}


def images_of_8_bits(count=60):
    """Digits on the 256 levels of a file, as the images of most datasets are."""
    _, _, x, y = data.digits()
    return (255 * x[:count]).round().div(255).view(-1, 1, 8, 8), y[:count]


@pytest.fixture(scope="module")
def network():
    images, labels, *_ = data.digits()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        adam = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(60):
            adam.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            adam.step()
    return net.eval()


@pytest.mark.parametrize("norm", ORDER)
def test_8_bit_images_are_inside_and_adversarial_says_what_the_model_says(norm, network):
    x, y = images_of_8_bits()
    x_adv = pgd(network, x, y, EPS[norm], norm, steps=10)
    q = to_8_bit(network, x, x_adv, y, EPS[norm], norm)
    seen = from_8_bit(q.images)
    size = torch.linalg.vector_norm((seen.double() - x.double()).flatten(1), ORDER[norm], dim=-1)
    assert q.images.dtype == torch.uint8 and q.images.shape == x.shape
    assert q.inside.all() and (size <= EPS[norm] + 1e-6).all()
    errs = network(seen).argmax(-1) != y
    assert torch.equal(q.adversarial, errs)
    before = network(x_adv).argmax(-1) != y
    assert q.lost == int((before & ~errs).sum()) <= 0.1 * before.sum()  # 0.1 is 25.5 levels: half of one is gone


def test_linf_rounds_to_the_nearest_level_in_the_ball():
    """0.3 is 76.5 levels: a pixel pushed by eps keeps 76 of them, one pushed by 0.1 (25.5) takes 25 or 26."""
    x = torch.tensor([[100.0, 100.0, 10.0, 250.0, 100.0]]) / 255
    x_adv = (x + torch.tensor([[0.3, -0.3, -0.3, 0.3, 10.4 / 255]])).clamp(0, 1)
    levels = to_8_bit(nn.Linear(5, 2), x, x_adv, torch.tensor([0]), 0.3).images
    assert levels.tolist() == [[176, 24, 0, 255, 110]] or levels.tolist() == [[176, 24, 0, 255, 111]]
    whole = to_8_bit(nn.Linear(5, 2), x, (x + 8 / 255).clamp(0, 1), torch.tensor([0]), 8 / 255).images
    assert whole.tolist() == [[108, 108, 18, 255, 108]]  # eps of exactly 8 levels loses none of them


def test_truncation_leaves_the_ball_and_loses_examples_that_this_keeps():
    """x_adv = x + eps sign(w) crosses the boundary of a linear classifier by half a level."""
    x = torch.full((4, 2), 100.0) / 255
    signs = torch.tensor([[1.0, -1], [-1, 1], [1, -1], [-1, -1]])
    x_adv = x + 0.1 * signs  # 25.5 levels
    truncated = (255 * x_adv).to(torch.uint8).double()
    assert (truncated - 100).abs().max() == 26  # 26 / 255 = 0.102 > 0.1: outside
    weights = torch.tensor([1.0, -1.0])

    def model(images):
        z = (images - 100 / 255) @ weights - 49.5 / 255  # 50 or 51 levels of difference are needed
        return torch.stack([torch.zeros_like(z), z], -1)

    y = torch.zeros(4).long()
    q = to_8_bit(model, x, x_adv, y, 0.1)
    assert q.inside.all() and (q.images.double() - 100).abs().max() == 25
    assert (model(x_adv).argmax(-1) == 1).tolist() == q.adversarial.tolist() == [True, False, True, False]

    def upwards(images):
        z = (images - 100 / 255).sum(-1) - 49.7 / 255
        return torch.stack([torch.zeros_like(z), z], -1)

    near = x + torch.tensor([24.9, 24.9]) / 255  # truncated to 24: lost; rounded to 25: kept
    assert not (upwards((255 * near).to(torch.uint8) / 255).argmax(-1) == 1).any()
    assert to_8_bit(upwards, x, near, y, 0.1).lost == 0


def test_what_is_lost_is_counted():
    """The classifier errs between two levels only: no 8-bit image can be adversarial."""
    x, y = torch.full((3, 1), 100.0) / 255, torch.tensor([0, 0, 1])

    def between(images):
        levels = 255 * images[:, 0]
        z = 0.3 - ((levels - levels.floor()) - 0.5).abs()
        return torch.stack([torch.zeros_like(z), z], -1)

    q = to_8_bit(between, x, x + 5.5 / 255, y, 0.1)
    assert q.lost == 2 and q.adversarial.tolist() == [False, False, True] and q.inside.all()


def test_an_example_beside_the_boundary_is_rounded_outwards():
    """At 4.2 levels the nearest level, 4, is on the near side of a boundary at 4.1; 5 is beyond it."""
    x, y = torch.full((2, 1), 100.0) / 255, torch.zeros(2).long()

    def model(images):
        z = 255 * (images[:, 0] - 100 / 255).abs() - 4.1
        return torch.stack([torch.zeros_like(z), z], -1)

    q = to_8_bit(model, x, x + torch.tensor([[4.2], [-4.2]]) / 255, y, 0.1)
    assert q.images.flatten().tolist() == [105, 95] and q.lost == 0


def test_a_ball_between_two_levels_holds_no_8_bit_image():
    x = torch.tensor([[100.5], [100.0]]) / 255
    q = to_8_bit(nn.Linear(1, 2), x, x, torch.tensor([0, 0]), 0.001)
    assert q.inside.tolist() == [False, True] and not q.adversarial[0]


def test_other_bounds_have_their_own_levels():
    x = torch.tensor([[-1.0, 0.0, 1.0]])
    q = to_8_bit(nn.Linear(3, 2), x, x.clamp(-0.9, 0.9), torch.tensor([0]), 0.2, bounds=(-1.0, 1.0))
    seen = from_8_bit(q.images, (-1.0, 1.0))
    assert q.images[0, 0] == 13 and q.images[0, 2] == 242  # 0.1 is 12.75 levels of 2 / 255
    assert (seen - x).abs().max() <= 0.2


def test_the_model_is_left_as_it_was():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).train()
    x = torch.full((5, 4), 0.2)
    before = net[1].running_mean.clone()
    with pytest.warns(UserWarning, match="in training mode"):
        to_8_bit(net, x, x, torch.zeros(5).long(), 0.1)
    assert net.training and torch.equal(net[1].running_mean, before)


def test_wrong_arguments_are_refused():
    x, y, net = torch.zeros(2, 4), torch.zeros(2).long(), nn.Linear(4, 2)
    with pytest.raises(GameError, match=r"adversarial inputs have shape \(3, 4\) with \(2,\) labels, clean ones"):
        to_8_bit(net, x, torch.zeros(3, 4), y, 0.1)
    with pytest.raises(GameError, match=r"bounds are \(1, 0\): low < high is needed"):
        to_8_bit(net, x, x, y, 0.1, bounds=(1, 0))
    with pytest.raises(GameError, match="unknown norm 'l3'"):
        to_8_bit(net, x, x, y, 0.1, "l3")
    with pytest.raises(GameError, match=r"eps is -0\.1"):
        to_8_bit(net, x, x, y, -0.1)


def test_examples_come_back_as_they_were(network, tmp_path):
    x, y = images_of_8_bits(20)
    x_adv = pgd(network, x, y, 0.1, steps=5)
    guess = network(x_adv).argmax(-1)
    q = to_8_bit(network, x, x_adv, y, 0.1)
    path = save_examples(
        tmp_path / "new" / "a.safetensors", x_adv, x, y, guess, eps=0.1, norm="linf", attack="pgd", quantized=q, of="me"
    )
    found = load_examples(path)
    for one, other in ((found.adversarial, x_adv), (found.clean, x), (found.labels, y), (found.predictions, guess)):
        assert torch.equal(one, other) and one.dtype == other.dtype
    assert torch.equal(found.images, q.images) and torch.equal(found.images_adversarial, q.adversarial)
    assert found.about == {"eps": 0.1, "norm": "linf", "attack": "pgd", "of": "me"}
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


def test_examples_of_several_classifiers_are_stacked(tmp_path):
    x, y = torch.rand(4, 6), torch.zeros(4).long()
    several, guesses = torch.rand(3, 4, 6), torch.ones(3, 4).long()
    path = save_examples(tmp_path / "a", several, x, y, guesses, eps=1.0, norm="l2", attack="fmn")
    found = load_examples(path)
    assert torch.equal(found.adversarial, several) and found.images is None
    with pytest.raises(GameError, match=r"have shapes \(3, 4, 6\), \(4, 6\), \(4,\), \(4,\)"):
        save_examples(tmp_path / "b", several, x, y, guesses[0], eps=1.0, norm="l2", attack="fmn")
    assert not (tmp_path / "b").exists()


def test_files_of_another_kind_are_named(tmp_path):
    x, y = torch.rand(4, 6), torch.zeros(4).long()
    with pytest.raises(GameError, match="no examples in"):
        load_examples(tmp_path / "nothing")
    path = save_examples(tmp_path / "a", x, x, y, y, eps=1.0, norm="l2", attack="fmn")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(GameError, match=r"a is damaged or not a file of examples \(SafetensorError\)"):
        load_examples(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(GameError, match=r"cannot write to .*file: .*; choose another folder"):
        save_examples(tmp_path / "file" / "a", x, x, y, y, eps=1.0, norm="l2", attack="fmn")
