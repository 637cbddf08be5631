"""What `check` returns while an exercise is marked: the student's own function, or the grader's.

An earlier exercise that the student has right answers for itself; one that is not is asked of the
grader, as in the notebook the lesson goes on with the course's own. What is asked can be
differentiated, as often as there is need, as what `check` returns in a notebook can.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree


class Asker:
    """Hands out functions that ask the grader.

    Attributes:
        channel: to the grader.
        own: the exercises that the student has right.
        nonce: of the grader's request that is being answered.
    """

    def __init__(self, channel: Any):
        self.channel, self.nonce = channel, 0
        self.own: list[str] = []

    def check(self, exercise_id: str, function: Any = None, seed: Any = None) -> Callable:
        """Return the function to go on with; nothing is judged here."""

        def checked(*arguments, **named):
            if exercise_id in self.own and callable(function):
                return function(*arguments, **named)
            return self._differentiable(exercise_id, arguments, named)

        checked.__name__ = checked.__qualname__ = getattr(function, "__name__", "checked")
        checked.__doc__ = getattr(function, "__doc__", None)
        return checked

    def _differentiable(self, exercise_id: str, arguments: tuple, named: dict[str, Any]) -> Any:
        leaves, structure = _pytree.tree_flatten((arguments, named))
        tensors = [leaf for leaf in leaves if _has_derivatives(leaf)]
        if not tensors:
            return self.ask(exercise_id, arguments, named)
        kept = [None if _has_derivatives(leaf) else leaf for leaf in leaves]

        def asked(order: int, given: tuple[Tensor, ...]) -> Any:
            floats = iter(given)
            whole = [next(floats) if _has_derivatives(leaf) else kept[n]
                     for n, leaf in enumerate(leaves)]  # fmt: skip
            given_arguments, given_named = _pytree.tree_unflatten(whole, structure)
            cotangents = [value.detach() for value in floats]  # what is left
            return self.ask(exercise_id, given_arguments, given_named, order, cotangents)

        return _Asked.apply(asked, 0, *tensors)

    def ask(
        self,
        exercise_id: str,
        arguments: tuple,
        named: dict[str, Any],
        order: int = 0,
        cotangents: Any = (),
    ) -> Any:
        """Return what the grader answers.

        Args:
            exercise_id: the earlier exercise.
            arguments: of its function.
            named: those that are named.
            order: 0 for the function, 1 for its vector-Jacobian product with the cotangents, 2 for
                that of the product, and so on.
            cotangents: of all orders so far, one after the other.

        Raises:
            RuntimeError: the grader refuses; the sentence says why.
        """
        question = {"arguments": arguments, "named": named, "order": order}
        question |= {"ask": exercise_id, "cotangents": tuple(cotangents)}
        self.channel.send({"nonce": self.nonce, **question})
        reply = self.channel.receive()
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["result"]


def _has_derivatives(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


class _Asked(torch.autograd.Function):
    """An asked function of tensors; its gradient is asked too, and can be derived in turn."""

    @staticmethod
    def forward(asked: Callable, order: int, *tensors: Tensor) -> Any:
        return asked(order, tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        ctx.asked, ctx.order, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple:
        gradients = _Asked.apply(ctx.asked, ctx.order + 1, *ctx.saved_tensors, *cotangents)
        return None, None, *gradients
