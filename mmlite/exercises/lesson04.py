"""The exercises of lesson 04: a mask before the head, a virtual step, its derivative four ways.

The toy of exercises 04.2 to 04.4 has one parameter a dimension: x [N, D] is represented as
h = tanh(θ ⊙ x), the head adds up what the mask lets through, and L(θ, w) is the mean over N of
(Σ_i σ(w_i) h_i − y)².
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

import mmlite.metamask.tangents  # noqa: F401 - keeps torch's warning at the first jvp silent
from mmlite.exercises import Exercise, Mistake


def toy_loss(theta: Tensor, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return L(θ, w), a scalar, for theta, w [D], x [N, D] and y [N]."""
    return (torch.tanh(theta * x) @ torch.sigmoid(w) - y).square().mean()


def _represent(theta: Tensor, w: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return h [N, D], its derivative with respect to θ [N, D], and the residual [N, 1]."""
    h = torch.tanh(theta * x)
    return h, (1 - h.square()) * x, (h @ torch.sigmoid(w) - y)[:, None]


def _of_theta(theta: Tensor, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return ∂L/∂θ [D] of the toy."""
    _, slope, residual = _represent(theta, w, x, y)
    return 2 * torch.sigmoid(w) * (residual * slope).mean(0)


def _of_mask(theta: Tensor, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return ∂L/∂m [D] of the toy, with m = σ(w)."""
    h, _, residual = _represent(theta, w, x, y)
    return 2 * (residual * h).mean(0)


def _slope(w: Tensor) -> Tensor:
    return torch.sigmoid(w) * torch.sigmoid(-w)


def _of_w(theta: Tensor, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return _of_mask(theta, w, x, y) * _slope(w)


def _draw_toy(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dim = 3
    x = torch.randn(size, dim, generator=generator)
    y = torch.randn(size, generator=generator) + x.sum(1)
    theta = 0.5 + torch.rand(dim, generator=generator)
    return theta, torch.randn(dim, generator=generator), x, y


def _rate(generator: Generator) -> float:
    return round(0.1 + 0.2 * float(torch.rand((), generator=generator)), 2)


# 04.1 a mask before the head -----------------------------------------------------------------


def masked_projection(h: Tensor, w: Tensor, weight: Tensor) -> Tensor:
    """Return z [N, P] of a linear head, weight [P, D], that sees h [N, D] through σ(w) [D]."""
    return (h * torch.sigmoid(w)) @ weight.T


def _draw_projection(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    # P = D, so that a mask in the wrong place has the right shape
    return (
        torch.randn(size, 4, generator=generator),
        torch.randn(4, generator=generator),
        torch.randn(4, 4, generator=generator),
    )


# 04.2 a virtual step -------------------------------------------------------------------------


def virtual_step(theta: Tensor, w: Tensor, x: Tensor, y: Tensor, lr: float) -> Tensor:
    """Return θ′ = θ − lr ∂L/∂θ [D] of the toy."""
    return theta - lr * _of_theta(theta, w, x, y)


def _draw_step(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    return *_draw_toy(generator, size), _rate(generator)


# 04.3 the meta-gradient ----------------------------------------------------------------------


def _parts(theta, w, x, y, outer_x, outer_y, lr) -> tuple[Tensor, Tensor]:
    """Return both terms [D] of the meta-gradient: ∂L/∂w at θ′, and η times the mixed term."""
    virtual = virtual_step(theta, w, x, y, lr)
    v = _of_theta(virtual, w, outer_x, outer_y)
    return _of_w(virtual, w, outer_x, outer_y), lr * mixed_term(theta, w, x, y, v)


def mixed_term(theta: Tensor, w: Tensor, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
    """Return ∂/∂w ⟨∂L/∂θ, v⟩ [D] of the toy, by hand."""
    h, slope, residual = _represent(theta, w, x, y)
    of_h = slope * v  # how h changes as θ moves along v
    of_residual = (of_h @ torch.sigmoid(w))[:, None]
    return 2 * (of_residual * h + residual * of_h).mean(0) * _slope(w)


def meta_gradient(
    theta: Tensor, w: Tensor, x: Tensor, y: Tensor, outer_x: Tensor, outer_y: Tensor, lr: float
) -> Tensor:
    """Return the gradient [D] of L(θ′(w), w) on the outer batch with respect to the logits."""
    direct, through = _parts(theta, w, x, y, outer_x, outer_y, lr)
    return direct - through


def _draw_meta(generator: Generator, size: int):
    theta, w, x, y = _draw_toy(generator, size)
    _, _, outer_x, outer_y = _draw_toy(generator, size)
    return theta, w, x, y, outer_x, outer_y, _rate(generator)


def _same_batch(theta, w, x, y, outer_x, outer_y, lr):
    return meta_gradient(theta, w, x, y, x, y, lr)


def _wrong_sign(*case):
    direct, through = _parts(*case)
    return direct + through


def _before_the_step(theta, w, x, y, outer_x, outer_y, lr):
    return _of_w(theta, w, outer_x, outer_y)


def _of_the_mask(*case):
    return meta_gradient(*case) / _slope(case[1])


# 04.4 a finite difference --------------------------------------------------------------------


def finite_difference(
    theta: Tensor, w: Tensor, x: Tensor, y: Tensor, v: Tensor, step: float
) -> Tensor:
    """Return the mixed term [D] by a central difference, θ moved by step · v / ‖v‖ either way."""
    epsilon = step / v.norm()
    ahead = _of_w(theta + epsilon * v, w, x, y)
    behind = _of_w(theta - epsilon * v, w, x, y)
    return (ahead - behind) / (2 * epsilon)


def _draw_difference(generator: Generator, size: int):
    v = 1 + torch.rand(3, generator=generator)
    # long steps: float32 would lose the difference of a short one
    step = round(0.3 + 0.3 * float(torch.rand((), generator=generator)), 2)
    return *_draw_toy(generator, size), v, step


def _ends(theta, w, x, y, v, epsilon):
    return [_of_w(theta + sign * epsilon * v, w, x, y) for sign in (1, -1)]


def _distance_forgotten(theta, w, x, y, v, step):
    ahead, behind = _ends(theta, w, x, y, v, step / v.norm())
    return ahead - behind


def _half_the_distance(theta, w, x, y, v, step):
    epsilon = step / v.norm()
    ahead, behind = _ends(theta, w, x, y, v, epsilon)
    return (ahead - behind) / epsilon


def _one_sided(theta, w, x, y, v, step):
    epsilon = step / v.norm()
    ahead, _ = _ends(theta, w, x, y, v, epsilon)
    return (ahead - _of_w(theta, w, x, y)) / epsilon


def _divided_by_step(theta, w, x, y, v, step):
    ahead, behind = _ends(theta, w, x, y, v, step / v.norm())
    return (ahead - behind) / (2 * step)


def _logits_moved(theta, w, x, y, v, step):
    epsilon = step / v.norm()
    ahead, behind = (_of_w(theta, w + sign * epsilon * v, x, y) for sign in (1, -1))
    return (ahead - behind) / (2 * epsilon)


def _gradient_of_theta(theta, w, x, y, v, step):
    epsilon = step / v.norm()
    ahead, behind = (_of_theta(theta + sign * epsilon * v, w, x, y) for sign in (1, -1))
    return (ahead - behind) / (2 * epsilon)


# 04.5 forward over reverse -------------------------------------------------------------------

EPSILON = 1e-5  # BatchNorm's


def _through_head(theta: Tensor, w: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return (torch.tanh(x * theta) * torch.sigmoid(w)) @ weight.T


def head_loss(theta: Tensor, w: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return a loss whose head holds a BatchNorm: mean of tanh(BN((tanh(x θ) ⊙ σ(w)) Wᵀ))³."""
    u = _through_head(theta, w, x, weight)
    return torch.tanh(F.batch_norm(u, None, None, training=True)).pow(3).mean()


def forward_over_reverse(theta: Tensor, w: Tensor, x: Tensor, weight: Tensor, v: Tensor) -> Tensor:
    """Return ∂/∂w ⟨∂L/∂θ, v⟩ [D] of `head_loss`: the derivative of ∂L/∂w as θ moves along v."""

    def of_w(theta: Tensor) -> Tensor:
        return torch.func.grad(head_loss, argnums=1)(theta, w, x, weight)

    return torch.func.jvp(of_w, (theta,), (v,))[1]


def _draw_head(generator: Generator, size: int):
    dim, width = 3, 4
    return (
        0.5 + torch.rand(dim, generator=generator),
        torch.randn(dim, generator=generator),
        torch.randn(size, dim, generator=generator),
        torch.randn(width, dim, generator=generator),
        torch.randn(dim, generator=generator),
    )


def _the_trap(theta, w, x, weight, v):
    """Return the gradient of a jvp as torch 2.15 has it, whatever torch is installed.

    Its forward derivative of BatchNorm takes the batch's mean and scale from the kernel, which a
    backward pass then holds for constants.
    """

    def along(w):
        u, du = torch.func.jvp(lambda theta: _through_head(theta, w, x, weight), (theta,), (v,))
        centred, dcentred = u - u.mean(0), du - du.mean(0)
        scale = (centred.square().mean(0) + EPSILON).rsqrt()
        held = scale.detach()
        standard = (u - u.mean(0).detach()) * held
        dnorm = held * (dcentred - standard * (standard * dcentred).mean(0))
        cubes = torch.func.jvp(
            lambda norm: torch.tanh(norm).pow(3).mean(), (centred * scale,), (dnorm,)
        )
        return cubes[1]

    return torch.func.grad(along)(w)


def _roles_exchanged(theta, w, x, weight, v):
    def of_theta(w):
        return torch.func.grad(head_loss)(theta, w, x, weight)

    return torch.func.jvp(of_theta, (w,), (v,))[1]


def _hessian(theta, w, x, weight, v):
    def of_theta(theta):
        return torch.func.grad(head_loss)(theta, w, x, weight)

    return torch.func.jvp(of_theta, (theta,), (v,))[1]


def _value_of_jvp(theta, w, x, weight, v):
    return torch.func.grad(head_loss, argnums=1)(theta, w, x, weight)


# 04.6 statistics that stay -------------------------------------------------------------------


def running_mean_after(
    running_mean: Tensor, regular: Tensor, virtual: Tensor, momentum: float
) -> Tensor:
    """Return BatchNorm's running mean [D] after a regular pass and a virtual one, both [N, D]."""
    return (1 - momentum) * running_mean + momentum * regular.mean(0)


def _draw_statistics(generator: Generator, size: int):
    momentum = round(0.1 + 0.2 * float(torch.rand((), generator=generator)), 2)
    return (
        torch.randn(3, generator=generator),
        2 + torch.randn(size, 3, generator=generator),
        torch.randn(size, 3, generator=generator) - 2,
        momentum,
    )


_WHY_TOY = (
    "sums of a few dozen float32 products round by about 1e-6; 1e-4 leaves room for any order and "
    "for automatic differentiation, and the mistakes change some entry by more than 1e-2"
)

EXERCISES = (
    Exercise(
        id="04.1",
        title="a mask before the head",
        points=1,
        minutes=5,
        difficulty=1,
        function="my_masked_projection",
        reference=masked_projection,
        home="mmlite.exercises.lesson04.masked_projection",
        draw=_draw_projection,
        sizes=(2, 5),
        hidden_sizes=(1, 64),
        tolerance=1e-5,
        why_tolerance="sums of four float32 products round by about 1e-6",
        mistakes=(
            Mistake(
                "mask after the head",
                lambda h, w, weight: (h @ weight.T) * torch.sigmoid(w),
                "the mask multiplies what the head returns: it belongs before the head, on h, "
                "where a dimension still is a dimension of the representation.",
            ),
            Mistake(
                "logits for the mask",
                lambda h, w, weight: (h * w) @ weight.T,
                "the logits were multiplied in as they are: the mask is sigmoid(w).",
            ),
            Mistake(
                "no mask",
                lambda h, w, weight: h @ weight.T,
                "the mask is not used: multiply h by sigmoid(w) first.",
            ),
            Mistake(
                "softmax",
                lambda h, w, weight: (h * torch.softmax(w, 0)) @ weight.T,
                "this is a softmax, in which dimensions compete for a sum of 1: each gate is a "
                "sigmoid of its own.",
            ),
        ),
    ),
    Exercise(
        id="04.2",
        title="a step that is not taken",
        points=2,
        minutes=15,
        difficulty=2,
        function="my_virtual_step",
        reference=virtual_step,
        home="mmlite.exercises.lesson04.virtual_step",
        draw=_draw_step,
        sizes=(2, 4, 16),
        hidden_sizes=(3, 100),
        tolerance=1e-4,
        why_tolerance=_WHY_TOY,
        mistakes=(
            Mistake(
                "uphill",
                lambda theta, w, x, y, lr: theta + lr * _of_theta(theta, w, x, y),
                "the step goes uphill: subtract lr times the gradient.",
            ),
            Mistake(
                "no gate",
                lambda theta, w, x, y, lr: (
                    theta - lr * _of_theta(theta, w, x, y) / torch.sigmoid(w)
                ),
                "the gradient lacks the factor σ(w): the mask gates what comes back to θ as well "
                "as what goes forward.",
            ),
            Mistake(
                "gradient of the logits",
                lambda theta, w, x, y, lr: theta - lr * _of_w(theta, w, x, y),
                "this is the gradient with respect to w: the virtual step moves θ.",
            ),
            Mistake(
                "sum over the batch",
                lambda theta, w, x, y, lr: theta - lr * len(y) * _of_theta(theta, w, x, y),
                "the gradient is that of a sum over the batch: the loss is a mean.",
            ),
            Mistake(
                "gradient only",
                lambda theta, w, x, y, lr: _of_theta(theta, w, x, y),
                "this is the gradient: return θ after the step, theta - lr * gradient.",
            ),
            Mistake(
                "factor 2",
                lambda theta, w, x, y, lr: theta - lr / 2 * _of_theta(theta, w, x, y),
                "the gradient is half of what it should be: the square's derivative brings a 2.",
            ),
        ),
    ),
    Exercise(
        id="04.3",
        title="the gradient through the step",
        points=4,
        minutes=30,
        difficulty=4,
        function="my_meta_gradient",
        reference=meta_gradient,
        home="mmlite.exercises.lesson04.meta_gradient",
        draw=_draw_meta,
        sizes=(2, 4, 16),
        hidden_sizes=(3, 100),
        tolerance=1e-3,
        why_tolerance="the two terms are up to ten times their difference, so that float32 leaves "
        "about 1e-5 of it; the mistakes change some entry by more than 1e-2",
        mistakes=(
            Mistake(
                "detached virtual step",
                lambda *case: _parts(*case)[0],
                "θ′ was taken for a constant: it depends on w through the gate, and that path is "
                "missing. Keep the graph of the first gradient (create_graph=True).",
            ),
            Mistake(
                "sign of the second term",
                _wrong_sign,
                "the second term has the wrong sign: θ′ = θ − lr · gradient brings a minus.",
            ),
            Mistake(
                "second term alone",
                lambda *case: -_parts(*case)[1],
                "only the path through θ′ is there: the loss after the step also sees the mask "
                "directly.",
            ),
            Mistake(
                "before the step",
                _before_the_step,
                "the loss is taken at θ: take it at θ′, after the virtual step.",
            ),
            Mistake(
                "the inner batch twice",
                _same_batch,
                "the loss after the step is taken on the batch of the step: take it on outer_x and "
                "outer_y.",
            ),
            Mistake(
                "of the mask, not the logits",
                _of_the_mask,
                "this is the gradient with respect to the mask: the logits' has a factor "
                "σ(w) (1 − σ(w)) more.",
            ),
        ),
    ),
    Exercise(
        id="04.4",
        title="the second term by difference",
        points=2,
        minutes=20,
        difficulty=3,
        function="my_finite_difference",
        reference=finite_difference,
        home="mmlite.exercises.lesson04.finite_difference",
        draw=_draw_difference,
        sizes=(2, 4, 16),
        hidden_sizes=(3, 100),
        tolerance=1e-3,
        why_tolerance="a difference over a distance of about 0.3 keeps five digits of float32; the "
        "mistakes change some entry by more than 1e-2",
        mistakes=(
            Mistake(
                "distance forgotten",
                _distance_forgotten,
                "this is the difference of the gradients: divide it by the distance of the two "
                "points.",
            ),
            Mistake(
                "half the distance",
                _half_the_distance,
                "the difference was divided by ε: the two points are 2ε apart.",
            ),
            Mistake(
                "one-sided",
                _one_sided,
                "one of the points is θ itself: move it both ways, θ + εv and θ − εv, for an error "
                "of order ε² in place of ε.",
            ),
            Mistake(
                "divided by the step",
                _divided_by_step,
                "the difference was divided by 2 · step: the factor before v is ε = step / ‖v‖.",
            ),
            Mistake(
                "v not scaled",
                lambda theta, w, x, y, v, step: finite_difference(
                    theta, w, x, y, v, step * float(v.norm())
                ),
                "θ was moved by step · v: divide by the length of v, so that the move is `step` "
                "long whatever v is.",
            ),
            Mistake(
                "logits moved",
                _logits_moved,
                "w was moved: it is θ that moves along v.",
            ),
            Mistake(
                "gradient of θ",
                _gradient_of_theta,
                "the gradients at the two points are those with respect to θ: take those with "
                "respect to w.",
            ),
        ),
    ),
    Exercise(
        id="04.5",
        title="the second term, exactly",
        points=3,
        minutes=25,
        difficulty=4,
        function="my_mixed_term",
        reference=forward_over_reverse,
        home="mmlite.exercises.lesson04.forward_over_reverse",
        draw=_draw_head,
        sizes=(4, 8, 32),
        hidden_sizes=(5, 100),
        tolerance=1e-3,
        why_tolerance="BatchNorm divides float32 sums by their deviation, twice differentiated; "
        "about 1e-5 is lost. The mistakes change some entry by more than 1e-2",
        mistakes=(
            Mistake(
                "the trap",
                _the_trap,
                "this is the gradient of a jvp, and the backward pass through PyTorch's forward "
                "derivative of BatchNorm takes the batch's mean and scale for constants. Turn the "
                "order round: the jvp of a gradient.",
            ),
            Mistake(
                "roles exchanged",
                _roles_exchanged,
                "this is the derivative of ∂L/∂θ as w moves along v: take that of ∂L/∂w as θ "
                "moves.",
            ),
            Mistake(
                "θ twice",
                _hessian,
                "this is the derivative of ∂L/∂θ as θ moves along v: take ∂L/∂w (argnums=1).",
            ),
            Mistake(
                "not differentiated along v",
                _value_of_jvp,
                "this is ∂L/∂w itself: jvp returns the value and the derivative along v, and the "
                "second is asked for.",
            ),
        ),
    ),
    Exercise(
        id="04.6",
        title="statistics that stay",
        points=1,
        minutes=5,
        difficulty=1,
        function="my_running_mean",
        reference=running_mean_after,
        home="mmlite.exercises.lesson04.running_mean_after",
        draw=_draw_statistics,
        sizes=(2, 6),
        hidden_sizes=(3, 50),
        tolerance=1e-5,
        why_tolerance="means of a few dozen float32 numbers round by about 1e-6",
        mistakes=(
            Mistake(
                "statistics leak",
                lambda mean, regular, virtual, momentum: running_mean_after(
                    running_mean_after(mean, regular, virtual, momentum), virtual, virtual, momentum
                ),
                "the virtual pass moved the running mean too: a step that is not taken must leave "
                "no trace.",
            ),
            Mistake(
                "the virtual pass only",
                lambda mean, regular, virtual, momentum: running_mean_after(
                    mean, virtual, virtual, momentum
                ),
                "the virtual pass moved the running mean and the regular one did not: it is the "
                "other way round.",
            ),
            Mistake(
                "momentum the other way",
                lambda mean, regular, virtual, momentum: running_mean_after(
                    mean, regular, virtual, 1 - momentum
                ),
                "old and new are exchanged: PyTorch's momentum is the weight of the new batch.",
            ),
            Mistake(
                "nothing moves",
                lambda mean, regular, virtual, momentum: mean.clone(),
                "nothing moved the running mean: the regular pass does.",
            ),
        ),
    ),
)
