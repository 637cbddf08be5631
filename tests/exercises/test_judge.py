"""Of every exercise: right answers pass, the stub is not started, each mistake is recognized."""

import dataclasses
import re

import pytest
import torch
from right_answers import RIGHT
from right_answers.lesson03 import none_if_constant
from torch.nn import functional as F

from mmlite.exercises import AnswerError, all_exercises, check, find, grade, judge
from mmlite.exercises.judge import _to
from mmlite.exercises.lesson01 import two_views
from mmlite.exercises.lesson04.ex6_mixed_term import head_loss
from mmlite.support import devices

EXERCISES = list(all_exercises().values())
MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.mistakes]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
@pytest.mark.parametrize("seed", range(3))
def test_the_reference_and_two_other_right_answers_pass(exercise, seed):
    for answer in [exercise.reference, *RIGHT[exercise.id]]:
        verdict = judge(exercise, answer, hidden=True, seed=seed)
        assert verdict.status == "passed", verdict.message


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_a_stub_is_not_started(exercise):
    def stub(*arguments):
        raise NotImplementedError(f"{exercise.function} is yours to write")

    assert judge(exercise, stub).status == "not started"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda a, b: (a @ b.T).to("meta").cpu(), "NotImplementedError: .*out of meta tensor"),
        (lambda a, b: raising("my_push is yours to write"), "my_push is yours to write"),
    ],
    ids=["torch's own", "another exercise's stub"],
)
def test_what_is_not_this_exercises_stub_is_an_error_with_its_message(answer, message):
    verdict = judge(find("01.1"), answer)
    assert verdict.status == "wrong"
    assert re.search(message, verdict.message)


def raising(message):
    raise NotImplementedError(message)


@pytest.mark.parametrize(
    ("exercise", "mistake"), MISTAKES, ids=lambda value: getattr(value, "id", None) or value.name
)
def test_each_mistake_is_rejected_and_recognized_as_itself(exercise, mistake):
    for seed, hidden in ((0, False), (1, False), (2, True)):
        verdict = judge(exercise, mistake.function, hidden=hidden, seed=seed)
        assert (verdict.status, verdict.mistake) == ("wrong", mistake.name)
        assert verdict.message == mistake.sentence


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_declarations_are_complete(exercise):
    lesson, _, place = exercise.id.partition(".")
    assert lesson.isdecimal()
    assert place.isdecimal()
    assert exercise.points >= 1
    assert 1 <= exercise.difficulty <= 5
    assert exercise.why_tolerance
    assert exercise.sizes == tuple(sorted(exercise.sizes))
    assert len({mistake.name for mistake in exercise.mistakes}) == len(exercise.mistakes) >= 3
    assert list(all_exercises()) == sorted(all_exercises())


def changes_its_input(a, b):
    a /= a.norm(dim=1, keepdim=True)
    return a @ F.normalize(b, dim=1).T


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda a, b: None, "it returned None; is the return statement missing"),
        (lambda a, b: "0.5", "expected a tensor of shape .*, got a str"),
        (lambda a, b: (a @ b.T)[0], "expected a result of shape"),
        (lambda a, b: a @ b, "raised RuntimeError: .*mat1 and mat2"),
        (lambda a: a, "raised TypeError"),
        (lambda a, b: a @ b.T * torch.nan, "the result holds NaN or infinities"),
        (lambda a, b: 10**400, "a whole number of more than 63 bits"),
        (lambda a, b: torch.zeros(1, 2, device="meta"), "the result lies on the meta device"),
        (lambda a, b: 0.5 + 0 * (a @ b.T), r"at \[0, \d\] expected .*, got 0.5"),
        (changes_its_input, "changed its inputs; work on a copy"),
        (0.5, "my_cosine_similarity is not a function but a float"),
    ],
)
def test_other_wrong_answers_get_a_sentence(answer, message):
    verdict = judge(find("01.1"), answer, seed=0)
    assert verdict.status == "wrong"
    assert verdict.mistake is None
    assert re.search(message, verdict.message), verdict.message


def eta_squared(guard):
    """Return an answer to 03.1 as its lesson shows it, with a guard of one's own."""

    def answer(h, labels):
        mean = h.mean(0)
        total = (h - mean).square().sum(0)
        between = torch.zeros_like(total)
        for label in labels.unique():
            members = h[labels == label]
            between += len(members) * (members.mean(0) - mean).square()
        return guard(between / total, total, h)

    return answer


def r_squared(guard):
    """Return an answer to 03.2 by a fit with a column of ones."""

    def answer(h, nuisance):
        x = torch.cat([nuisance, torch.ones(len(h), 1)], 1)
        rest = (h - x @ torch.linalg.lstsq(x, h).solution).square().sum(0)
        total = (h - h.mean(0)).square().sum(0)
        return guard(1 - rest / total, total, h)

    return answer


CONSTANT = {
    "NaN for a constant dimension": [
        lambda share, total, h: share,
        lambda share, total, h: share.clamp(0, 1),
    ],
    "more than 0 for a constant dimension": [
        lambda share, total, h: torch.where(h.amax(0) > h.amin(0), share, 1),
        lambda share, total, h: share.nan_to_num(1.0, 1.0, 1.0) + 1e-2 * (h == h[0]).all(0),
    ],
    None: [
        lambda share, total, h: torch.where((h != h[0]).any(0), share, 0),
        lambda share, total, h: torch.where(h.std(0) > 1e-6, share, 0),
    ],
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mistake", CONSTANT)
@pytest.mark.parametrize(("exercise", "with_guard"), [("03.1", eta_squared), ("03.2", r_squared)])
def test_a_dimension_that_does_not_vary_is_asked_for(exercise, with_guard, mistake, seed):
    for guard in CONSTANT[mistake]:
        verdict = judge(find(exercise), with_guard(guard), seed=seed)
        assert (verdict.mistake, verdict.status) == (mistake, "wrong" if mistake else "passed")


def test_a_total_that_rounds_to_more_than_0_is_no_guard():
    for seed in range(20):
        answer = eta_squared(lambda share, total, h: torch.where(total > 0, share, 0))
        verdict = judge(find("03.1"), answer, hidden=True, seed=seed)
        assert verdict.status == "wrong"
        assert verdict.message.startswith("a dimension that does not vary gets a share other than")


@pytest.mark.parametrize(
    "got", [torch.tensor(1.0), torch.ones(4), torch.ones(6, dtype=torch.int64), torch.ones(2, 6)]
)
def test_what_is_no_share_of_each_dimension_is_told_as_that(got):
    verdict = judge(find("03.1"), lambda h, labels: got)
    assert re.match("expected a result of (shape|type)|at .* expected", verdict.message)
    assert "does not vary" not in verdict.message


def test_a_mistake_elsewhere_is_named_whatever_is_done_with_a_constant_dimension():
    for guard in (lambda s, total, h: s.sqrt(), lambda s, total, h: none_if_constant(s.sqrt(), h)):
        assert judge(find("03.1"), eta_squared(guard)).mistake == "root"


def test_tensors_within_tuples_are_copied_compared_and_described():
    def draw(generator, size):
        return (torch.ones(size), (torch.ones(2, size), 3)), 0.5

    def changing(pair, factor):
        pair[1][0].zero_()
        return pair[0].sum()

    exercise = dataclasses.replace(
        find("01.1"), draw=draw, reference=lambda pair, factor: pair[0].sum(), mistakes=()
    )
    assert judge(exercise, lambda pair, factor: pair[0].sum()).status == "passed"
    assert "changed its inputs" in judge(exercise, changing).message
    message = judge(exercise, lambda pair, factor: factor * pair[0].sum()).message
    assert message.endswith("(for inputs (a [1] tensor, (a [2, 1] tensor, 3)), 0.5)")
    assert _to(draw(None, 1), "meta")[0][1][0].is_meta


def test_the_smallest_failing_case_is_shown():
    def wrong_for_three(a, b):
        return find("01.1").reference(a, b) + 0.1 * (len(a) >= 3)

    verdict = judge(find("01.1"), wrong_for_three)
    assert "inputs a [3, 4] tensor, a [4, 4] tensor" in verdict.message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda images, g: images, "must return two tensors"),
        (lambda images, g: (images, images), "no image of the first view is shifted"),
        (lambda images, g: (two_views(images, g)[0], images), "no image of the second view is"),
        (lambda images, g: (images.roll(4, 3), images), "shifted by at most 3 pixels"),
        (lambda images, g: (images // 2, images), "shifted by at most 3 pixels"),
        (lambda images, g: (images.float(), images), "must have the type of images"),
        (lambda images, g: (images[:, :, 1:], images), "must return two tensors of the shape"),
    ],
)
def test_views_that_are_none_are_told_which_property_fails(answer, message):
    assert message in judge(find("01.3"), answer).message


def test_check_prints_one_stable_line_and_returns_what_to_go_on_with(capsys):
    right = RIGHT["01.4"][0]
    assert check("01.4", right) is right
    assert capsys.readouterr().out == "✓ exercise 01.4 passed: the NT-Xent loss\n"

    def stub(z1, z2, temperature):
        raise NotImplementedError

    assert check("01.4", stub) is find("01.4").reference
    assert capsys.readouterr().out == (
        "○ exercise 01.4 not started; the lesson goes on with the course's own function\n"
    )
    mistake = find("01.4").mistakes[0]
    assert check("01.4", mistake.function) is find("01.4").reference
    printed = capsys.readouterr().out
    assert "✗ exercise 01.4: this is the loss without removing a view's similarity" in printed
    assert "goes on with the course's own function; mend your answer" in printed


def test_check_leaves_the_random_state(capsys):
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    check("01.3", lambda images, g: (torch.rand(3), torch.rand(3)))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_check_uses_the_lessons_device(monkeypatch, capsys):
    used = []
    monkeypatch.setattr(devices, "device", lambda: torch.device("meta"))

    def answer(a, b):
        used.append(a.device.type)
        raise NotImplementedError

    check("01.1", answer)
    assert used == ["meta"]


def test_grade_raises_for_everything_but_a_right_answer():
    grade("01.4", RIGHT["01.4"][1])
    with pytest.raises(AnswerError, match=r"exercise 01\.4 wrong: this is the loss without"):
        grade("01.4", find("01.4").mistakes[0].function)

    def passes_the_public_cases_only(z1, z2, temperature):
        right = find("01.4").reference(z1, z2, temperature)
        return right if len(z1) in find("01.4").sizes else right + 1

    assert judge(find("01.4"), passes_the_public_cases_only).status == "passed"
    with pytest.raises(AnswerError, match="expected"):
        grade("01.4", passes_the_public_cases_only)


def test_an_unknown_exercise_is_refused_with_the_list():
    with pytest.raises(ValueError, match=r"no exercise '99\.9'; the exercises are: 01\.1, 01\.2"):
        check("99.9", print)


def test_the_trap_of_04_6_is_what_torch_does_where_it_has_it():
    """The mistake is written out so that it stays one; torch 2.15 makes it by itself."""
    exercise = find("04.6")
    trap = next(m for m in exercise.mistakes if m.name == "the trap").function
    case = exercise.draw(torch.Generator().manual_seed(0), 8)

    def along(w):
        theta, _, x, weight, v = case
        return torch.func.jvp(lambda t: head_loss(t, w, x, weight), (theta,), (v,))[1]

    by_torch = torch.func.grad(along)(case[1])
    # float32 through two derivatives of BatchNorm
    sound = torch.allclose(by_torch, exercise.reference(*case), rtol=1e-3, atol=1e-4)
    assert sound or torch.allclose(by_torch, trap(*case), rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_references_and_mistakes_run_on_a_gpu(exercise):
    assert judge(exercise, exercise.reference, hidden=True, device="cuda").status == "passed"
    for mistake in exercise.mistakes:
        assert judge(exercise, mistake.function, device="cuda").mistake == mistake.name
