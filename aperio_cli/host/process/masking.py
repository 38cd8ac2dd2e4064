"""Masking: texts in which a plugin may repeat a secret, shown without it.

A host knows the secrets that it gives: settings whose field is secret, values taken from a place
for secrets, an OAuth client's secret and the tokens. What a plugin prints, logs, reports or is
refused for passes here before it is cut to a length, so that no half of a secret is left. This
holds against accidents, not against a plugin that wants to tell: it may encode as it likes.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LEAST_CHARACTERS: Final = 4
"""A shorter secret is not masked: it stands in every text by chance."""

_MOST_VALUES: Final = 16
"""Of one name, the newest: tokens of a sync that goes on for days."""

_LEAST_BASE64: Final = 6
_SHORTEST_CUT: Final = 400
"""SDKs cut summaries, details and status texts; none to less than this."""

_SUB_DELIMITERS: Final = (
    "!$&'()*+,;=:@/?"  # RFC 3986, section 3.4: a query may have them as they are
)
_BASE64_END: Final = re.compile(r"[A-Za-z0-9+/_-]?={0,2}")
_HEX: Final = re.compile(r"%[0-9A-F]{2}")
_UNIT: Final = re.compile(r"\\u([0-9a-f]{4})")


class Referenced(str):
    """A setting's value that was taken from `env:`, `file:` or `keyring:`: to be masked."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Referenced(...)"


@dataclass(frozen=True, slots=True)
class _Form:
    """One way in which a secret may stand in a text.

    Attributes:
        text: the characters that are the same whatever stands around.
        name: of the secret.
        is_base64: whether a character that depends on what follows, and padding, may come after it.
    """

    text: str
    name: str
    is_base64: bool = False

    def spans(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield begin, end and name of each place."""
        begin = text.find(self.text)
        while begin >= 0:
            end = begin + len(self.text)
            if self.is_base64 and (tail := _BASE64_END.match(text, end)):
                end = tail.end()
            yield begin, end, self.name
            begin = text.find(self.text, begin + 1)

    def begun(self, text: str) -> int:
        """Return with how many characters of it a text ends, at least `LEAST_CHARACTERS`, or 0."""
        head = self.text[:LEAST_CHARACTERS]
        begin = text.find(head, max(0, len(text) - len(self.text) + 1))
        while begin >= 0 and not self.text.startswith(text[begin:]):
            begin = text.find(head, begin + 1)
        return len(text) - begin if begin >= 0 else 0


class Masks:
    """The secrets of one run, and texts without them.

    Attributes:
        longest: characters, and bytes, of the longest form of a secret; 0 while there is none.
    """

    def __init__(self) -> None:
        self.longest = 0
        self._values: dict[str, list[str]] = {}
        self._forms: list[_Form] = []

    def learn(self, secrets: Mapping[str, str]) -> None:
        """Mask these values, by what to call them, from now on.

        Args:
            secrets: at most 16 values of a name are kept, the newest.
        """
        is_new = False
        for name, value in secrets.items():
            values = self._values.setdefault(one_line(name, limit=80), [])
            if len(value) >= LEAST_CHARACTERS and value not in values:
                values.append(value)
                del values[:-_MOST_VALUES]
                is_new = True
        if is_new:  # with each call they are learned again
            self._make_forms()

    def _make_forms(self) -> None:
        self._forms = [
            form
            for name, values in self._values.items()
            for value in values
            for form in _forms(name, value)
        ]
        self.longest = max((len(form.text.encode()) + 3 for form in self._forms), default=0)

    def text(self, text: str) -> str:
        """Return a text with `[masked: NAME]` for each secret in it."""
        if not any(form.text in text for form in self._forms):
            return text
        found = (span for form in self._forms for span in form.spans(text))
        spans = sorted(found, key=lambda span: (span[0], -span[1]))  # of two the longer one's name
        shown, end = [], 0
        for begin, stop, name in spans:
            if begin >= end:
                shown += [text[end:begin], mark(name)]
            end = max(end, stop)
        return "".join([*shown, text[end:]])

    def cut(self, text: str) -> str:
        """Return a text that a plugin's SDK may have cut, without half a secret at its end."""
        return self.unfinished(text) if len(text) >= _SHORTEST_CUT else self.text(text)

    def unfinished(self, text: str) -> str:
        """Return a text whose end never came, without half a secret there."""
        text = self.text(text)
        halves = ((form.begun(text), form.name) for form in self._forms)
        size, name = max(halves, default=(0, ""))
        return f"{text[:-size]}{mark(name)}" if size else text

    def raw(self, data: bytes, *, is_unfinished: bool = False) -> bytes:
        """Return bytes of text, whatever else is in them, masked as `text` or `unfinished` does."""
        if not self._forms:
            return data
        mask = self.unfinished if is_unfinished else self.text
        return mask(data.decode(errors="surrogateescape")).encode(errors="surrogateescape")

    def message(self, message: Any) -> None:
        """Mask every text of a protobuf message in place, but for ids, which have to match."""
        if not self._forms:
            return
        for field, value in message.ListFields():
            if field.type == field.TYPE_MESSAGE:
                self._inside(field, value)
            elif field.type == field.TYPE_STRING and field.name != "id":
                masked = [self.cut(each) for each in _listed(value)]
                _assign(message, field.name, masked)
            elif field.type == field.TYPE_BYTES and field.name.endswith("_json"):
                _assign(message, field.name, [self._json(each) for each in _listed(value)])

    def _inside(self, field: Any, value: Any) -> None:
        if field.message_type.GetOptions().map_entry:
            for key in list(value):
                if isinstance(value[key], str):
                    value[key] = self.text(value[key])
                    if isinstance(key, str) and (masked := self.text(key)) != key:
                        value[masked] = value.pop(key)
            return
        for each in [value] if hasattr(value, "ListFields") else value:
            self.message(each)

    def _json(self, data: bytes) -> bytes:
        """Return masked JSON; where a secret was a number or a name, as one text."""
        masked = self.raw(data)
        try:
            json.loads(masked)
        except (ValueError, RecursionError):
            return data if masked == data else json.dumps(masked.decode(errors="replace")).encode()
        return masked


def mark(name: str) -> str:
    """Return what stands for a secret of that name."""
    return f"[masked: {name}]"


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str | bytes) else list(value)


def _assign(message: Any, name: str, values: list[Any]) -> None:
    if isinstance(getattr(message, name), str | bytes):
        setattr(message, name, values[0])
    else:
        getattr(message, name)[:] = values


# ── the forms of a secret ─────────────────────────────────────────────────────────────────────────


def _forms(name: str, secret: str) -> list[_Form]:
    texts = {secret, *_escaped(secret), *_percent_encoded(secret)}
    if len(secret.strip()) >= LEAST_CHARACTERS:
        texts.add(secret.strip())
    data = secret.encode(errors="replace")
    cores = {core for core in _base64_cores(data) if len(core) >= _LEAST_BASE64}
    whole = base64.b64encode(data).decode()
    forms = [_Form(text, name) for text in {*texts, whole}]
    return forms + [_Form(core, name, is_base64=True) for core in cores - texts]


def _escaped(secret: str) -> set[str]:
    """Return a secret inside of JSON, JSON in JSON, a header's quotes, and Python's `repr`."""
    ascii_only, unicode = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
    once = {ascii_only, unicode}
    for text in (ascii_only, unicode):
        once.add(text.replace("/", "\\/"))
        for character in "<>&":  # as Go's encoding/json does
            text = text.replace(character, f"\\u{ord(character):04x}")  # noqa: PLW2901 - one after the other
        once.add(text)
    once |= {_UNIT.sub(lambda found: f"\\u{found[1].upper()}", text) for text in once}  # as Jackson
    once.add(_escaped_by_dotnet(ascii_only))
    twice = {json.dumps(text)[1:-1] for text in once}
    data = secret.encode(errors="replace")
    return once | twice | {repr(str(secret))[1:-1], ascii(str(secret))[1:-1], repr(data)[2:-1]}


def _escaped_by_dotnet(text: str) -> str:
    """Return JSON as System.Text.Json writes it, from JSON in ASCII."""
    text = _UNIT.sub(lambda found: f"\\u{found[1].upper()}", text).replace('\\"', "\\u0022")
    return "".join(
        f"\\u{ord(character):04X}" if character in "&'+<>`\x7f" else character for character in text
    )


def _percent_encoded(secret: str) -> set[str]:
    quoted = {
        urllib.parse.quote(secret, safe, errors="replace") for safe in ("", "/", _SUB_DELIMITERS)
    }
    quoted.add(urllib.parse.quote_plus(secret, errors="replace"))
    return quoted | {_HEX.sub(lambda found: found[0].lower(), text) for text in quoted}


def _base64_cores(data: bytes) -> Iterator[str]:
    """Yield the characters that depend on the data alone, wherever in other data it stands."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode().rstrip("=")
        first = -(-before * 8 // 6)  # characters that hold bits of what stands before
        last = len(encoded) - bool((before + len(data)) % 3)  # and of what comes after
        yield from (encoded[first:last], encoded[first:last].translate(_URL_SAFE))


_URL_SAFE: Final = str.maketrans("+/", "-_")
