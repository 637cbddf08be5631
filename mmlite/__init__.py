"""MetaMask from nothing: contrastive learning's two defects, and a mask that is to repair them.

An idea of the course is a file: `data`, `views`, `encoders`, `contrastive`, `redundancy`,
`evaluation`, `whitening`, `statistics`, `confounders`, `mask_study`, `pair_mask`. What serves the
ideas is a package: `metamask` (the mask and its gradient), `training`, `distributed`, `theory`,
`experiments`, `course`, `exercises`, `grading`, `cli` and `support`. Each imports only from those
before it (`tests/test_project.py`). Names are looked up when first used, so `import mmlite` costs
nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "ImageSet": "data",
    "device": "support.devices",
    "load": "data",
    "plant_background": "data",
    "TwoViews": "views",
    "encode": "encoders",
    "projector": "encoders",
    "resnet18": "encoders",
    "small_conv": "encoders",
    "alignment": "contrastive",
    "nt_xent": "contrastive",
    "uniformity": "contrastive",
    "barlow_twins": "redundancy",
    "cross_correlation": "redundancy",
    "effective_rank": "redundancy",
    "rankme": "redundancy",
    "few_label_accuracy": "evaluation",
    "knn_accuracy": "evaluation",
    "linear_probe_accuracy": "evaluation",
    "neighbors": "evaluation",
    "fit_whitening": "whitening",
    "equivalence_test": "statistics",
    "holm": "statistics",
    "paired_difference": "statistics",
    "power": "statistics",
    "sign_flip_test": "statistics",
    "chance_shares": "mask_study",
    "class_r2": "confounders",
    "mask_accuracy": "mask_study",
    "nuisance_r2": "confounders",
    "random_mask_study": "mask_study",
    "split_gain": "mask_study",
    "top_mask": "mask_study",
    "fit_pair_mask": "pair_mask",
    "learn_pair_mask": "pair_mask",
    "DimensionalMask": "metamask",
    "LookaheadMetaMask": "metamask",
    "MetaMask": "metamask",
    "masked_loss": "metamask",
    "meta_gradient": "metamask",
    "virtual_step": "metamask",
    "Checkpointing": "training",
    "fit": "training",
    "label_consistency": "theory",
    "least_risk": "theory",
    "mask_claims": "theory",
    "negatives_gap": "theory",
    "nt_xent_offset": "theory",
    "risk_account": "theory",
    "risk_bounds": "theory",
    "claim": "course.claims",
    "check": "exercises",
    "progress": "exercises",
    "reveal": "exercises",
}
_MODULES = (
    *("support", "distributed", "datasets", "data", "views", "encoders", "contrastive"),
    *("redundancy", "evaluation", "whitening", "statistics", "confounders", "mask_study"),
    "pair_mask",
    *("metamask", "training", "theory", "experiments", "course", "exercises", "grading", "cli"),
)
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"mmlite.{_HOME[name]}"), name)
    if name in _MODULES:
        return import_module(f"mmlite.{name}")
    raise AttributeError(f"module 'mmlite' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_MODULES, "__version__"]
