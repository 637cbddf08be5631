"""What `mmlite/__init__.py` finds lazily, for type checkers and editors; a test compares both."""

from mmlite import (
    cli as cli,
)
from mmlite import (
    confounders as confounders,
)
from mmlite import (
    contrastive as contrastive,
)
from mmlite import (
    course as course,
)
from mmlite import (
    data as data,
)
from mmlite import (
    datasets as datasets,
)
from mmlite import (
    distributed as distributed,
)
from mmlite import (
    encoders as encoders,
)
from mmlite import (
    evaluation as evaluation,
)
from mmlite import (
    exercises as exercises,
)
from mmlite import (
    experiments as experiments,
)
from mmlite import (
    grading as grading,
)
from mmlite import (
    metamask as metamask,
)
from mmlite import (
    redundancy as redundancy,
)
from mmlite import (
    statistics as statistics,
)
from mmlite import (
    support as support,
)
from mmlite import (
    training as training,
)
from mmlite import (
    views as views,
)
from mmlite.confounders import (
    chance_shares as chance_shares,
)
from mmlite.confounders import (
    class_r2 as class_r2,
)
from mmlite.confounders import (
    mask_accuracy as mask_accuracy,
)
from mmlite.confounders import (
    nuisance_r2 as nuisance_r2,
)
from mmlite.confounders import (
    random_mask_study as random_mask_study,
)
from mmlite.confounders import (
    split_gain as split_gain,
)
from mmlite.confounders import (
    top_mask as top_mask,
)
from mmlite.contrastive import (
    alignment as alignment,
)
from mmlite.contrastive import (
    nt_xent as nt_xent,
)
from mmlite.contrastive import (
    uniformity as uniformity,
)
from mmlite.course.claims import (
    claim as claim,
)
from mmlite.data import (
    ImageSet as ImageSet,
)
from mmlite.data import (
    load as load,
)
from mmlite.data import (
    plant_background as plant_background,
)
from mmlite.encoders import (
    encode as encode,
)
from mmlite.encoders import (
    projector as projector,
)
from mmlite.encoders import (
    resnet18 as resnet18,
)
from mmlite.encoders import (
    small_conv as small_conv,
)
from mmlite.evaluation import (
    few_label_accuracy as few_label_accuracy,
)
from mmlite.evaluation import (
    knn_accuracy as knn_accuracy,
)
from mmlite.evaluation import (
    linear_probe_accuracy as linear_probe_accuracy,
)
from mmlite.evaluation import (
    neighbors as neighbors,
)
from mmlite.exercises import (
    check as check,
)
from mmlite.metamask import (
    DimensionalMask as DimensionalMask,
)
from mmlite.metamask import (
    LookaheadMetaMask as LookaheadMetaMask,
)
from mmlite.metamask import (
    MetaMask as MetaMask,
)
from mmlite.metamask import (
    masked_loss as masked_loss,
)
from mmlite.metamask import (
    meta_gradient as meta_gradient,
)
from mmlite.metamask import (
    virtual_step as virtual_step,
)
from mmlite.redundancy import (
    barlow_twins as barlow_twins,
)
from mmlite.redundancy import (
    cross_correlation as cross_correlation,
)
from mmlite.redundancy import (
    effective_rank as effective_rank,
)
from mmlite.redundancy import (
    rankme as rankme,
)
from mmlite.statistics import (
    paired_difference as paired_difference,
)
from mmlite.support.devices import (
    device as device,
)
from mmlite.training import (
    Checkpointing as Checkpointing,
)
from mmlite.training import (
    fit as fit,
)
from mmlite.views import (
    TwoViews as TwoViews,
)

__version__: str
__all__: list[str]
