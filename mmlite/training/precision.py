"""What loss and hooks compute in, and by what code: autocast and torch.compile."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}  # what autocast computes in


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Compute matrix products and convolutions in a precision within this context or function.

    The backward pass of `fit` stands outside, as PyTorch advises: each operation's gradient has
    the type that the operation ran in.
    """
    dtype = AUTOCAST[precision]
    with nullcontext() if dtype is None else torch.autocast(device.type, dtype):
        yield


@contextmanager
def compiled(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Let calls of the model run compiled within this context, if wanted.

    A `MetaMask` calls the parts of its model. Its heads stay as they are, for compiled code cannot
    be differentiated twice; the meta step sees the encoder as it is too (`uncompiled`).

    Raises:
        ValueError: the compiler fails.
    """
    if not wanted:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    part = model["encoder"] if isinstance(model, nn.ModuleDict) and "encoder" in model else model
    before = part._compiled_call_impl  # what `Module.compile` sets, and all that it sets
    part.compile(dynamic=False)  # each batch of a run has the same shape
    try:
        yield
    except TorchDynamoException as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"torch.compile cannot compile this model here ({reason}); it needs a C++ compiler "
            "(g++, or the one that CXX names) and on a GPU Triton. Install what is missing, or "
            "leave compile out"
        ) from error
    finally:
        part._compiled_call_impl = before
