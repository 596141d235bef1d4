import math
from types import SimpleNamespace

import pytest
import torch
from support.golden_draw import load

from msinet.engine.optim import build_optimizer, lr_factor, recipe_lr, require_finite, set_lr

RECIPE = SimpleNamespace(
    optimizer="sgd",
    lr=0.065,
    momentum=0.9,
    weight_decay=5e-4,
    warmup_epochs=10,
    warmup_factor=0.01,
    milestones=(150, 225, 300),
    gamma=0.1,
)


def with_optimizer(name):
    return SimpleNamespace(**{**vars(RECIPE), "optimizer": name})


def test_golden_learning_rates():
    golden = load("losses")["learning_rate_by_epoch"]
    assert len(golden) == 11
    for epoch, lr in golden.items():
        assert recipe_lr(RECIPE, int(epoch)) == pytest.approx(lr, rel=1e-12)


def test_warm_up_rises_in_equal_steps_and_may_be_absent():
    def factor(epoch, warmup_epochs):
        return lr_factor(epoch, warmup_epochs=warmup_epochs, warmup_factor=0.01, milestones=(3,), gamma=0.5)

    assert factor(0, 0) == 1
    assert [factor(epoch, 2) for epoch in range(5)] == pytest.approx([0.01, 0.505, 1, 0.5, 0.5])
    assert factor(4, 8) == pytest.approx(0.5 * 0.505)  # for a milestone within the warm-up, both factors apply


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_first_step_by_hand(name):
    parameter = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = build_optimizer([parameter], with_optimizer(name))
    set_lr(optimizer, 0.1)
    parameter.grad = torch.tensor([3.0], dtype=torch.float64)
    optimizer.step()
    gradient = 3.0 + 5e-4 * 2.0  # the L2 penalty is part of the gradient
    step = gradient if name == "sgd" else gradient / (gradient + 1e-8)
    assert parameter.item() == pytest.approx(2.0 - 0.1 * step, rel=1e-12)


def test_momentum_is_used():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer([parameter], SimpleNamespace(optimizer="sgd", lr=1.0, momentum=0.5, weight_decay=0.0))
    for _ in range(2):
        parameter.grad = torch.ones(1)
        optimizer.step()
    assert parameter.item() == -2.5


def test_unknown_optimizer():
    with pytest.raises(ValueError, match="'sgd' or 'adam', but got 'lion'"):
        build_optimizer([torch.nn.Parameter(torch.zeros(1))], with_optimizer("lion"))


def test_require_finite():
    assert require_finite(torch.tensor([1.0, 2.5]), epoch=0) == [1.0, 2.5]
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="epoch 7"):
            require_finite(torch.tensor([1.0, bad]), epoch=7)
