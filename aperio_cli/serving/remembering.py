"""What a host remembers from one start to the next: lists of records, one file each, in its folder.

A file is read once and written whole. While it cannot be written, on a full disk say, the host goes
by what it knows, says once that the next start will not know it, and tries again.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from aperio_cli.errors import AperioError
from aperio_cli.files import owning, reading, writing
from aperio_cli.models.reading import Bounds, Table, Unreadable, described, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    Say = Callable[[str, str], object]

_SCHEMA: Final = 1
_BOUNDS: Final = Bounds(8 * 1024 * 1024)  # 1024 pauses, each with the longest of everything
_MOST: Final = 4096
_Parsed = TypeVar("_Parsed")


class Records:
    """The records of one file.

    Args:
        path: the file.
        what: it holds, for people: "what is paused".
        say: is told what an operator has to know.
    """

    def __init__(self, path: Path, what: str, say: Say) -> None:
        self._path = path
        self._what = what
        self._say = say
        self._writing = threading.Lock()
        self._unwritten: Callable[[], Iterable[Mapping[str, Any]]] | None = None

    def read(self, parse: Callable[[Table], _Parsed]) -> list[_Parsed]:
        """Return the records; none, and that is said, when they cannot be read. Blocks."""
        try:
            owning.require_own(self._path)
            data = reading.read_capped(self._path, _BOUNDS.size_bytes)
            document = read_json(data, _BOUNDS)
            if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
                _unreadable("schema", f"expected {_SCHEMA}")
            found = Table(document, _unreadable, is_record=True)
            return [parse(table) for table in found.tables("records", most=_MOST)]
        except FileNotFoundError:
            return []
        except (AperioError, OSError, Unreadable) as problem:
            self._say("error", f"{self._what} is not known: {self._path}: {problem}")
            return []

    def write(self, made: Callable[[], Iterable[Mapping[str, Any]]]) -> bool:
        """Write records, and return whether that could be done. Blocks.

        Args:
            made: gives them; called once nobody else writes, so that the newest are written last.
        """
        with self._writing:  # the only writer of its file; whoever reads does not wait for it
            records = [dict(each) for each in made()][-_MOST:]
            document = {"schema": _SCHEMA, "records": records}
            text = json.dumps(document, indent=1, ensure_ascii=False)
            data = text.encode("utf-8", "replace") + b"\n"
            try:
                writing.ensure_own(self._path.parent)
                writing.write_atomic(self._path, data, mode=0o600)
            except (AperioError, OSError) as problem:
                if self._unwritten is None:
                    why = f"{self._what} is not written down, and lost when the host ends"
                    self._say("warn", f"{why}: {problem}")
                self._unwritten = made
                return False
            if self._unwritten:
                self._say("info", f"{self._what} is written down again")
            self._unwritten = None
            return True

    def retry(self) -> None:
        """Write what could not be written, as it is by now. Blocks."""
        if made := self._unwritten:
            self.write(made)


def _unreadable(key: str, why: str) -> NoReturn:
    raise Unreadable(described(key, why))
