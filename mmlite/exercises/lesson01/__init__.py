"""The exercises of lesson 01: a vote, two views, the loss and its push, collapse, spread."""

from mmlite.exercises.lesson01 import (
    ex1_cosine_similarity,
    ex2_knn_vote,
    ex3_two_views,
    ex4_nt_xent,
    ex5_push,
    ex6_collapsed_loss,
    ex7_uniformity,
    ex8_representation,
)
from mmlite.exercises.lesson01.ex1_cosine_similarity import cosine_similarity
from mmlite.exercises.lesson01.ex2_knn_vote import knn_vote
from mmlite.exercises.lesson01.ex3_two_views import two_views
from mmlite.exercises.lesson01.ex5_push import push
from mmlite.exercises.lesson01.ex6_collapsed_loss import collapsed_loss
from mmlite.exercises.lesson01.ex8_representation import representation

EXERCISES = (
    ex1_cosine_similarity.exercise,
    ex2_knn_vote.exercise,
    ex3_two_views.exercise,
    ex4_nt_xent.exercise,
    ex5_push.exercise,
    ex6_collapsed_loss.exercise,
    ex7_uniformity.exercise,
    ex8_representation.exercise,
)

__all__ = [
    "EXERCISES",
    "collapsed_loss",
    "cosine_similarity",
    "knn_vote",
    "push",
    "representation",
    "two_views",
]
