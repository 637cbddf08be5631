"""The meta-gradient's price: four methods, two schedules and two peers against a training step.

    uv run --with torchopt --with higher python benchmarks/meta_gradient.py [--rounds 15]

Time and peak memory as multiples of one plain joint training step (NT-Xent and Barlow Twins through
two heads, backward, AdamW) on the same views, all contenders in turn in one run; the error of each
method against double backward in float64. The schedules are two whole iterations of `fit`'s loop,
views included, over two plain joint iterations with views. Prints medians over rounds; writes
benchmarks/results/meta_gradient-DEVICE.json. Without torchopt and higher their rows are left out.
"""

import argparse
import importlib.util
import statistics

import torch
from common import in_turn, median_ratio, save
from torch import nn

import mmlite
from mmlite import TwoViews, nt_xent, projector
from mmlite.metamask import DimensionalMask, LookaheadMetaMask, MetaMask, meta_gradient
from mmlite.redundancy import barlow_twins

DEVICE = mmlite.device()
METHODS = ("exact", "unrolled", "finite-difference", "first-order")
VIRTUAL_LR = 0.1
# encoder, D, images' side, images a batch: what fits in minutes on 2 CPU cores
CPU = {"small_conv": (256, 28), "resnet18": (16, 32)}
GPU = {"small_conv": (4096, 28), "resnet18": (512, 32)}


class Problem:
    """An encoder with two heads and a mask, and one batch."""

    def __init__(self, name: str, n: int, side: int, dtype=torch.float32) -> None:
        torch.manual_seed(0)
        dim = 128 if name == "small_conv" else 512
        self.encoder = getattr(mmlite, name)(3, dim)
        self.heads = [projector(dim, 2 * dim, 64) for _ in range(2)]
        self.mask = DimensionalMask(dim)
        for part in (self.encoder, *self.heads, self.mask):
            part.to(DEVICE, dtype)
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (n, 3, side, side), generator=generator, dtype=torch.uint8)
        self.images = pixels.to(DEVICE)
        self.make_views = TwoViews(crop=(0.4, 1.0), jitter=0.8)
        self.views = tuple(x.to(dtype) for x in self.make_views(self.images, generator))
        self.generator = generator

    def methods(self) -> dict:
        """Return each way to the meta-gradient, without arguments."""
        parts = self.encoder, self.heads[0], self.mask, self.views, VIRTUAL_LR
        ways = {m: lambda m=m: meta_gradient(*parts, method=m) for m in METHODS}
        peers = {"higher": self.by_higher, "torchopt": self.by_torchopt}
        return ways | {n: run for n, run in peers.items() if importlib.util.find_spec(n)}

    def joint_step(self):
        """Return a plain joint training step on the batch's views."""
        parameters = [p for part in (self.encoder, *self.heads) for p in part.parameters()]
        optimizer = torch.optim.AdamW(parameters, 1e-3)

        def step():
            h = self.encoder(torch.cat(self.views)) * self.mask.entries.detach()
            loss = nt_xent(*self.heads[0](h).chunk(2))
            loss = loss + 0.02 * barlow_twins(*self.heads[1](h).chunk(2))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return step

    def iteration(self, kind, **options):
        """Return two whole iterations of training, views included; no meta step if kind is None."""
        mask_optimizer = torch.optim.Adam(self.mask.parameters(), 0.05)
        parts = self.encoder, *self.heads, self.mask, mask_optimizer, self.make_views
        method = (kind or MetaMask)(*parts, **options)
        optimizer = torch.optim.AdamW(method.model.parameters(), 1e-3)

        def once():
            loss = method.loss(method.model, self.images, self.generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if kind is LookaheadMetaMask:
                method.before_step(optimizer)
            optimizer.step()
            if kind is not None:
                method.after_step(optimizer)

        def twice():  # so that every second iteration's price is shared as it is
            once()
            once()

        return twice

    def _network(self) -> nn.Module:
        encoder, head = self.encoder, self.heads[0]

        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.encoder, self.head = encoder, head

            def forward(self, x, w):
                return self.head(self.encoder(x) * torch.sigmoid(w))

        return Network()

    def by_higher(self):
        import higher

        network, w = self._network(), self.mask.w.detach().clone().requires_grad_()
        x = torch.cat(self.views)
        inner = torch.optim.SGD(network.parameters(), lr=VIRTUAL_LR)
        with higher.innerloop_ctx(network, inner) as (unrolled, differentiable):
            differentiable.step(nt_xent(*unrolled(x, w).chunk(2)))
            return torch.autograd.grad(nt_xent(*unrolled(x, w).chunk(2)), w)[0]

    def by_torchopt(self):
        import torchopt

        network, w = self._network(), self.mask.w.detach().clone().requires_grad_()
        x = torch.cat(self.views)
        inner = torchopt.MetaSGD(network, lr=VIRTUAL_LR)
        before = torchopt.extract_state_dict(network, by="reference")
        inner.step(nt_xent(*network(x, w).chunk(2)))
        gradient = torch.autograd.grad(nt_xent(*network(x, w).chunk(2)), w)[0]
        torchopt.recover_state_dict(network, before)
        return gradient


def peak(run) -> int:
    """Return the bytes that a call allocates at most, beyond what stood before it."""
    run()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def multiples(contenders: dict, rounds: int) -> dict:
    """Return the median time of each over the first's in the same round, and its peak memory."""
    first = next(iter(contenders))
    seconds = in_turn(contenders, rounds)
    memory = {name: peak(run) for name, run in contenders.items()}
    table = {}
    for name in contenders:
        table[name] = {
            "times": round(median_ratio(seconds[name], seconds[first]), 2),
            "milliseconds": round(1e3 * statistics.median(seconds[name]), 2),
            "memory, times": round(memory[name] / memory[first], 2),
            "memory, MB": round(memory[name] / 1e6, 1),
        }
        print(f"  {name:24}", table[name])
    return table


def errors(name: str, n: int, side: int) -> dict:
    """Return each method's relative error against double backward in float64.

    On the initial network and on the batch's first images; each method runs in float64 and in
    float32 from the same weights.
    """
    double = Problem(name, min(n, 64), side, torch.float64)
    wanted = meta_gradient(
        double.encoder, double.heads[0], double.mask, double.views, VIRTUAL_LR, method="unrolled"
    )
    table = {}
    for dtype in (torch.float64, torch.float32):
        problem = Problem(name, min(n, 64), side, torch.float32)
        for part in (problem.encoder, *problem.heads, problem.mask):
            part.to(dtype)
        problem.views = tuple(x.to(dtype) for x in problem.views)
        if dtype == torch.float64:
            problem = double
        for method, run in problem.methods().items():
            error = float((run().double() - wanted).norm() / wanted.norm())
            table[f"{method}, {str(dtype).removeprefix('torch.')}"] = error
            print(f"  {method:24} {dtype}: relative error {error:.1e}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="rounds that count")
    rounds = parser.parse_args().rounds
    figures = {}
    for name, (n, side) in (GPU if DEVICE.type == "cuda" else CPU).items():
        what = f"{name}, {n} images of {side} × {side}"
        print(what)
        problem = Problem(name, n, side)
        methods = multiples({"joint step": problem.joint_step()} | problem.methods(), rounds)
        print("two whole iterations")
        schedules = multiples(
            {
                "joint": problem.iteration(None),
                "paper": problem.iteration(MetaMask),
                "lookahead": problem.iteration(LookaheadMetaMask),
                "lookahead, every 2": problem.iteration(LookaheadMetaMask, every=2),
            },
            rounds,
        )
        print("errors")
        figures[what] = {
            "meta step": methods,
            "two iterations": schedules,
            "error": errors(name, n, side),
        }
    command = "uv run --with torchopt --with higher python benchmarks/meta_gradient.py"
    save(f"meta_gradient-{DEVICE.type}", f"{command} --rounds {rounds}", figures)


if __name__ == "__main__":
    main()
