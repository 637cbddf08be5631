"""What the training loop knows of a method whose hooks stand around its steps."""


class StepMethod:
    """A method that counts on a step of `mmlite.fit` to be taken on one batch, by one gradient.

    Attributes:
        clips: whether it clips the gradient itself, for it differentiates the step.
    """

    clips = False
