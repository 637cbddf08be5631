"""Marking notebooks: submissions in, marks and feedback out, and no trust in between.

`submissions` finds and reads what students handed in; `marking` judges it, by calling the student's
functions through `sandbox`; `report` writes marks and feedback. On the sandbox's side, `zygote`
forks a `worker` for each exercise, which `isolation` holds and which runs what `notebook` selects;
`wire` is what both sides speak.

Nothing is imported here: the sandbox imports this package too and must not hold the references.
"""
