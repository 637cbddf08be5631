"""What whitening does to a representation, beside the masks that know the truth (lesson 03).

    uv run python benchmarks/whitening.py [--seeds 5]

Trains SimCLR before planted backgrounds, with and without color jitter, and on the plain gray
images; reads the representation, and the pixels, by kNN whole, standardized and whitened with
several shrinkages, through the masks that know the classes or the backgrounds, and by a linear
probe whole, whitened and on parts of the dimensions. Prints means over seeds and the paired
differences that the lesson claims, with their 95 % Student-t interval and their least value; writes
benchmarks/results/whitening.json. The seed decides the first weights, the order of the images and
the views.
"""

import argparse

import torch
from common import save, summarize
from redundancy import train
from tqdm import tqdm

import mmlite
from mmlite import TwoViews, encode, fit_whitening, nt_xent
from mmlite.confounders import class_r2, nuisance_r2
from mmlite.evaluation import knn_accuracy, linear_probe_accuracy
from mmlite.mask_study import top_mask

DEVICE = mmlite.device()
SETTINGS = {  # strength of the background, jitter of the views
    "no jitter": (0.25, 0.0),
    "jitter 0.8": (0.25, 0.8),
    "plain images": (0.0, 0.4),
}
SHARES = (0.1, 0.2, 0.35)
LOUDEST = 3
SHRINKAGES = (0.0, 1e-3, 0.01, 0.03, 0.1)


def read(h, labels, fresh, fresh_labels, nuisance=None) -> dict[str, float]:
    """Return every reading of one representation; masks only where a nuisance is known."""

    def knn(change):
        return knn_accuracy(change(h), labels, change(fresh), fresh_labels)

    def probe(change):
        return linear_probe_accuracy(change(h), labels, change(fresh), fresh_labels)

    mean, deviation = h.mean(0), h.std(0).clamp(min=1e-6)
    white = fit_whitening(h)
    figures = {
        "kNN whole": knn(lambda h: h),
        "kNN centered": knn(lambda h: h - mean),
        "kNN standardized": knn(lambda h: (h - mean) / deviation),
        "kNN whitened": knn(white),
        "probe whole": probe(lambda h: h),
        "probe whitened": probe(white),
    }
    if nuisance is None:
        return figures
    for shrinkage in SHRINKAGES:
        figures[f"kNN whitened, shrinkage {shrinkage}"] = knn(fit_whitening(h, shrinkage))
    _, directions = torch.linalg.eigh(torch.cov(h.T))  # the loudest last
    along = h @ directions
    for name, shares in {
        "class": class_r2(along, labels),
        "nuisance": nuisance_r2(along, nuisance),
    }.items():
        figures[f"{name} R² of the {LOUDEST} loudest directions"] = float(shares[-LOUDEST:].mean())
        figures[f"{name} R² of the other directions"] = float(shares[:-LOUDEST].mean())
    by_class, by_nuisance = class_r2(h, labels), -nuisance_r2(h, nuisance)
    for share in SHARES:
        mask = top_mask(by_class, share)
        figures[f"kNN most class {share}"] = knn(lambda h, mask=mask: h[:, mask])
    fifths = {
        "most class fifth": top_mask(by_class, 0.2),
        "least nuisance fifth": top_mask(by_nuisance, 0.2),
    }
    for name, mask in fifths.items():
        figures[f"kNN {name}"] = knn(lambda h, mask=mask: h[:, mask])
        figures[f"probe {name}"] = probe(lambda h, mask=mask: h[:, mask])
        figures[f"probe all but {name}"] = probe(lambda h, mask=mask: h[:, ~mask])
    generator = torch.Generator().manual_seed(0)
    kept = torch.randperm(h.shape[1], generator=generator)[: int(fifths["most class fifth"].sum())]
    figures["probe random fifth"] = probe(lambda h: h[:, kept.to(h.device)])
    return figures


def one_seed(seed: int, plain_train, plain_test) -> dict[str, float]:
    """Return every figure of one seed by its name."""
    figures = {}
    for name, (strength, jitter) in SETTINGS.items():
        seen, fresh = (
            mmlite.plant_background(s, strength) if strength else s
            for s in (plain_train, plain_test)
        )
        seen, fresh = seen.to(DEVICE), fresh.to(DEVICE)
        views = TwoViews(crop=(0.4, 1.0), jitter=jitter, gray=0.2 if jitter and strength else 0.0)
        encoder = train(seen, [nt_xent], seed, views=views).encoder
        features = {"": [encode(encoder, s) for s in (seen, fresh)]}
        if seed == 0:  # the same for every seed
            features["pixels, "] = [s.images.flatten(1).float() / 255 for s in (seen, fresh)]
        for kind, (h, h_fresh) in features.items():
            nuisance = seen.nuisance if strength and not kind else None
            for figure, value in read(h, seen.labels, h_fresh, fresh.labels, nuisance).items():
                figures[f"{name}, {kind}{figure}"] = value
    return figures


def claims() -> dict[str, tuple[str, str]]:
    pairs = {}
    for name, (strength, _) in SETTINGS.items():
        against = ["kNN whole", "kNN standardized"]
        if strength:
            for share in ("class", "nuisance"):
                pairs[f"{name}: {share} R², loudest less other directions"] = (
                    f"{name}, {share} R² of the {LOUDEST} loudest directions",
                    f"{name}, {share} R² of the other directions",
                )
            against += [f"kNN most class {share}" for share in SHARES]
            for mask in ("most class fifth", "least nuisance fifth"):
                for part in (f"probe {mask}", f"probe all but {mask}"):
                    pairs[f"{name}: {part} less whole"] = (
                        f"{name}, {part}",
                        f"{name}, probe whole",
                    )
        for reading in against:
            pairs[f"{name}: kNN whitened less {reading}"] = (
                f"{name}, kNN whitened",
                f"{name}, {reading}",
            )
        pairs[f"{name}: kNN standardized less kNN whole"] = (
            f"{name}, kNN standardized",
            f"{name}, kNN whole",
        )
        pairs[f"{name}: probe whitened less whole"] = (
            f"{name}, probe whitened",
            f"{name}, probe whole",
        )
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 on")
    seeds = range(parser.parse_args().seeds)
    sets = mmlite.load("fashion", "train", size=5000), mmlite.load("fashion", "test")
    rows = [one_seed(seed, *sets) for seed in tqdm(seeds, unit="seed")]
    of_pixels = {name: rows[0].pop(name) for name in list(rows[0]) if "pixels" in name}
    for name, value in of_pixels.items():
        print(f"  {name:44} {value:.3f}")
    save(
        "whitening",
        f"uv run python benchmarks/whitening.py --seeds {len(rows)}",
        {
            "seeds": list(seeds),
            "pixels": of_pixels,
            **summarize(rows, claims()),
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
