"""Losses and readers against their peers: the same task of both, in turn in one run.

    uv run python benchmarks/peers.py [--seconds 4] [--threads 1 2] [--only barlow_twins]
        [--solo FOLDER]

Losses are taken forward and backward, against lightly's and solo-learn's; readers on
representations of the shipped images by an untrained encoder, against lightly, scikit-learn and
PyTorch. Each task gets as many rounds as fit into its seconds, at least 15. Prints milliseconds and
the median over rounds of the peer's time over ours, with its quartiles; writes
benchmarks/results/peers-DEVICE.json.

solo-learn wants PyTorch 1.9 and cannot be installed beside a later one. The files of its losses
need no more than PyTorch: `pip install --no-deps --target FOLDER solo-learn` gets them. Without
FOLDER its rows are left out.
"""

import argparse
import runpy
import statistics
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from common import in_turn, ratio_quartiles, save
from lightly.loss import BarlowTwinsLoss, NTXentLoss
from lightly.utils.benchmarking import knn_predict
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits
from torch.nn import functional as F

import mmlite

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Task = tuple[str, str, Callable[[], object], Callable[[], object]]  # name, peer, ours, the peer's
SIZES = {
    "nt_xent": ((256, 64), (512, 128), (1024, 128)),
    "barlow_twins": ((256, 64), (512, 128), (1024, 512), (256, 2048)),
}
LEAST_ROUNDS = 15
TEMPERATURE, NEIGHBORS, WEIGHT_DECAY, MASKS, SHARE = 0.2, 20, 1e-3, 20, 0.8


def solo_learn(folder: Path) -> dict[str, Loss]:
    """Return solo-learn's two losses, of the files that hold them."""
    files = folder / "solo" / "losses"
    nt_xent = runpy.run_path(str(files / "simclr.py"))["simclr_loss_func"]
    barlow_twins = runpy.run_path(str(files / "barlow.py"))["barlow_loss_func"]
    return {
        "nt_xent": lambda a, b: nt_xent(a, b, TEMPERATURE),
        "barlow_twins": lambda a, b: barlow_twins(a, b, scale_loss=1.0),
    }


def losses(device: torch.device, solo: Path | None) -> Iterator[Task]:
    """Yield both losses with their gradients, at each size."""
    ours: dict[str, Loss] = {
        "nt_xent": lambda a, b: mmlite.nt_xent(a, b, temperature=TEMPERATURE),
        "barlow_twins": mmlite.barlow_twins,
    }
    lightly = {"nt_xent": NTXentLoss(temperature=TEMPERATURE), "barlow_twins": BarlowTwinsLoss()}
    peers: dict[str, dict[str, Loss]] = {"lightly": lightly}
    if solo is not None:
        peers["solo-learn"] = solo_learn(solo)
    for name, sizes in SIZES.items():
        for n, dim in sizes:
            generator = torch.Generator().manual_seed(0)
            z = [torch.randn(n, dim, generator=generator).to(device) for _ in range(2)]
            pairs = [one.requires_grad_() for one in z]

            def step(loss, pairs=pairs):
                return lambda: torch.autograd.grad(loss(*pairs), pairs)

            for peer, their in peers.items():
                # the same task: a peer may add a small constant to a variance, and round otherwise
                both = ours[name], their[name]
                torch.testing.assert_close(*(loss(*pairs) for loss in both), rtol=1e-3, atol=0)
                yield f"{name}, N = {n}, P = {dim}", peer, *map(step, both)


def readers(device: torch.device) -> Iterator[Task]:
    """Yield the readers of a representation [10,000, 128], with 2,000 test images."""
    torch.manual_seed(0)
    encoder = mmlite.small_conv(1, 128).to(device)
    train, test = (mmlite.load("fashion", split).to(device) for split in ("train", "test"))
    h, test_h = mmlite.encode(encoder, train), mmlite.encode(encoder, test)
    labeled = h, train.labels, test_h, test.labels

    def knn():
        return mmlite.knn_accuracy(*labeled, k=NEIGHBORS)

    def lightly_knn(size):
        bank = F.normalize(h, dim=1).T.contiguous()
        queries = F.normalize(test_h, dim=1).split(size)
        votes = [knn_predict(q, bank, train.labels, 10, NEIGHBORS, 0.1)[:, 0] for q in queries]
        return float((torch.cat(votes) == test.labels).float().mean())

    name = f"knn_accuracy, k = {NEIGHBORS}"
    for size in (256, len(test)):
        yield name, f"lightly, {size} at once", knn, lambda size=size: lightly_knn(size)
    yield "effective_rank", "svdvals of float32", lambda: mmlite.effective_rank(h), lambda: rank(h)
    if device.type == "cpu":
        arrays = [one.numpy() for one in labeled]
        vote = KNeighborsClassifier(NEIGHBORS, metric="cosine", algorithm="brute")
        yield (
            name,
            "scikit-learn",
            knn,
            lambda: vote.fit(*arrays[:2]).score(*arrays[2:]),
        )
        yield from probes(labeled)
    yield (
        f"random_mask_study, {MASKS} masks",
        "a loop",
        lambda: mmlite.random_mask_study(*labeled, share=SHARE, masks=MASKS),
        lambda: mask_loop(labeled),
    )


def rank(h: torch.Tensor) -> float:
    """Return the effective rank as one would write it down."""
    values = torch.linalg.svdvals(h)
    return float(torch.special.entr(values / values.sum()).sum().exp())


def probes(labeled) -> Iterator[Task]:
    """Yield the linear probe against scikit-learn's solver of the same objective."""
    h, labels, test_h, test_labels = labeled
    mean, deviation = h.mean(0), h.std(0, correction=0).clamp(min=1e-30)
    x, test_x = (((one - mean) / deviation).numpy() for one in (h, test_h))

    def theirs(tolerance):
        model = LogisticRegression(
            C=1 / (WEIGHT_DECAY * len(x)), tol=tolerance, max_iter=10_000
        ).fit(x, labels.numpy())
        return model.score(test_x, test_labels.numpy())

    for tolerance in (1e-4, 1e-5):
        yield (
            f"linear_probe_accuracy, weight decay {WEIGHT_DECAY:g}",
            f"scikit-learn, gradient to {tolerance:g} (ours: 1e-5)",
            lambda: mmlite.linear_probe_accuracy(*labeled, weight_decay=WEIGHT_DECAY),
            lambda tolerance=tolerance: theirs(tolerance),
        )


def mask_loop(labeled) -> list[float]:
    """Return the accuracies through random masks, one after the other."""
    h, labels, test_h, test_labels = labeled
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(MASKS):
        kept = torch.randperm(h.shape[1], generator=generator)[: round(SHARE * h.shape[1])]
        found.append(mmlite.knn_accuracy(h[:, kept], labels, test_h[:, kept], test_labels))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each task")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of each in turn")
    parser.add_argument("--only", default="", help="tasks whose name begins so")
    parser.add_argument("--solo", type=Path, metavar="FOLDER", help="where solo-learn's files are")
    options = parser.parse_args()
    device = mmlite.device()
    figures = {}
    for threads in options.threads:
        torch.set_num_threads(threads)
        for tasks in (losses(device, options.solo), readers(device)):
            for name, peer, ours, theirs in tasks:
                if not name.startswith(options.only):
                    continue
                with threadpool_limits(threads), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    both = {"mmlite": ours, "peer": theirs}
                    first = sum(times[0] for times in in_turn(both, 1).values())
                    seconds = in_turn(both, max(LEAST_ROUNDS, int(options.seconds / first)))
                low, middle, high = ratio_quartiles(seconds["peer"], seconds["mmlite"])
                row = f"{name}; {peer}; {threads} thread{'s' * (threads > 1)}"
                figures[row] = {
                    f"milliseconds, {who}": round(1e3 * statistics.median(times), 3)
                    for who, times in seconds.items()
                } | {
                    "rounds": len(seconds["mmlite"]),
                    "peer over ours": round(middle, 2),
                    "quartiles": [round(low, 2), round(high, 2)],
                }
                print(row, figures[row], flush=True)
    if not options.only:
        command = f"uv run python benchmarks/peers.py{' --solo FOLDER' * bool(options.solo)}"
        save(f"peers-{device.type}", command, figures)


if __name__ == "__main__":
    main()
