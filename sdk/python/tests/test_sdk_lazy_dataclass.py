"""`lazy_dataclass` beside `dataclasses`: what a class does, whichever has made it."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import types
from dataclasses import InitVar, field
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from aperio_plugin import connector
from aperio_plugin.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    Options = dict[str, bool]

FROZEN = {"frozen": True, "slots": True}
SHAPES: list[Options] = [
    FROZEN,
    FROZEN | {"kw_only": True},
    FROZEN | {"order": True},
    FROZEN | {"eq": False},
    {"slots": True},
    {"slots": True, "kw_only": True},
    {"slots": True, "eq": False},
]


class Part:
    """Fields of every kind."""

    kind: ClassVar[str] = "part"

    name: str
    size: int = 3
    secret: str = field(default="s", repr=False)
    noted: list[str] = field(default_factory=list)
    aside: int = field(default=0, compare=False)
    hashed: int = field(default=0, hash=False)
    made: int = field(default=7, init=False)
    found: dict[str, int] = field(default_factory=dict, init=False)


class Empty:
    """No field."""


class Single:
    """One field, a text form of its own, and a look at what was given."""

    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("below zero")

    def __repr__(self) -> str:
        return f"<{self.value}>"


def both(body: type, options: Options) -> tuple[Any, Any]:
    """The class that `dataclasses` makes of this one, and ours."""

    def fresh() -> type:
        return types.new_class(body.__name__, (), {}, lambda names: names.update(contents))

    left_out = {"__dict__", "__weakref__"}
    contents = {name: value for name, value in vars(body).items() if name not in left_out}
    makers: list[Any] = [dataclasses.dataclass, dataclass]
    theirs, ours = (maker(**options)(fresh()) for maker in makers)
    return theirs, ours


def outcome(act: Callable[[], Any]) -> Any:
    """What it gives, or how it fails."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - whatever it is, both have to raise it
        return type(error), str(error)


@pytest.fixture(params=SHAPES, ids=",".join)
def options(request: pytest.FixtureRequest) -> Options:
    chosen: Options = request.param
    return chosen


@pytest.mark.parametrize("body", [Part, Empty, Single])
def test_a_class_looks_the_same(options: Options, body: type) -> None:
    theirs, ours = both(body, options)
    assert str(inspect.signature(ours)) == str(inspect.signature(theirs))
    assert [(f.name, f.type, f.kw_only) for f in dataclasses.fields(ours)] == [
        (f.name, f.type, f.kw_only) for f in dataclasses.fields(theirs)
    ]
    assert ours.__match_args__ == theirs.__match_args__
    assert ours.__slots__ == theirs.__slots__
    assert ours.__init__.__qualname__ == theirs.__init__.__qualname__
    assert (ours.__hash__ is None) == (theirs.__hash__ is None)
    flags = ("init", "repr", "eq", "order", "frozen")
    told = [[getattr(cls.__dataclass_params__, flag) for flag in flags] for cls in (ours, theirs)]
    assert told[0] == told[1]


def named(cls: Any, *names: Any, **further: Any) -> Any:
    """An object of the class, its first field given as its constructor takes it."""
    if "name" in inspect.signature(cls).parameters:
        further["name"], names = names[0], ()
    return cls(*names, **further)


def behaviour(cls: Any, options: Options) -> list[Any]:
    """All that can be seen of objects of a class of `Part`."""
    first, same = named(cls, "a", size=2), named(cls, "a", size=2, aside=5)
    other = named(cls, "b", secret="t", noted=["n"])
    by_place = {} if options.get("kw_only") else {"by place": outcome(lambda: repr(cls("c", 4)))}
    return [
        repr(first), repr(other), by_place,
        [getattr(first, each.name) for each in dataclasses.fields(cls)],
        named(cls, "a").noted is not named(cls, "a").noted,
        dataclasses.asdict(other), dataclasses.astuple(other),
        first == first, first == other, first == 1,  # noqa: PLR0124 - with itself
        first == same if options.get("eq", True) else None,
        outcome(lambda: first < other)[:1] if not options.get("order") else first < other,
        outcome(lambda: hash(first)) if options.get("eq", True) else None,
        outcome(lambda: setattr(first, "size", 9)), first.size,
        outcome(lambda: delattr(first, "size")),
        repr(dataclasses.replace(other, size=8)),
        outcome(lambda: dataclasses.replace(other, made=8)),
        outcome(cls), outcome(lambda: named(cls, "a", unknown=1)),
        outcome(lambda: cls("a", 1, "s", [], 1, 1, 1, 1)),
        repr(copy.copy(other)), repr(copy.deepcopy(other)), copy.copy(other).noted is other.noted,
    ]  # fmt: skip


def test_objects_behave_the_same(options: Options) -> None:
    theirs, ours = both(Part, options)
    for theirs_shown, ours_shown in zip(
        behaviour(theirs, options), behaviour(ours, options), strict=True
    ):
        assert ours_shown == theirs_shown


def test_a_frozen_object_takes_no_attribute() -> None:
    made = connector.Checkpoint(b"1")
    for name in ("cursor", "unknown"):
        with pytest.raises(
            dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"
        ):
            setattr(made, name, b"2")
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{name}'"):
            delattr(made, name)
    assert made == connector.Checkpoint(b"1")


def test_objects_without_or_with_one_field_behave_the_same(options: Options) -> None:
    for body, given in ((Empty, {}), (Single, {"value": 3})):
        theirs, ours = both(body, options)
        assert repr(ours(**given)) == repr(theirs(**given))
        assert (ours(**given) == ours(**given)) is (theirs(**given) == theirs(**given))
        if options.get("eq", True) and options.get("frozen"):
            assert hash(ours(**given)) == hash(theirs(**given))


def test_an_object_is_looked_at_once_it_is_made(options: Options) -> None:
    for cls in both(Single, options):
        assert cls(value=1).value == 1
        with pytest.raises(ValueError, match="below zero"):
            cls(value=-1)


@pytest.mark.parametrize(
    "made",
    [
        connector.Checkpoint(b"1", "logs"),
        connector.Event(source_event_id="1", event_type="a.b", occurred_at=1.0, record=b"{}"),
        connector.Schema(provider="BOX", name="Box", auth=connector.NoAuth()),
        connector.TestResult(ok=True, account={"name": "n"}),
    ],
    ids=lambda made: type(made).__name__,
)
def test_what_authors_make_is_compared_shown_copied_and_pickled(made: Any) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(made, protocol)) == made  # noqa: S301 - our own
    assert copy.copy(made) == copy.deepcopy(made) == dataclasses.replace(made) == made
    assert dataclasses.is_dataclass(made)
    assert repr(made).startswith(f"{type(made).__name__}(")


def test_a_text_form_that_leads_to_itself_ends() -> None:
    theirs, ours = both(Part, {"slots": True})
    for cls in (theirs, ours):
        made = cls("a")
        made.noted = made
        assert repr(made).startswith("Part(name='a', size=3, noted=..., aside=0")


def test_no_constructor_is_compiled_before_an_object_is_made_or_it_is_looked_at() -> None:
    for look in (lambda cls: cls("a"), inspect.signature):
        ours = both(Part, FROZEN)[1]
        assert not inspect.isfunction(vars(ours)["__init__"])
        look(ours)
        assert inspect.isfunction(vars(ours)["__init__"])


def test_a_class_may_derive_from_one_and_call_its_constructor() -> None:
    class Longer(connector.Checkpoint):
        def __init__(self) -> None:
            super().__init__(b"1", stream="logs")

    made = Longer()
    assert (made.cursor, made.stream) == (b"1", "logs")
    assert made != connector.Checkpoint(b"1", "logs")
    made.further = 1  # type: ignore[attr-defined] # a class of the author's, without slots
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.cursor = b""  # type: ignore[misc] # that is the test


def test_a_frozen_dataclass_may_derive_from_one_and_no_other() -> None:
    @dataclasses.dataclass(frozen=True)
    class Further(connector.Checkpoint):
        more: int = 0

    assert Further(b"1", more=2).more == 2
    with pytest.raises(TypeError, match="frozen"):
        dataclasses.dataclass(type("Changing", (connector.Checkpoint,), {"__annotations__": {}}))


class Wanting:
    """What its constructor alone is given."""

    seal: InitVar[int]


class Derived(connector.Checkpoint):
    """A class that derives from a dataclass."""


@pytest.mark.parametrize("cls", [Wanting, Derived])
def test_what_only_dataclasses_can_do_is_refused(cls: type) -> None:
    with pytest.raises(TypeError, match="take `dataclasses`"):
        dataclass(frozen=True, slots=True)(cls)


def test_a_class_without_slots_is_refused() -> None:
    with pytest.raises(TypeError, match="without slots"):
        dataclass(slots=False)
