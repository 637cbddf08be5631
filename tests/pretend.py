"""A device that is not the CPU, on the CPU: what a GPU would refuse or wait for, seen without one.

Tensors on `DEVICE` hold a tensor on the CPU and say that they lie elsewhere. PyTorch computes with
them what it computes on the CPU, but as on a GPU

- an operation on tensors of both devices is refused, unless it is a copy or an index, or the tensor
  on the CPU is a single number;
- numpy cannot have them;
- `WAITS` counts what would make the host wait: a value that is looked at, a copy that is not
  `non_blocking`, an index that lies on the CPU, a result whose shape depends on values.

Importing this changes the process for good: tests import it in a process of their own. It stands on
PyTorch's experimental "PrivateUse1" for backends in Python.
"""

import traceback
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree, backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing

aten = torch.ops.aten
WAITS: Counter[str] = Counter()
COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default}
# whose shape or answer in Python depends on values; not all that there are
BY_VALUES = {
    "nonzero",
    "equal",
    "masked_select",
    "bincount",
    "_unique2",
    "unique_dim",
    "_linalg_eigh",
}
PACKAGE = Path(__file__).parents[1] / "mmlite"


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


backend_registration._setup_privateuseone_for_python_backend("pretend", _Module())
DEVICE = torch.device("pretend:0")


class Pretend(Tensor):
    """A tensor on `DEVICE`; `inner` is where its numbers are."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Pretend":
        self = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        self.inner = inner
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    # What Tensor has in C++ and does not offer to subclasses.

    def tolist(self):
        _note("tolist")
        return self.inner.tolist()

    def numpy(self, *args, **kwargs):
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy; use Tensor.cpu()")

    def __array__(self, *args, **kwargs):
        return self.numpy()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec)

    def __reduce_ex__(self, protocol):  # a checkpoint is read with map_location="cpu"
        inner = self.inner.detach()
        if isinstance(self, nn.Parameter):
            inner = nn.Parameter(inner, self.requires_grad)
        return inner.__reduce_ex__(protocol)


def _run(func, args, kwargs):
    """Compute an operation on the CPU, and wrap what belongs on the device."""
    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    ours = [x for x in tensors if isinstance(x, Pretend)]
    theirs = [x for x in tensors if not isinstance(x, Pretend)]
    # a single number may lie anywhere
    if ours and any(x.dim() for x in theirs) and func not in COPIES | INDEXING:
        raise RuntimeError(f"{func} found tensors on two devices, {DEVICE} and cpu")
    target = torch.device(kwargs.get("device") or DEVICE)
    onto_cpu = func is aten._to_copy.default and target.type == "cpu"
    if func is aten._local_scalar_dense.default:
        _note("a value that is looked at")
    if func in INDEXING and theirs:
        _note("an index on the CPU")
    by_mask = func in INDEXING and any(x.dtype == torch.bool for x in tensors[1:])
    by_repeats = func is aten.repeat_interleave.Tensor and not kwargs.get("output_size")
    if func.overloadpacket.__name__ in BY_VALUES or by_mask or by_repeats:
        _note("a shape that depends on values")
    waiting = not (kwargs.get("non_blocking") or (func is aten.copy_.default and True in args[2:]))
    if func in COPIES and (theirs or onto_cpu) and waiting:
        _note("a copy")
    if func is aten.is_pinned.default:
        return False
    inner_args, inner_kwargs = pytree.tree_map(_inner, (args, kwargs))
    out = func(*inner_args, **inner_kwargs)
    if func is aten.copy_.default and not isinstance(args[0], Pretend):
        return args[0]
    if onto_cpu:
        return out
    out = pytree.tree_map(lambda x: Pretend(x) if isinstance(x, Tensor) else x, out)
    return return_and_correct_aliasing(func, args, kwargs, out)


def _inner(x):
    if isinstance(x, torch.device):
        return torch.device("cpu")
    return x.inner if isinstance(x, Pretend) else x


def _note(what: str) -> None:
    """Count a wait under what it is and the line of the package that it stands in."""
    lines = [f for f in traceback.extract_stack() if Path(f.filename).is_relative_to(PACKAGE)]
    place = f" at {lines[-1].filename}:{lines[-1].lineno}" if lines else ""
    WAITS[f"{what}{place}"] += 1


_tensor = torch.tensor


def _made_of_numbers(data, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """`torch.tensor`, whose own way to another device does not know of backends in Python."""
    made = _tensor(data, dtype=dtype)
    return (made if device is None else made.to(device)).requires_grad_(requires_grad)


def _cast(name: str) -> None:
    """Let autocast run an operation in its type, as it does on a GPU."""
    operation = getattr(aten, name).default
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def run(*args, **kwargs):
        dtype = torch.get_autocast_dtype("pretend")
        with torch._C._ExcludeDispatchKeyGuard(key):
            cast = [
                x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in args
            ]
            return operation(*cast, **kwargs)

    _autocast.impl(name, run)


torch.tensor = _made_of_numbers
Pretend.new_tensor = lambda self, data: torch.tensor(data, dtype=self.dtype, device=DEVICE)
_factories = torch.library.Library("_", "IMPL", "PrivateUse1")
_factories.fallback(lambda func, *args, **kwargs: _run(func, args, kwargs), "PrivateUse1")
_others = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
_others.fallback(torch.library.fallthrough_kernel)
_autocast = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
for _name in ("linear", "conv2d", "mm", "bmm", "matmul", "addmm", "baddbmm"):
    _cast(_name)
