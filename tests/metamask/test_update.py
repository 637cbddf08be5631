"""A virtual step with an optimizer, and the derivative of an optimizer's step."""

import pytest
import torch
from problems import OPTIMIZERS, error, problem
from torch import nn

from mmlite.metamask import masked_loss, meta_gradient, virtual_step
from mmlite.metamask.update import step_derivative


def test_a_virtual_step_with_an_optimizer_is_that_optimizers_step():
    encoder, head, mask, views = problem()
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(2):  # the first step fills the buffers
        theta = virtual_step(encoder, head, mask, views, 0.1, optimizer=optimizer)
        optimizer.zero_grad()
        masked_loss(encoder, head, mask, views).backward()
        optimizer.step()
        network = nn.ModuleDict({"encoder": encoder, "head": head})
        for name, p in network.named_parameters():
            assert torch.allclose(theta[name], p, rtol=1e-12, atol=1e-14)
    found = {
        method: meta_gradient(encoder, head, mask, views, 0.1, method=method, optimizer=optimizer)
        for method in ("exact", "unrolled")
    }
    assert error(found["exact"], found["unrolled"]) < 1e-10


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_derivative_of_a_step_is_its_difference_quotient(name):
    torch.manual_seed(0)
    start = torch.randn(5, dtype=torch.float64)
    history = [torch.randn(5, dtype=torch.float64) for _ in range(4)]

    def last_step(change):
        p = nn.Parameter(start.clone())
        optimizer = OPTIMIZERS[name]([p])
        for index, gradient in enumerate(history):
            before = p.detach().clone()
            p.grad = gradient + (change if index == len(history) - 1 else 0)
            optimizer.step()
        return p, before, optimizer

    p, before, optimizer = last_step(0.0)
    found = step_derivative(optimizer, p, before, history[-1])
    quotient = (last_step(1e-6)[0] - last_step(-1e-6)[0]).detach() / 2e-6
    # the quotient errs by 1e-12 and, by rounding, 1e-16 / 1e-6
    assert torch.allclose(found, quotient, rtol=1e-6, atol=1e-9)


def test_the_derivative_where_no_gradient_has_ever_been():
    p = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([p], 0.01, eps=1e-3)
    p.grad = torch.tensor([0.0, 1.0])
    before = p.detach().clone()
    optimizer.step()
    # by hand: the step is −lr g / (|g| + eps), its derivative −lr eps / (|g| + eps)²
    wanted = torch.tensor([-0.01 / 1e-3, -0.01 * 1e-3 / 1.001**2])
    # 1e-3 is what is left of a difference of two numbers near 1 in float32
    assert torch.allclose(step_derivative(optimizer, p, before, p.grad), wanted, rtol=1e-3)


def test_an_optimizer_without_a_known_derivative_is_refused():
    p = nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    for optimizer in (torch.optim.RMSprop([p]), torch.optim.Adam([p], amsgrad=True)):
        optimizer.step()
        with pytest.raises(ValueError, match="SGD, Adam and AdamW"):
            step_derivative(optimizer, p, p.detach(), p.grad)
