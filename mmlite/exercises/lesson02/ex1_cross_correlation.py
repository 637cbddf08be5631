"""Exercise 02.1: the cross-correlation of two views."""

from mmlite import redundancy as course
from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson02.correlation import add_misreadings, correlate, draw_views

exercise = Exercise(
    id="02.1",
    title="the cross-correlation of two views",
    points=2,
    minutes=15,
    difficulty=2,
    function="my_cross_correlation",
    reference=course.cross_correlation,
    home="mmlite.redundancy.cross_correlation",
    draw=draw_views,
    sizes=(4, 6, 16),
    hidden_sizes=(3, 100),
    tolerance=1e-4,
    why_tolerance="float32 loses about 1e-6 where a mean of 3 deviations is subtracted; 1e-4 "
    "leaves room for any order of the sums, and N − 1 in place of N changes the result by 1/N",
)


add_misreadings(exercise, correlate)


@exercise.mistake(
    "products summed", "the products are summed over the batch: divide by N, for their mean."
)
def _products_summed(z1, z2):
    return correlate(z1, z2) * len(z1)


@exercise.mistake(
    "transposed",
    "this is C transposed: row i belongs to dimension i of z1, column j to dimension j of z2.",
)
def _transposed(z1, z2):
    return correlate(z2, z1)


@exercise.mistake(
    "images correlated",
    "this is [N, N], the correlation of images: correlate the dimensions, [P, N] @ [N, P].",
)
def _images_correlated(z1, z2):
    return correlate(z1, z2, axis=1, rows=True)
