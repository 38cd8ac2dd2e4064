"""Values of a command line that are what they are meant to be are taken as they are.

Typer has pydantic convert every value, texts to texts and absent ones too. To import that takes a
third of the time of most commands, and nearly all our parameters are texts and flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class _Sparing:
    """A parameter's conversion, which asks Typer for its own where there is something to convert.

    Args:
        annotation: what is wanted.
        typers: gives Typer's.
    """

    def __init__(self, annotation: Any, typers: Callable[[], Any]) -> None:
        self._annotation = annotation
        self._typers = typers

    def __call__(self) -> _Sparing:
        """Give itself, as a method of the parameter gives Typer's conversion."""
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return a value as it is wanted.

        Raises:
            TyperException: it cannot be converted.
        """
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if self._annotation == list[str] and isinstance(value, list | tuple):
            if all(type(each) is str for each in value):
                return list(value)
        elif type(value) is self._annotation:
            return value
        return self._typers().coerce(value, param=param, ctx=ctx)


def spare(parameter: Any) -> None:
    """Convert values of a parameter of Typer's only where they are something else.

    A Typer without pydantic is left alone.
    """
    typers = getattr(parameter, "get_runtime_param", None)
    if typers and not isinstance(typers, _Sparing):
        parameter.get_runtime_param = _Sparing(parameter.type_descriptor.annotation, typers)
