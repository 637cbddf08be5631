r"""The dimensional mask, learned by meta-learning (MetaMask, Li et al. 2022, section 3).

A mask m = σ(w) in (0, 1) multiplies the representation dimension by dimension before the heads. It
is asked to make the *next* step of the encoder a good one. With one virtual step of length η,

    θ′(w) = θ − η ∇θ L(θ, w),    J(w) = L(θ′(w), w),

the gradient that the mask follows is

    ∇J = ∂L/∂w (θ′, w)  −  η ∂/∂w ⟨∇θ L(θ, w), v⟩,    v = ∇θ L(θ′, w) held fixed.

The second term looks like a matrix of second derivatives, [D, all parameters], times v. But w and v
change places: it is the derivative of ∂L/∂w as θ moves along v, so one number's worth of *forward*
differentiation is enough. And the mask enters after the encoder, so nothing flows back through it:

1. forward and backward at θ: the virtual step;
2. forward and backward at θ′: ∂L/∂w and v, from one backward pass;
3. forward only, at θ: h and its derivative ḣ along v (forward mode). Then ⟨∇θ L, v⟩ is
   ⟨∂L/∂h, ḣ⟩ + ⟨∂L/∂φ, v⟩ with φ the heads' parameters: a scalar of the heads alone, and its
   gradient is taken there, by a double backward pass through the heads. (Forward over reverse
   gives the same and takes twice as long.)

`mask` holds the mask, `objective` L as a function of (θ, w, views) alone, `gradient` the
meta-gradient, `trainer` the training step around it, `lookahead` a cheaper one, `update` what an
optimizer makes of a gradient, `tangents` the rules that make pass 3 cheap.

Faithfulness, line by line. "Code" is what its authors published (jiangmengli/MetaMask,
`meta-mask.py`, read at commit 65f7919).

The mask
    Paper: M = σ(ω) on the representation. Code: σ of zero logits on 512 dimensions, before both
    heads; `--disable-sigmoid` takes w itself. Here: `DimensionalMask(dim)`, σ of zero logits.
The regular step
    Paper: redundancy term + α · contrastive term, seen through the mask. Code: Barlow Twins + 10 ·
    NT-Xent; τ is 0.07 whatever `--temperature` says. Here: NT-Xent + `redundancy_weight` · Barlow
    Twins, so their 10 is 0.1 here up to the scale of the whole.
The order
    Code: after the regular step, the meta step on the same batch at the new θ. Here: `MetaMask`
    likewise; `LookaheadMetaMask` is ours.
What the meta step minimizes
    Paper and code: the contrastive term alone, after one step on the contrastive term alone. Here:
    `MetaMask` likewise. `LookaheadMetaMask`: the whole loss of the next batch.
The virtual step
    Code: SGD with the optimizer's learning rate (1e-3), a copy of its momentum buffers and its
    weight decay. Here: a plain step of length `virtual_lr`; `copy_optimizer=True` takes over
    momentum and weight decay, `virtual_lr=None` the optimizer's learning rate.
The second term
    Paper: "second-derivative technique". Code: a central finite difference of step 0.01 / ‖v‖,
    times the scheduler's learning rate. Here: exact; `method="finite-difference"` is theirs.
The mask's optimizer
    Code: SGD, learning rate 1e-3, momentum 0.9, weight decay 5e-4 on the logits, which pulls every
    entry toward 1/2. Here: the one that you pass.
The views
    Code: each view goes through the network by itself, so BatchNorm sees one view at a time. Here:
    both as one batch, as in the rest of the course.
BatchNorm's running statistics
    Code: virtual passes move them. Here: they stay.
Prediction heads
    Paper: none. Code: built, never trained. Here: none.
Evaluation
    Code: kNN (k = 5) on masked features, the best epoch on the test set, one seed. Here: masked,
    unmasked and permuted mask, the last epoch, several seeds with an interval.
"""

from mmlite.metamask.gradient import meta_gradient, virtual_step
from mmlite.metamask.lookahead import LookaheadMetaMask
from mmlite.metamask.mask import DimensionalMask, masked_loss
from mmlite.metamask.trainer import MaskTrainer, MetaMask

__all__ = [
    "DimensionalMask",
    "LookaheadMetaMask",
    "MaskTrainer",
    "MetaMask",
    "masked_loss",
    "meta_gradient",
    "virtual_step",
]
