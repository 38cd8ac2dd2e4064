"""Dataclasses whose constructor is compiled when the first object is made.

    @dataclass(frozen=True, slots=True)
    class Checkpoint:
        cursor: bytes

What `dataclasses.dataclass` makes of such a class, this makes, too: the same signature, equality,
text form, immutability, `replace`, `copy` and `pickle`. But that one writes and compiles the source
of up to six methods for each class, half a millisecond of every start, whether they are used or
not: with two hundred classes more than all else that a program does. Here all but the constructor
are shared, and nothing is compiled for a class of which no object is made.

It is shared with aperio's own tools; plugins need nothing of it. There is no `InitVar`, and a class
derives from no other dataclass.
"""

from __future__ import annotations

import dataclasses
import operator
import reprlib

TYPE_CHECKING = False  # `typing` takes longer to import than this module
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from dataclasses import Field, dataclass
    from typing import Any

__all__ = ["dataclass"]

_SET = "__dataclass_set__"


class _Factory:
    """Stands in a signature for what a factory makes."""

    def __repr__(self) -> str:
        return "<factory>"


_UNMADE = _Factory()


class _Constructor:
    """The `__init__` of a class until it is first looked at: then a function takes its place."""

    def __init__(self, cls: type, *, frozen: bool) -> None:
        self._cls = cls
        self._frozen = frozen

    def __get__(self, instance: object, owner: type) -> Any:
        made = _constructor(self._cls, frozen=self._frozen)
        self._cls.__init__ = made  # type: ignore[misc] # nobody has seen another
        return made.__get__(instance, owner)


def _constructor(cls: type, *, frozen: bool) -> Any:
    """Compile the `__init__` of a class, as `dataclasses` would."""
    fields = dataclasses.fields(cls)
    plain = [field for field in fields if field.init and not field.kw_only]
    named = [field for field in fields if field.init and field.kw_only]
    parameters = ["self", *map(_parameter, plain), *["*"][: len(named)], *map(_parameter, named)]
    known: dict[str, Any] = {_SET: object.__setattr__, "_UNMADE": _UNMADE}
    lines = []
    for field in fields:
        value = _value(field, known)
        if value and frozen:
            lines.append(f"{_SET}(self, {field.name!r}, {value})")
        elif value:
            lines.append(f"self.{field.name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    source = "\n  ".join([f"def __init__({', '.join(parameters)}):", *lines, "return None"])
    exec(source, known)  # noqa: S102 - of nothing but names of fields, as `dataclasses` does
    made = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__module__ = cls.__module__
    made.__defaults__ = tuple(_defaults(plain).values())
    made.__kwdefaults__ = _defaults(named)
    made.__annotations__ = {field.name: field.type for field in (*plain, *named)} | {"return": None}
    return made


def _parameter(field: Field[Any]) -> str:
    return f"{field.name}=None" if _defaults([field]) else field.name


def _defaults(fields: Sequence[Field[Any]]) -> dict[str, Any]:
    """Return the defaults of those fields that have one, by name."""
    missing = dataclasses.MISSING
    return {
        field.name: field.default if field.default is not missing else _UNMADE
        for field in fields
        if field.default is not missing or field.default_factory is not missing
    }


def _value(field: Field[Any], known: dict[str, Any]) -> str:
    """Return the source of what a field is set to; empty: it is not set.

    Args:
        field: which.
        known: takes what the source names.
    """
    name, made = field.name, f"_make_{field.name}"
    if field.default_factory is not dataclasses.MISSING:
        known[made] = field.default_factory
        return f"{made}() if {name} is _UNMADE else {name}" if field.init else f"{made}()"
    if field.init:
        return name
    if field.default is dataclasses.MISSING:
        return ""
    known[made] = field.default
    return made


# ── what all classes share ────────────────────────────────────────────────────────────────────────


@reprlib.recursive_repr()
def _repr(self: Any) -> str:
    shown = [field.name for field in dataclasses.fields(self) if field.repr]
    texts = ", ".join([f"{name}={getattr(self, name)!r}" for name in shown])
    return f"{self.__class__.__qualname__}({texts})"


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _setstate(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=False):
        object.__setattr__(self, field.name, value)


def _comparing(fields: Sequence[Field[Any]], names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Give the comparisons of these names, such as `__eq__`."""
    compared = _tuple_of([field.name for field in fields if field.compare])
    for name in names:
        yield name, _comparison(getattr(operator, name), compared)


def _comparison(compare: Callable[..., bool], compared: Callable[[Any], object]) -> Any:
    def method(self: Any, other: Any) -> Any:
        if other.__class__ is self.__class__:
            return compare(compared(self), compared(other))
        return NotImplemented

    return method


def _hashing(fields: Sequence[Field[Any]]) -> Callable[[Any], int]:
    hashed = _tuple_of([f.name for f in fields if (f.compare if f.hash is None else f.hash)])
    return lambda self: hash(hashed(self))


def _tuple_of(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what gives the attributes of these names."""
    if len(names) > 1:
        return operator.attrgetter(*names)
    if not names:
        return lambda _thing: ()
    only = operator.attrgetter(names[0])
    return lambda thing: (only(thing),)


def _freezing(cls: Any, fields: Sequence[Field[Any]]) -> Iterator[tuple[str, Any]]:
    """Give what keeps the objects of a class as they were made."""
    names = frozenset(field.name for field in fields)

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def delete_attribute(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    yield "__setattr__", set_attribute
    yield "__delattr__", delete_attribute
    yield "__getstate__", _getstate
    yield "__setstate__", _setstate


def _methods(cls: type, *, frozen: bool, eq: bool, order: bool) -> Iterator[tuple[str, Any]]:
    fields = dataclasses.fields(cls)
    yield "__init__", _Constructor(cls, frozen=frozen)
    yield "__repr__", _repr
    if eq:
        yield from _comparing(fields, ["__eq__"])
        yield "__hash__", _hashing(fields) if frozen else None
    if order:
        yield from _comparing(fields, ["__lt__", "__le__", "__gt__", "__ge__"])
    if frozen:
        yield from _freezing(cls, fields)


def _decorated(cls: type, *, frozen: bool, kw_only: bool, eq: bool, order: bool) -> type:
    if any(hasattr(base, "__dataclass_fields__") for base in cls.__bases__):
        raise TypeError(f"{cls.__name__} derives from a dataclass: take `dataclasses`")
    cls.__doc__ = cls.__doc__ or cls.__name__  # `dataclasses` would look at the constructor
    prepare = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)
    made: Any = prepare(cls)
    if any("InitVar" in str(field.type) for field in made.__dataclass_fields__.values()):
        raise TypeError(f"{cls.__name__} has an InitVar: take `dataclasses`")
    for name, value in _methods(made, frozen=frozen, eq=eq, order=order):
        if name not in vars(made):
            setattr(made, name, value)
    told = made.__dataclass_params__
    told.init = told.repr = True
    told.eq, told.order, told.frozen = eq, order, frozen
    return made  # type: ignore[no-any-return] # it is a class


if not TYPE_CHECKING:

    def dataclass(
        *,
        slots: bool,
        frozen: bool = False,
        kw_only: bool = False,
        eq: bool = True,
        order: bool = False,
    ) -> Callable[[type], type]:
        """Make a dataclass with slots, as `dataclasses.dataclass` does.

        Raises:
            TypeError: it needs what only that one can do.
        """
        if not slots:
            raise TypeError("a dataclass without slots: take `dataclasses`")
        return lambda cls: _decorated(cls, frozen=frozen, kw_only=kw_only, eq=eq, order=order)
