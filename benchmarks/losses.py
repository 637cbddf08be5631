"""Our losses against lightly's: forward and backward of both, in turn in one run.

    uv run python benchmarks/losses.py [--rounds 15]

Prints milliseconds and the median ratio; writes benchmarks/results/losses-DEVICE.json.
"""

import argparse
import statistics

import torch
from common import in_turn, median_ratio, save
from lightly.loss import BarlowTwinsLoss, NTXentLoss

import mmlite

SIZES = {"nt_xent": ((256, 128), (1024, 128)), "barlow_twins": ((256, 64), (256, 2048))}


def losses(name: str):
    """Return our function and the peer's, with the same constants."""
    if name == "nt_xent":
        return lambda a, b: mmlite.nt_xent(a, b, temperature=0.2), NTXentLoss(temperature=0.2)
    return mmlite.barlow_twins, BarlowTwinsLoss()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="rounds that count")
    rounds = parser.parse_args().rounds
    device = mmlite.device()
    figures = {}
    for name, sizes in SIZES.items():
        for n, dim in sizes:
            generator = torch.Generator().manual_seed(0)
            z = [torch.randn(n, dim, generator=generator).to(device) for _ in range(2)]
            pairs = [one.requires_grad_() for one in z]

            def step(loss, pairs=pairs):
                torch.autograd.grad(loss(*pairs), pairs)

            ours, peer = losses(name)
            seconds = in_turn(
                {
                    "mmlite": lambda step=step, ours=ours: step(ours),
                    "lightly": lambda step=step, peer=peer: step(peer),
                },
                rounds,
            )
            figures[f"{name}, N = {n}, P = {dim}"] = {
                f"milliseconds, {who}": round(1e3 * statistics.median(times), 3)
                for who, times in seconds.items()
            } | {
                "times as fast, median over rounds": round(
                    median_ratio(seconds["lightly"], seconds["mmlite"]), 2
                )
            }
            print(f"{name}, N = {n}, P = {dim}", figures[f"{name}, N = {n}, P = {dim}"])
    save(f"losses-{device.type}", "uv run python benchmarks/losses.py", figures)


if __name__ == "__main__":
    main()
