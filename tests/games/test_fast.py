"""The fast input gradient of convolutions: the gradients of torch, and a module that is left as it was found."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

import robustgames as rg
from robustgames.games import Network, fast
from robustgames.games.fast import InputGradient, fast_input_gradients, with_fast_input_gradients

GEOMETRIES = [
    {"kernel_size": k, "stride": s, "padding": p, "dilation": d}
    for k, s, p, d in (
        (3, 1, 1, 1), (3, 2, 1, 1), (4, 2, 1, 1), (5, 1, 0, 1), (7, 2, 3, 1), (1, 1, 0, 1), (1, 3, 0, 1), (3, 1, 2, 2),
        ((2, 5), (3, 1), (0, 2), (1, 1)), ((3, 2), (2, 1), (2, 0), (1, 3)),
    )
]  # fmt: skip


@pytest.fixture(autouse=True)
def everywhere(monkeypatch):
    """Use it in float64 too, for any number of rows, where it never pays."""
    monkeypatch.setattr(fast, "CHANNELS", {torch.float32: 3, torch.float64: 3, torch.bfloat16: 1})
    monkeypatch.setattr(fast, "LEAST_ROWS", 1)
    monkeypatch.setattr(fast, "FEW_OUTPUTS", 0)


def conv(channels=1, out=4, **kwargs):
    torch.manual_seed(0)
    kwargs = {"kernel_size": 3, "padding": 1, "dtype": torch.float64} | kwargs
    return nn.Conv2d(channels, out, **kwargs)


def images(channels=1, rows=5, height=11, width=9, **kwargs):
    return torch.rand(rows, channels, height, width, **{"dtype": torch.float64} | kwargs)


def classifier(**kwargs):
    return nn.Sequential(conv(stride=2, **kwargs), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(120, 3).double())


def gradients(module, x, create_graph=False):
    x = x.detach().requires_grad_()
    y = module(x)
    target = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    wanted = [x, *(parameter for parameter in module.parameters() if parameter.requires_grad)]
    return torch.autograd.grad((y.tanh() * target).sum(), wanted, create_graph=create_graph)


def used(module, x):
    return type(module(x.detach().requires_grad_()).grad_fn).__name__ == "InputGradientBackward"


# -- gradients ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_gradients_equal_torch(geometry, channels, monkeypatch):
    module, x = conv(channels, bias=channels != 2, **geometry), images(channels)
    expected = gradients(module, x)
    for cache in (2**21, 1):  # all rows at once, and row by row
        monkeypatch.setattr(fast, "CACHE", cache)
        with fast_input_gradients(module):
            assert used(module, x)
            torch.testing.assert_close(gradients(module, x), expected, rtol=0, atol=1e-10)


def test_outputs_are_bitwise_the_same():
    module, x = conv(3, dtype=torch.float32), images(3, dtype=torch.float32).requires_grad_()
    expected = module(x)
    with fast_input_gradients(module):
        assert torch.equal(module(x), expected)
        assert torch.equal(module(x.detach()), expected)


def test_second_derivatives():
    module, x = conv(2, stride=2, dilation=2), images(2, rows=2, height=6, width=5).requires_grad_()
    names, parameters = zip(*module.named_parameters(), strict=True)

    def function(x, *parameters):
        return functional_call(module, dict(zip(names, parameters, strict=True)), (x,)).tanh()

    with fast_input_gradients(module):
        assert used(module, x)
        assert torch.autograd.gradcheck(function, (x, *parameters))
        assert torch.autograd.gradgradcheck(function, (x, *parameters))


def test_gradients_under_create_graph():
    module, x = conv(), images()
    expected = gradients(module, x)
    with fast_input_gradients(module):
        torch.testing.assert_close(gradients(module, x, create_graph=True), expected, rtol=0, atol=1e-10)


def test_weight_gradients_are_not_computed_where_nobody_asks(monkeypatch):
    module, x = conv(), images().requires_grad_()
    with fast_input_gradients(module):
        y = module(x)
    asked = []
    y.grad_fn.next_functions[1][0].register_hook(lambda *_: asked.append(1))  # the convolution under it
    torch.autograd.grad(y.sum(), x, retain_graph=True)
    assert asked == []
    torch.autograd.grad(y.sum(), (x, module.weight))
    assert asked == [1]


def test_frozen_weights():
    module, x = conv(), images()
    expected = gradients(module, x)[0]
    module.requires_grad_(False)
    with fast_input_gradients(module):
        torch.testing.assert_close(gradients(module, x)[0], expected, rtol=0, atol=1e-10)


def test_autocast():
    module = conv(dtype=torch.float32)
    x = images(dtype=torch.float32).requires_grad_()

    def gradient():
        with torch.autocast("cpu", torch.bfloat16):
            y = module(x)
        assert y.dtype == torch.bfloat16
        return torch.autograd.grad(y.float().square().sum(), x)[0]

    expected = gradient()
    with fast_input_gradients(module):
        found = gradient()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


def test_function_transforms_fall_back():
    module, x = conv(), images()

    def norm(x):
        return module(x.unsqueeze(0)).square().sum()

    expected = torch.func.vmap(torch.func.grad(norm))(x)
    with fast_input_gradients(module):
        torch.testing.assert_close(torch.func.vmap(torch.func.grad(norm))(x), expected)


# -- which modules -------------------------------------------------------------------------------------------------
class Own(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "module",
    [
        conv(4), conv(2, groups=2), conv(padding_mode="circular"), conv(padding="same"), Own(1, 2, 3).double(),
        nn.Conv1d(1, 2, 3).double(), nn.ConvTranspose2d(1, 2, 3).double(),
        torch.jit.script(conv()), torch.compile(conv(), backend="eager"),
    ],
    ids=["channels", "groups", "circular", "same", "subclass", "1d", "transposed", "scripted", "compiled"],
)  # fmt: skip
def test_left_alone(module):
    before = [dict(part.__dict__) for part in module.modules()]
    with fast_input_gradients(nn.Sequential(module)):
        assert [dict(part.__dict__) for part in module.modules()] == before


def test_compiled_in_place_is_left_alone():
    model = classifier()
    model.compile(backend="eager")
    with fast_input_gradients(model):
        assert "_conv_forward" not in model[0].__dict__


@pytest.mark.parametrize(
    ("reason", "x"),
    [
        ("float16", images(dtype=torch.float16)),
        ("without a batch", images()[0]),
    ],
)
def test_not_used(reason, x):
    module = conv(dtype=x.dtype)
    with fast_input_gradients(module):
        assert not used(module, x)


def test_rule_as_measured(monkeypatch):
    monkeypatch.undo()
    cases = {
        (torch.float32, 1, 8, 4, 1): True,
        (torch.float32, 1, 7, 4, 1): False,
        (torch.float64, 1, 50, 4, 1): False,
        (torch.float32, 3, 8, 16, 1): False,
        (torch.float32, 3, 8, 17, 1): True,
        (torch.float32, 3, 8, 16, 2): True,
    }
    for (dtype, channels, rows, out, stride), expected in cases.items():
        module = conv(channels, out, dtype=dtype, stride=stride)
        with fast_input_gradients(module):
            assert used(module, images(channels, rows, dtype=dtype)) == (
                expected and torch.backends.mkldnn.is_available()
            )


# -- left as it was found -----------------------------------------------------------------------------------------
def test_module_is_restored_also_after_an_error():
    model = classifier()
    before = copy.copy(model[0].__dict__)
    with pytest.raises(RuntimeError, match="stop"), fast_input_gradients(model):
        assert "_conv_forward" in model[0].__dict__
        raise RuntimeError("stop")
    assert model[0].__dict__ == before
    assert model[0].forward.__func__ is nn.Conv2d.forward
    assert list(model.state_dict()) == ["0.weight", "0.bias", "3.weight", "3.bias"]


def test_nested_and_shared():
    module = conv(1, 1)
    model, x = nn.Sequential(module, nn.Tanh(), module), images()
    expected = gradients(model, x)
    with fast_input_gradients(model):
        with fast_input_gradients(nn.Sequential(module)):
            pass
        assert used(module, x)  # the inner one did not put it there
        torch.testing.assert_close(gradients(model, x), expected, rtol=0, atol=1e-10)
    assert "_conv_forward" not in module.__dict__


def test_forward_that_the_user_replaced_is_kept():
    module = conv()
    module.forward = lambda x: x.sum((1, 2, 3))
    with fast_input_gradients(module):
        assert "_conv_forward" not in module.__dict__
        assert module(images()).shape == (5,)
    assert "forward" in module.__dict__


def test_hooks_and_parametrizations():
    module, x, seen = nn.utils.parametrizations.weight_norm(conv()), images(), []
    expected = gradients(module, x)
    module.register_forward_hook(lambda *_: seen.append("forward"))
    module.register_full_backward_hook(lambda *_: seen.append("backward"))
    with fast_input_gradients(module):
        assert "_conv_forward" in module.__dict__
        torch.testing.assert_close(gradients(module, x), expected, rtol=0, atol=1e-10)
    assert seen == ["forward", "backward"]


# -- networks of games ---------------------------------------------------------------------------------------------
def test_a_copy_for_good_shares_the_tensors():
    model, x = classifier(), images()
    expected = gradients(model, x)
    copied = with_fast_input_gradients(model)
    assert all(a is b for a, b in zip(copied.parameters(), model.parameters(), strict=True))
    assert "_conv_forward" not in model[0].__dict__
    for module in (copied, copy.deepcopy(copied)):
        assert used(module[0], x)
        torch.testing.assert_close(gradients(module, x), expected, rtol=0, atol=1e-10)
    plain = nn.Linear(2, 2)
    assert with_fast_input_gradients(plain) is plain


def test_a_network_decides_once_and_leaves_the_module_as_it_was(monkeypatch):
    model, x, calls = classifier(), images(), []
    apply = InputGradient.apply
    monkeypatch.setattr(fast.InputGradient, "apply", lambda *args: calls.append(1) or apply(*args))
    for net in (Network(model), Network(model).to(dtype=torch.float64)):
        weights = net.initial((), torch.Generator().manual_seed(0), torch.float64).requires_grad_()
        inputs = x.clone().requires_grad_()
        found = torch.autograd.grad(net(weights, inputs).square().sum(), (inputs, weights))
        given = x.clone().requires_grad_()
        expected = torch.autograd.grad(model(given).square().sum(), (given, *model.parameters()))
        torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(found[1], torch.cat([g.flatten() for g in expected[1:]]), rtol=0, atol=1e-10)
        assert len(calls) == 1
        net(weights, x).sum().backward()  # the input needs no gradient
        assert len(calls) == 1 and "_conv_forward" not in model[0].__dict__
        calls.clear()


# -- attacks ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("attack", [rg.attacks.pgd, rg.attacks.apgd])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_attacks_find_the_same(attack, norm, monkeypatch):
    model, x, y = classifier(), images(rows=20), torch.arange(20) % 3
    calls = []
    apply = InputGradient.apply
    monkeypatch.setattr(fast.InputGradient, "apply", lambda *args: calls.append(1) or apply(*args))
    x_adv = attack(model, x, y, 0.3, norm, steps=10)
    assert len(calls) == 10
    monkeypatch.setattr(fast, "CHANNELS", {torch.float64: 0})
    torch.testing.assert_close(x_adv, attack(model, x, y, 0.3, norm, steps=10), rtol=0, atol=1e-10)
    assert len(calls) == 10
    assert "_conv_forward" not in model[0].__dict__
    assert all(parameter.grad is None for parameter in model.parameters())
