"""Random changes to documents and bytes, repeatable from a seed: each says what it did."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.archives import gzip_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

Path = tuple[str | int, ...]

_MAX_CHANGES = 3
_TWICE = "twice "  # marks the second of two keys until the document is text


@dataclass(frozen=True)
class Mutant:
    """What became of some bytes, and by which changes."""

    data: bytes
    changes: str


def of_bytes(data: bytes, chooser: random.Random) -> Mutant:
    """One to three changes of the bytes themselves."""
    return _several(data, chooser, _BYTE_CHANGES)


def of_json(data: bytes, chooser: random.Random) -> Mutant:
    """One to three changes of a JSON document; the result may be no JSON any more."""
    return _several(data, chooser, _JSON_CHANGES)


def of_json_lines(data: bytes, chooser: random.Random) -> Mutant:
    """The same for one line of a file, or a change of the order and number of its lines."""
    lines = data.splitlines()
    at = chooser.randrange(len(lines))
    kind = chooser.choice(("mutated", "mutated", "mutated", "deleted", "doubled", "blanked"))
    if kind == "mutated":
        mutant = of_json(lines[at], chooser)
        lines[at] = mutant.data
        return Mutant(b"\n".join(lines) + b"\n", f"line {at}: {mutant.changes}")
    lines[at : at + 1] = {"deleted": [], "doubled": [lines[at]] * 2, "blanked": [b""]}[kind]
    return Mutant(b"".join(line + b"\n" for line in lines), f"line {at} {kind}")


def of_gzip(data: bytes, chooser: random.Random) -> Mutant:
    """One to three changes of the bytes inside a gzip file, compressed again."""
    mutant = of_bytes(gzip.decompress(data), chooser)
    return Mutant(gzip_of(mutant.data), f"inside: {mutant.changes}")


def _several(
    data: bytes,
    chooser: random.Random,
    changes: tuple[Callable[[bytes, random.Random], tuple[bytes, str]], ...],
) -> Mutant:
    made = []
    for _ in range(chooser.randint(1, _MAX_CHANGES)):
        try:
            data, what = chooser.choice(changes)(data, chooser)
        except (ValueError, RecursionError):  # an earlier change left no document to change
            data, what = chooser.choice(_BYTE_CHANGES)(data, chooser)
        made.append(what)
    return Mutant(data, "; ".join(made))


# ── bytes ─────────────────────────────────────────────────────────────────────────────────────────


def _span(data: bytes, chooser: random.Random) -> tuple[int, int]:
    start = chooser.randint(0, len(data))
    return start, min(len(data), start + chooser.choice((1, 1, 2, 16, 512)))


def _flip_a_bit(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    if not data:
        return b"\0", "a NUL"
    at, bit = chooser.randrange(len(data)), chooser.randrange(8)
    changed = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
    return changed, f"bit {bit} of byte {at} flipped"


def _set_a_byte(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    at, value = chooser.randint(0, len(data)), chooser.choice(b'\0\n"{}[],:\\0aA=/+ \x1b\x80\xff')
    return data[:at] + bytes([value]) + data[at + 1 :], f"byte {at} set to {value:#x}"


def _insert(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    at, count = chooser.randint(0, len(data)), chooser.choice((1, 2, 100))
    return data[:at] + chooser.randbytes(count) + data[at:], f"{count} bytes inserted at {at}"


def _delete(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    start, end = _span(data, chooser)
    return data[:start] + data[end:], f"bytes {start} to {end} deleted"


def _repeat(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    start, end = _span(data, chooser)
    return data[:end] + data[start:], f"bytes {start} to {end} doubled"


def _truncate(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    end = chooser.randint(0, len(data))
    return data[:end], f"cut at {end}"


def _append(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    more = chooser.choice((b"\n", b" ", b"\0", b"{}", data[: chooser.randint(0, 1024)]))
    return data + more, f"{len(more)} bytes appended"


_BYTE_CHANGES = (_flip_a_bit, _set_a_byte, _insert, _delete, _repeat, _truncate, _append)


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────


def _paths(document: Any, path: Path = ()) -> list[Path]:
    """The path of every value below the document, inner ones before what is in them."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(document, dict):
        items = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document))
    return [found for key, value in items for found in ((*path, key), *_paths(value, (*path, key)))]


def _at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document


def _set(document: Any, path: Path, value: Any) -> None:
    _at(document, path[:-1])[path[-1]] = value


def _chosen(
    data: bytes, chooser: random.Random, *, only: type[object] = object
) -> tuple[Any, Path, Any]:
    """The document, and a path in it with its value.

    Raises:
        ValueError: it is no JSON, or has no value of that type.
    """
    document = json.loads(data)
    paths = [path for path in _paths(document) if isinstance(_at(document, path), only)]
    if not paths:
        message = "nothing to change"
        raise ValueError(message)
    path = chooser.choice(paths)
    return document, path, _at(document, path)


def _dumped(document: Any) -> bytes:
    return json.dumps(document).replace(f'"{_TWICE}', '"').encode()


def _shown(path: Path) -> str:
    return ".".join(map(str, path))


def _delete_value(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    document, path, _ = _chosen(data, chooser)
    del _at(document, path[:-1])[path[-1]]
    return _dumped(document), f"{_shown(path)} deleted"


def _double_value(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    """A list with an item twice, or an object with a key twice, of which one may differ."""
    document, path, value = _chosen(data, chooser)
    holder = _at(document, path[:-1])
    if isinstance(holder, list):
        holder.append(copy.deepcopy(value))
    else:
        holder[f"{_TWICE}{path[-1]}"] = chooser.choice((value, None, "", 0, [], {}))
    return _dumped(document), f"{_shown(path)} doubled"


def _swap_values(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    document, path, value = _chosen(data, chooser, only=str)
    _, other, replacement = _chosen(data, chooser, only=str)
    _set(document, path, replacement)
    _set(document, other, value)
    return _dumped(document), f"{_shown(path)} swapped with {_shown(other)}"


def _change_type(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    document, path, value = _chosen(data, chooser)
    strange: tuple[Any, ...] = (
        None,
        True,
        0,
        -1,
        2**64,
        10**400,
        1.5,
        "",
        [],
        {},
        [value],
        {"": value},
        str(value),
    )
    replacement = chooser.choice(strange)
    _set(document, path, replacement)
    return _dumped(document), f"{_shown(path)} set to {str(replacement)[:20]}"


def _rename_key(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    document, path, value = _chosen(data, chooser)
    holder, key = _at(document, path[:-1]), path[-1]
    if isinstance(key, str):
        del holder[key]
        holder[chooser.choice((key.upper(), f"{key} ", f"{key}\0", "trustMe", ""))] = value
    return _dumped(document), f"{_shown(path)} renamed"


def _respell_number(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    """Protobuf's JSON writes 64-bit integers as text, which can be spelt in many ways."""
    document = json.loads(data)
    paths = [path for path in _paths(document) if str(_at(document, path)).isdecimal()]
    if not paths:
        message = "no number to change"
        raise ValueError(message)
    path = chooser.choice(paths)
    number = _at(document, path)
    spelt = chooser.choice(("{}\n", " {}", "+{}", "0{}", "{}.0", "-{}", "1{}", "{}_0", "\u0661{}"))
    _set(document, path, spelt.format(number))
    return _dumped(document), f"{_shown(path)} spelt {spelt!r}"


def _change_text(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    """Text with lines, such as a checkpoint: a line moved, doubled or dropped, or a character."""
    document, path, text = _chosen(data, chooser, only=str)
    lines = text.split("\n")
    at = chooser.randrange(len(lines))
    kind = chooser.choice(("dropped", "doubled", "moved", "character"))
    if kind == "character":
        where = chooser.randint(0, len(text))
        changed = text[:where] + chooser.choice("Aa0+/=\n5z\0\u202e") + text[where + 1 :]
    else:
        line = lines.pop(at)
        places = {"dropped": [], "doubled": [at, at], "moved": [chooser.randint(0, len(lines))]}
        for place in places[kind]:
            lines.insert(place, line)
        changed = "\n".join(lines)
    _set(document, path, changed)
    return _dumped(document), f"{_shown(path)}: {kind} at line {at}"


def _change_base64(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    """Other bytes, or the same bytes encoded in another way."""
    document, path, text = _chosen(data, chooser, only=str)
    raw = base64.b64decode(text, validate=True)
    changed, what = chooser.choice(_BYTE_CHANGES)(raw, chooser)
    spellings = (
        (base64.b64encode(changed).decode(), f"decoded, {what}"),
        (base64.urlsafe_b64encode(raw).decode(), "in the alphabet for URLs"),
        (text.rstrip("="), "without padding"),
        (f"{text}====", "with more padding"),
        (f"{text[:8]}\n{text[8:]}", "in two lines"),
        (_other_last_bits(text), "with other last bits"),
    )
    replacement, how = chooser.choice((spellings[0], *spellings))
    _set(document, path, replacement)
    return _dumped(document), f"{_shown(path)} {how}"


def _other_last_bits(text: str) -> str:
    """The last character holds bits that no byte needs when there is padding."""
    body = text.rstrip("=")
    if body == text:
        return text
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet[(alphabet.find(body[-1]) ^ 1) % len(alphabet)]
    return body[:-1] + last + text[len(body) :]


def _change_inner_json(data: bytes, chooser: random.Random) -> tuple[bytes, str]:
    """A document inside the document, such as a log entry's body or a statement."""
    document, path, text = _chosen(data, chooser, only=str)
    inner = base64.b64decode(text, validate=True)
    changed, what = chooser.choice(_JSON_CHANGES)(inner, chooser)
    _set(document, path, base64.b64encode(changed).decode())
    return _dumped(document), f"{_shown(path)} holds {what}"


_JSON_CHANGES: tuple[Callable[[bytes, random.Random], tuple[bytes, str]], ...] = (
    _delete_value,
    _double_value,
    _swap_values,
    _change_type,
    _rename_key,
    _respell_number,
    _change_text,
    _change_base64,
    _change_base64,
    _change_inner_json,
)
