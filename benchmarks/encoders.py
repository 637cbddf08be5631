"""What channels_last buys: forward and backward of an encoder in both memory formats, in turn.

    uv run python benchmarks/encoders.py [--batch 256] [--rounds 9]

Prints images a second and the median ratio; writes benchmarks/results/encoders-DEVICE.json.
"""

import argparse
import statistics

import torch
from common import in_turn, median_ratio, save

import mmlite
from mmlite.encoders import resnet18, small_conv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256, help="images in a batch")
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count")
    options = parser.parse_args()
    device = mmlite.device()
    figures = {}
    for name, build, batch in (
        ("small_conv", small_conv, options.batch),
        ("resnet18", resnet18, options.batch // 8 if device.type == "cpu" else options.batch),
    ):
        x = torch.rand(batch, 3, 28, 28, device=device)
        ours = build(3).to(device)
        # the same layers without the turn to channels_last
        plain = build(3).to(device, memory_format=torch.contiguous_format)[1:]
        seconds = in_turn(
            {
                "channels_last": lambda ours=ours, x=x: ours(x).sum().backward(),
                "contiguous": lambda plain=plain, x=x: plain(x).sum().backward(),
            },
            options.rounds,
        )
        figures[name] = {
            f"images per second, {kind}": round(batch / statistics.median(times))
            for kind, times in seconds.items()
        } | {
            "times as fast, median over rounds": round(
                median_ratio(seconds["contiguous"], seconds["channels_last"]), 2
            )
        }
        print(name, figures[name])
    save(f"encoders-{device.type}", "uv run python benchmarks/encoders.py", figures)


if __name__ == "__main__":
    main()
