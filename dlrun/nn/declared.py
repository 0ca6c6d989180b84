"""What an activation says of itself where it is defined, by the decorator :func:`activation`, and who is told of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from dlrun.config.choice import Choice
from dlrun.errors import nearest

Init = Literal["he_normal", "he_uniform", "xavier_normal", "xavier_uniform", "lecun_normal", "orthogonal"]
"""The initialisers that an activation can ask for."""
C = TypeVar("C", bound=Callable[..., Any])


@dataclass(frozen=True)
class Declared:
    """What an activation declares.

    Args:
      init: the initialiser that ``init=auto`` takes for the layers before it; None if it declares nothing.
      saturates: whether its slope vanishes for large inputs of either sign, which makes deep plain networks hard to
        train.
      gated: whether it splits the last axis into a value and a gate: (..., 2 n) to (..., n).
    """

    init: Init | None = None
    saturates: bool = False
    gated: bool = False


def activation(*, init: Init, saturates: bool = False, gated: bool = False) -> Callable[[C], C]:
    """A decorator of activations, functions or classes, that declares what :class:`Declared` has.

    Raises ``ValueError`` for an initialiser that there is not.
    """
    if init not in get_args(Init):
        raise ValueError(
            f"init={init!r}: not allowed{nearest(init, get_args(Init))}; allowed: {', '.join(get_args(Init))}"
        )

    def declare(component: C) -> C:
        setattr(component, "declared", Declared(init, saturates, gated))  # noqa: B010, as functions have no such field
        return component

    return declare


def declared(activation: Choice) -> Declared:
    """What an activation declares; of one without the decorator, nothing."""
    return getattr(activation.component, "declared", Declared())


class Following(str):
    """The name of the activation that follows a layer, as initialisers are given it, and what it asks for.

    Args:
      name: ``identity`` if none follows.
      init: the initialiser that it declares.
    """

    init: Init | None

    def __new__(cls, name: str, init: Init | None) -> "Following":
        self = super().__new__(cls, name)
        self.init = init
        return self

    @classmethod
    def of(cls, activation: Choice) -> "Following":
        """What initialisers are given for the layers before this activation."""
        return cls(activation.name, declared(activation).init)


NONE_FOLLOWS = Following("identity", "lecun_normal")
"""What initialisers are given for outputs, attention's projections and other layers that no activation follows."""
