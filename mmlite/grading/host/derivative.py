"""Derivatives of an earlier exercise's reference, for answers that go on with it and derive it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

MOST = 3  # orders: a meta-gradient's own derivative takes three


def vector_jacobian(
    function: Callable[..., Any],
    arguments: tuple,
    named: dict[str, Any],
    order: int,
    cotangents: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Return the vector-Jacobian product of a function, or of that product, and so on.

    Args:
        function: of tensors and other values.
        arguments: its arguments.
        named: those that are named.
        order: 1 for the gradients of ⟨function, cotangents⟩ with respect to every floating tensor
            among the arguments, 2 for those of ⟨these, further cotangents⟩ with respect to the
            tensors and the first cotangents, and so on.
        cotangents: of all orders, one after the other.

    Raises:
        ValueError: the order is not 1 to 3, or the cotangents do not fit.
    """
    if type(order) is not int or not 1 <= order <= MOST:
        raise ValueError(f"an exercise is derived at most {MOST} times")
    leaves, structure = _pytree.tree_flatten((arguments, named))
    places = [n for n, leaf in enumerate(leaves) if _is_float(leaf)]

    def outputs(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        whole = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            whole[place] = tensor
        given, by_name = _pytree.tree_unflatten(whole, structure)
        result = _pytree.tree_leaves(function(*given, **by_name))
        return tuple(torch.as_tensor(one) for one in result)

    tensors = [leaves[place].detach().requires_grad_() for place in places]
    taken, now = list(cotangents), outputs(tensors)
    for _ in range(order):
        along = [one.detach().requires_grad_() for one in taken[: len(now)]]
        if [one.shape for one in along] != [one.shape for one in now]:
            raise ValueError("the cotangents do not have the shapes of what they multiply")
        del taken[: len(now)]
        now, tensors = _products(now, tensors, along), tensors + along
    if taken:
        raise ValueError("there are more cotangents than what they multiply")
    return tuple(one.detach() for one in now)


def _products(outputs: tuple, inputs: list[Tensor], along: list[Tensor]) -> tuple[Tensor, ...]:
    pairs = [(o, v) for o, v in zip(outputs, along, strict=True) if o.requires_grad]
    if not pairs:
        return tuple(map(torch.zeros_like, inputs))
    kept, weights = zip(*pairs, strict=True)
    return torch.autograd.grad(
        kept, inputs, weights, create_graph=True, allow_unused=True, materialize_grads=True
    )


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
