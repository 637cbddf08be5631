"""Exercise 07.1: the intensity of a convolution."""

from torch import Generator

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson07.draws import WHY_NUMBERS, draw_whole
from mmlite.experiments import costs
from mmlite.experiments.costs import NUMBER


def intensity(
    images: int, channels_in: int, channels_out: int, height: int, width: int, stride: int
) -> float:
    """Return the operations per byte of a 3 × 3 convolution with padding 1, in float32."""
    shape = (images, channels_in, channels_out, height, width)
    return costs.convolution_cost(*shape, kernel=3, stride=stride).intensity


def draw(generator: Generator, size: int) -> tuple[int, ...]:
    # few images, so that weights count; strides of 2 and 3 in turn, so that they do too
    side = draw_whole(generator, 4, 9)
    channels = draw_whole(generator, 3, 5), draw_whole(generator, 6, 9)
    return size, *channels, side, side + draw_whole(generator, 1, 3), 2 + size % 2


exercise = Exercise(
    id="07.1",
    title="the intensity of a convolution",
    points=2,
    minutes=15,
    difficulty=2,
    function="my_intensity",
    reference=intensity,
    home="mmlite.exercises.lesson07.intensity",
    draw=draw,
    sizes=(1, 2, 3),
    hidden_sizes=(4, 7),
    tolerance=1e-4,
    why_tolerance=WHY_NUMBERS,
)


def _counted(images, channels_in, channels_out, height, width, stride) -> tuple[float, list[int]]:
    """Return the operations, and the numbers of input, weights and result."""
    out = ((height - 1) // stride + 1) * ((width - 1) // stride + 1)
    numbers = [
        images * channels_in * height * width,
        9 * channels_in * channels_out,
        images * channels_out * out,
    ]
    return 2.0 * numbers[2] * 9 * channels_in, numbers


@exercise.mistake(
    "one operation for two", "a product and the addition behind it are two operations."
)
def _one_for_both(*shape):
    return intensity(*shape) / 2


@exercise.mistake(
    "weights not read", "the weights have to be read too: 9 · channels_in · channels_out numbers."
)
def _without_weights(*shape):
    flops, (given, _, results) = _counted(*shape)
    return flops / (NUMBER * (given + results))


@exercise.mistake(
    "result not written", "the result has to be written too, and is often the largest of the three."
)
def _without_result(*shape):
    flops, (given, weights, _) = _counted(*shape)
    return flops / (NUMBER * (given + weights))


@exercise.mistake("numbers for bytes", "this is a number, not a byte: a float32 has four.")
def _a_number(*shape):
    return intensity(*shape) * NUMBER


@exercise.mistake(
    "stride forgotten",
    "the result has as many pixels as the image here: a stride of s leaves every s-th "
    "row and column, (side − 1) // s + 1 of them.",
)
def _stride_forgotten(*shape):
    return intensity(*shape[:-1], 1)


@exercise.mistake(
    "one input channel", "each result is a sum over the 3 × 3 window in all input channels."
)
def _one_channel(*shape):
    return intensity(*shape) / shape[1]
