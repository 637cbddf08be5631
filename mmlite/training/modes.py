"""Which parts of a model train, and which stay in evaluation mode because they are frozen.

A frozen part in evaluation mode, a pretrained trunk say, keeps its BatchNorm statistics while the
rest trains. And what a hook does to the modes, to measure something, ends with the hook.
"""

from torch import nn


class TrainingModes:
    """Puts a model into training mode, but for its frozen parts, and keeps it there.

    A part is frozen if it has parameters and none of them is trained. A part without parameters
    (dropout, BatchNorm without weights) that alone was put into evaluation mode stays there too.

    Args:
        model: what trains.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        frozen = {m: m.training for part in _staying(model, False) for m in part.modules()}
        model.train()
        for module, mode in frozen.items():
            module.training = mode
        self._note()

    def settle(self) -> None:
        """Put the modes back after a hook.

        A part that the hook has frozen stays as the hook left it; one that it has released trains.
        """
        if self._now() != (self.modes, self.trained):
            self._settle(self.model)
            self._note()

    def _now(self) -> tuple[dict[nn.Module, bool], dict[nn.Parameter, bool]]:
        modes = {module: module.training for module in self.model.modules()}
        return modes, {p: p.requires_grad for p in self.model.parameters()}

    def _note(self) -> None:
        self.modes, self.trained = self._now()
        self.frozen = {module for module in self.modes if is_frozen(module)}

    def _settle(self, module: nn.Module, released: bool = False) -> None:
        frozen, was_frozen = is_frozen(module), module in self.frozen
        if frozen and (module not in self.modes or not was_frozen):
            return
        released = (released or was_frozen) and not frozen
        module.training = released or self.modes.get(module, True)
        for child in module.children():
            self._settle(child, released)


def is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters, and none of them is trained."""
    trained = [p.requires_grad for p in module.parameters()]
    return bool(trained) and not any(trained)


def _staying(module: nn.Module, parent_trains: bool) -> list[nn.Module]:
    """Return the outermost parts in evaluation mode that stay there."""
    alone = parent_trains and next(module.parameters(), None) is None
    if not module.training and (alone or is_frozen(module)):
        return [module]
    return [part for child in module.children() for part in _staying(child, module.training)]
