"""What `mmlite/__init__.py` finds lazily, for type checkers and editors; a test compares both."""

from mmlite import (
    cli as cli,
    confounders as confounders,
    contrastive as contrastive,
    course as course,
    data as data,
    datasets as datasets,
    distributed as distributed,
    encoders as encoders,
    evaluation as evaluation,
    exercises as exercises,
    experiments as experiments,
    grading as grading,
    mask_study as mask_study,
    metamask as metamask,
    pair_mask as pair_mask,
    redundancy as redundancy,
    statistics as statistics,
    support as support,
    theory as theory,
    training as training,
    views as views,
    whitening as whitening,
)
from mmlite.confounders import class_r2 as class_r2, nuisance_r2 as nuisance_r2
from mmlite.contrastive import alignment as alignment, nt_xent as nt_xent, uniformity as uniformity
from mmlite.course.claims import claim as claim
from mmlite.data import ImageSet as ImageSet, load as load, plant_background as plant_background
from mmlite.encoders import (
    encode as encode,
    projector as projector,
    resnet18 as resnet18,
    small_conv as small_conv,
)
from mmlite.evaluation import (
    few_label_accuracy as few_label_accuracy,
    knn_accuracy as knn_accuracy,
    linear_probe_accuracy as linear_probe_accuracy,
    neighbors as neighbors,
)
from mmlite.exercises import check as check, progress as progress, reveal as reveal
from mmlite.mask_study import (
    chance_shares as chance_shares,
    mask_accuracy as mask_accuracy,
    random_mask_study as random_mask_study,
    split_gain as split_gain,
    top_mask as top_mask,
)
from mmlite.metamask import (
    DimensionalMask as DimensionalMask,
    LookaheadMetaMask as LookaheadMetaMask,
    MetaMask as MetaMask,
    masked_loss as masked_loss,
    meta_gradient as meta_gradient,
    virtual_step as virtual_step,
)
from mmlite.pair_mask import fit_pair_mask as fit_pair_mask, learn_pair_mask as learn_pair_mask
from mmlite.redundancy import (
    barlow_twins as barlow_twins,
    cross_correlation as cross_correlation,
    effective_rank as effective_rank,
    rankme as rankme,
)
from mmlite.statistics import (
    equivalence_test as equivalence_test,
    holm as holm,
    paired_difference as paired_difference,
    power as power,
    sign_flip_test as sign_flip_test,
)
from mmlite.support.devices import device as device
from mmlite.theory import (
    label_consistency as label_consistency,
    least_risk as least_risk,
    mask_claims as mask_claims,
    negatives_gap as negatives_gap,
    nt_xent_offset as nt_xent_offset,
    risk_account as risk_account,
    risk_bounds as risk_bounds,
)
from mmlite.training import Checkpointing as Checkpointing, fit as fit
from mmlite.views import TwoViews as TwoViews
from mmlite.whitening import fit_whitening as fit_whitening

__version__: str
__all__: list[str]
