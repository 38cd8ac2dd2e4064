"""Records of a service, cut out of its replies as they came.

    page = records.split(body, "events")
    yield from records.events(page.records, to_event, position=f"after {position!r}")

No number is interpreted on the way: what is passed on are the bytes that the service wrote. A
record that is malformed, too long or too deep does not spoil those beside it; it becomes a dead
letter.

With msgspec (`aperio-plugin-sdk[fast]`) a reply is cut and read in two thirds of the time. Where
it refuses a reply or one record, Python's own `json` reads that again, and decides.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aperio_plugin import errors
from aperio_plugin._convert.records import LEAST_DEEP, Json, require_size
from aperio_plugin.connector import DeadLetter
from aperio_plugin.limits import MAX_RECORD_DEPTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from aperio_plugin.connector import Event

__all__ = ["Page", "Record", "events", "split"]

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_SCALAR: Final = re.compile(r"[^ \t\n\r,\]}\[{\":]+")
# What opens, what closes, and strings, in which neither counts. It never fails at a quote, so that
# no input is scanned twice.
_BRACKETS: Final = re.compile(r'[{\[]|[}\]]|"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_MOST_QUICK_FAILURES: Final = 100
"""Each costs a look at the whole reply, for the line number that Python puts into its error."""
_REQUIRED: Final = "\0"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def _whole_number(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:  # more digits than Python reads
        return float(digits)


def _scanner(whole_number: Callable[[str], float]) -> Callable[[str, int], tuple[Any, int]]:
    """Return what reads the value at a place in a text, and says where it ends."""
    decoder: Any = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=whole_number)
    scan: Callable[[str, int], tuple[Any, int]] = decoder.scan_once
    return scan


# The quick one, and one for what it refuses.
_SCAN: Final = _scanner(int)
_SCAN_LONG: Final = _scanner(_whole_number)


# Made for each record: a frozen one takes twice as long to make.
@dataclass(slots=True)
class Record:
    """One record as the service wrote it.

    Attributes:
        json: its text, passed on as it is.
        fields: its fields, to look at; a number that Python cannot hold is infinite here.
        problem: why it cannot be passed on; empty: it can.
    """

    json: bytes
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    problem: str = ""

    def require(self) -> None:
        """Refuse a record that cannot be passed on.

        Raises:
            errors.InvalidRecord: it cannot; the error says why.
        """
        if self.problem:
            raise errors.InvalidRecord(self.problem)

    def text(self, *path: str, default: str = _REQUIRED) -> str:
        """Give a text in the record, by its path of keys.

        Args:
            path: the keys, outermost first.
            default: for what is not there, or null; without one, the text is required.

        Raises:
            errors.InvalidRecord: it is missing, or something else; the error names it.
        """
        value: object = self.fields
        for depth, key in enumerate(path):
            if not isinstance(value, dict):
                raise _unexpected(path[:depth], "an object", value)
            value = value.get(key)
            if value is None and default is not _REQUIRED:
                return default
            if value is None:
                is_last = depth + 1 == len(path)
                raise _unexpected(path[: depth + 1], "text" if is_last else "an object", None)
        if not isinstance(value, str):
            raise _unexpected(path, "text", value)
        return value


def _unexpected(path: tuple[str, ...], expected: str, value: object) -> errors.InvalidRecord:
    name = ".".join(path) or "record"
    return errors.InvalidRecord(
        f"{name}: expected {expected}, received {_called(value)}", attribute=path
    )


def _called(value: object) -> str:
    """Return what JSON calls a value, and a short one itself."""
    if value is None:
        return "null or nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {str(value)[:40]}"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"


@dataclass(frozen=True, slots=True)
class Page:
    """A reply with a list of records.

    Attributes:
        records: the elements of the list, in order.
        fields: what else the reply has.
    """

    records: list[Record]
    fields: Mapping[str, Any]


def events(
    found: Iterable[Record],
    to_event: Callable[[Record], Event],
    *,
    position: str = "",
    id_key: str = "id",
) -> Iterator[Event | DeadLetter]:
    """Make an event of each record, or a dead letter of what `to_event` cannot read.

    Args:
        found: the records.
        to_event: makes one event; what it raises because of the record is the letter's reason.
        position: where in the service they were read, for a person.
        id_key: the field that identifies a record.
    """
    for number, record in enumerate(found, start=1):
        item: Event | DeadLetter
        try:
            record.require()
            item = to_event(record)
            if item.source_event_id == "":  # nothing else would say which record it was
                raise errors.InvalidRecord("source_event_id is empty")  # noqa: TRY301 - as to_event
        except (errors.InvalidRecord, AttributeError, LookupError, TypeError, ValueError) as error:
            item = letter(record, error, position=f"{position}, entry {number}", id_key=id_key)
        yield item


def letter(
    record: Record, error: Exception, *, position: str = "", id_key: str = "id"
) -> DeadLetter:
    """Give the dead letter of a record that could not be read."""
    is_plain = isinstance(error, errors.PluginError)
    identifier = record.fields.get(id_key)
    return DeadLetter(
        reason=str(error) if is_plain else f"{type(error).__name__}: {error}",
        source_event_id=str(identifier) if isinstance(identifier, str | int) else "",
        position=position.removeprefix(", "),
        record=record.json,
    )


def read_object(body: bytes) -> dict[str, Any]:
    """Read the JSON object in a reply.

    Raises:
        errors.Unavailable: there is none.
    """
    try:
        value, end = _SCAN_LONG(text := body.decode(), _after_space(text, 0))
        _require_end(text, end)
    except (ValueError, StopIteration) as error:
        raise errors.Unavailable("a reply is not JSON", detail=str(error)) from error
    except RecursionError as error:
        raise errors.Unavailable("a reply is nested too deeply") from error
    if not isinstance(value, dict):
        raise errors.Unavailable("a reply is not a JSON object")
    return value


def split(body: bytes, key: str) -> Page:
    """Cut the list under a key of a JSON object into its records, each as it was written.

    Args:
        body: the whole reply.
        key: of the list.

    Raises:
        errors.Unavailable: the reply is not JSON, breaks off, or has no such list.
    """
    return _plain_page(body, key) or _page(body, key)


@functools.cache
def _msgspec() -> tuple[Callable[[bytes], Any], ...] | None:
    """Return what cuts objects, what cuts lists, and what reads; None: it is not installed."""
    try:
        from msgspec import Raw
        from msgspec.json import Decoder
    except ImportError:
        return None
    return Decoder(dict[str, Raw]).decode, Decoder(list[Raw]).decode, Decoder().decode


def _plain_page(body: bytes, key: str) -> Page | None:
    """Cut a reply in which nothing is wrong but within records; None: it needs a closer look."""
    quick = _msgspec()
    if quick is None:
        return None
    cut_object, cut_list, read = quick
    try:
        members = cut_object(body)
        elements = cut_list(members.pop(key))
        fields = {name: read(text) for name, text in members.items()}
    except Exception:  # noqa: BLE001 - whatever it is, Python's own reader decides
        return None
    return Page([_record(element, read) for element in elements], fields)


def _record(element: Any, read: Callable[[bytes], Any]) -> Record:
    try:
        value = read(element)
        if type(value) is dict:
            data = Json(element)
            if len(data) >= LEAST_DEEP:
                require_size(data)
            return Record(data, value)
    except Exception:  # noqa: BLE001, S110 - once more, for what it is that is wrong
        pass
    return _element(bytes(element).decode(errors="surrogateescape"), 0)[0]


def _page(body: bytes, key: str) -> Page:
    found: list[Record] | None = None
    fields: dict[str, Any] = {}
    try:
        text = body.decode(errors="surrogateescape")
        at = _behind(text, 0, "{")
        is_open = not text.startswith("}", at)
        while is_open:
            name, at = _key(text, at)
            at = _behind(text, at, ":")
            if name == key and text.startswith("[", at):
                found, at = _elements(text, at)
            else:
                fields[name], at = _member(text, at)
            at = _after_space(text, at)
            is_open = text.startswith(",", at)
            at = _after_space(text, at + 1) if is_open else at
        _require_end(text, _behind(text, at, "}"))
    except ValueError as error:
        raise errors.Unavailable("a reply is not JSON", detail=str(error)) from error
    if found is None:
        raise errors.Unavailable(f"a reply has no list `{key}`")
    fields.pop(key, None)  # which stood there, too, and was no list
    return Page(found, fields)


def _elements(text: str, at: int) -> tuple[list[Record], int]:
    found: list[Record] = []
    at = _behind(text, at, "[")
    if text.startswith("]", at):
        return found, at + 1
    for number in itertools.count():
        if number < _MOST_QUICK_FAILURES:
            at = _usual_elements(text, at, found)
        record, at = _element(text, at)
        found.append(record)
        at = _after_space(text, at)
        if text.startswith("]", at):
            break
        at = _behind(text, at, ",")
    return found, at + 1


def _usual_elements(text: str, at: int, found: list[Record]) -> int:
    """Read elements as nearly all are, but the last; return where a closer look is needed."""
    scan, is_next, add = _SCAN, text.startswith, found.append
    try:
        while True:
            value, end = scan(text, at)
            if type(value) is not dict or not is_next((",{", ", {"), end):
                return at
            data = Json(text[at:end].encode())
            if end - at >= LEAST_DEEP:
                require_size(data)
            add(Record(data, value))
            at = end + 1 if text[end + 1] == "{" else end + 2
    except (ValueError, RecursionError, StopIteration):
        return at


def _element(text: str, at: int) -> tuple[Record, int]:
    """Read any element, and say what is wrong with it."""
    end = _end_of_value(text, at)
    value, problem = _read(text[at:end])
    data = b""
    try:
        data = text[at:end].encode()
        require_size(data)
    except UnicodeEncodeError as error:
        data, problem = error.object.encode(errors="surrogateescape"), "record is not UTF-8"
    except ValueError as error:
        problem = str(error)
    if not problem and not isinstance(value, dict):
        problem = f"record: expected an object, received {_called(value)}"
    fields = value if isinstance(value, dict) else {}
    return Record(data if problem else Json(data), fields, problem), end


def _read(text: str) -> tuple[Any, str]:
    """Read one value that the quick reader refuses: the value, or what is wrong with it."""
    try:
        value, end = _SCAN_LONG(text, 0)
        _require_end(text, end)
    except RecursionError:
        return None, f"record has more than {MAX_RECORD_DEPTH} levels"
    except StopIteration:
        return None, "record is not JSON"
    except ValueError as error:
        return None, f"record is not JSON: {error}"
    return value, ""


def _member(text: str, at: int) -> tuple[Any, int]:
    """Read a value beside the list; what cannot be read is None."""
    with contextlib.suppress(ValueError, RecursionError, StopIteration):
        value, end = _SCAN(text, at)
        if text.startswith((",", "}", " ", "\n", "\r", "\t"), end):  # else it goes on: `01`
            return value, end
    end = _end_of_value(text, at)
    return _read(text[at:end])[0], end


def _end_of_value(text: str, at: int) -> int:
    """Return where a value ends, by its brackets and strings alone.

    Raises:
        ValueError: it does not end.
    """
    if not text.startswith(("{", "["), at):
        pattern = _BRACKETS if text.startswith('"', at) else _SCALAR
        return _matched(pattern.match(text, at), at).end()
    depth = 0
    for found in _BRACKETS.finditer(text, at):
        mark = found[0]
        depth += (mark in "{[") - (mark in "}]")
        if depth == 0:
            return found.end()
    raise ValueError(f"what begins at character {at} does not end")


def _key(text: str, at: int) -> tuple[str, int]:
    if not text.startswith('"', at):
        raise ValueError(f"expected a key at character {at}")
    return _SCAN(text, at)


def _after_space(text: str, at: int) -> int:
    return _matched(_SPACE.match(text, at), at).end()


def _behind(text: str, at: int, mark: str) -> int:
    at = _after_space(text, at)
    if not text.startswith(mark, at):
        raise ValueError(f"expected `{mark}` at character {at}")
    return _after_space(text, at + 1)


def _matched(found: re.Match[str] | None, at: int) -> re.Match[str]:
    if found is None:
        raise ValueError(f"expected a value at character {at}")
    return found


def _require_end(text: str, at: int) -> None:
    if _after_space(text, at) != len(text):
        raise ValueError(f"expected the end at character {at}")
