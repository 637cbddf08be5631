"""Marking notebooks: submissions in, marks and feedback out, and no trust in between.

On the grader's side `submissions` finds and reads what students handed in, `batch` marks a class,
`marking` judges a notebook by calling the student's functions, `report` writes marks and feedback.
`sandbox` starts what answers are held in, `container` does it with Docker, `remote` is one worker
as the grader sees it; `trial` and `selfcheck` try both before a class is marked.

On the student's side `zygote` forks a `keeper` for each exercise, which holds and watches a
`worker`, which runs what `notebook` selects of what `cells` reads; `changes` says what a line
changes, and `asking` asks the grader for earlier exercises. `mounts`, `landlock`, `seccomp`,
`limits` and `usage` are what a keeper holds it by, `kernel` what these ask of Linux. `wire` is what
both sides speak.

Nothing is imported here: the sandbox imports this package too and must not hold the references.
"""
