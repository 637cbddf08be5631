"""Two right answers to each exercise, by its id, written as the references are not."""

from right_answers import lesson01, lesson02, lesson03, lesson04, lesson05, lesson06, lesson07

LESSONS = {
    "01": lesson01,
    "02": lesson02,
    "03": lesson03,
    "04": lesson04,
    "05": lesson05,
    "06": lesson06,
    "07": lesson07,
}
RIGHT = {id: answers for lesson in LESSONS.values() for id, answers in lesson.RIGHT.items()}
