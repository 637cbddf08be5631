"""The exercises of lesson 01: similarity and vote, two views, the loss, its push, collapse."""

from mmlite.exercises.lesson01 import (
    ex1_cosine_similarity,
    ex2_knn_vote,
    ex3_two_views,
    ex4_nt_xent,
    ex5_push,
    ex6_collapsed_loss,
)
from mmlite.exercises.lesson01.ex1_cosine_similarity import cosine_similarity
from mmlite.exercises.lesson01.ex2_knn_vote import knn_vote
from mmlite.exercises.lesson01.ex3_two_views import two_views
from mmlite.exercises.lesson01.ex5_push import push
from mmlite.exercises.lesson01.ex6_collapsed_loss import collapsed_loss

EXERCISES = (
    ex1_cosine_similarity.exercise,
    ex2_knn_vote.exercise,
    ex3_two_views.exercise,
    ex4_nt_xent.exercise,
    ex5_push.exercise,
    ex6_collapsed_loss.exercise,
)

__all__ = ["EXERCISES", "collapsed_loss", "cosine_similarity", "knn_vote", "push", "two_views"]
