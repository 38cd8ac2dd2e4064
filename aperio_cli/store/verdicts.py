"""What was last judged of the installed versions: may each be started? With the standard library.

Judging takes the whole policy, which costs more than all the rest of `plugin list`. So a verdict is
kept together with the state of everything it depends on, and holds as long as none of it changes.
Nothing is decided by it: whoever starts a plugin judges anew.

Format of `checks/may-run.json`: `{"schema": 1, "aperio": VERSION, "machine": TEXT, "group": TEXT,
"place": TEXT, "day": DATE, "until": MOMENT or "", "depends": {PATH: STATE}, "versions":
{"ID@VERSION": [STATE, CODE]}, "contained": OBJECT}`. STATE is what stat(2) says of a file or a
folder, null of one that is not there; CODE is that of the refusal, empty when there is none; OBJECT
is what `listing.add_containment` takes. Whoever may not write it judges every time.
"""

from __future__ import annotations

import json
import os
import stat
import time

from aperio_cli import __version__
from aperio_cli.store import listing

TYPE_CHECKING = False  # importing `typing` takes longer than the answer; dataclasses, even more
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_SCHEMA = 1
_MAX_BYTES = 4 * 1024 * 1024
_MAX_TEXT = 4096
_CONFINING = (
    "/proc/self/cgroup",  # where this process is, and may divide what it has
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone",
)

Codes = dict[tuple[str, str], str]
"""Codes of refusals by id and version; empty for what may be started."""


class Question:
    """Whose verdicts are asked for.

    Attributes:
        home: where the versions are installed.
        place: by what the home was stated, which says which configuration counts, and the mode of
            the sandbox that is stated for this shell.
        watched: every place in which a configuration file could be.
    """

    __slots__ = ("home", "place", "watched")

    def __init__(self, home: str, place: str, watched: tuple[str, ...]) -> None:
        self.home, self.place, self.watched = home, place, watched


class Kept:
    """What verdicts depend on, as it was before anything was judged.

    Attributes:
        depends: states of files and folders, by path.
        receipts: states of the receipts, by id and version.
        until: the moment, RFC 3339 in UTC, from which they do not hold any more; empty: none.
        contained: in what they would be started, as `listing.add_containment` takes it.
    """

    __slots__ = ("contained", "depends", "receipts", "until")

    def __init__(
        self,
        depends: dict[str, list[int] | None],
        receipts: dict[tuple[str, str], list[int] | None],
        until: str = "",
        contained: Mapping[str, Any] | None = None,
    ) -> None:
        self.depends, self.receipts, self.until = depends, receipts, until
        self.contained = contained or {}


def question(environment: Mapping[str, str], home: str) -> Question:
    """Return whose verdicts a command asks for in this environment."""
    place = "APERIO_HOME" if environment.get("APERIO_HOME") else ""
    place += f" {environment['APERIO_SANDBOX']}" if environment.get("APERIO_SANDBOX") else ""
    return Question(home, place, tuple(listing.config_files(environment, home)))


def tell(asked: Question, listed: list[dict[str, Any]]) -> bool:
    """Say in each row what is remembered of it; return False when that does not hold any more.

    Args:
        asked: whose verdicts.
        listed: of `listing.rows`; changed.
    """
    codes, contained = recall(asked, listed)
    if codes is not None:
        listing.add_verdicts(listed, codes)
        listing.add_containment(listed, contained)
    return codes is not None


def recall(
    asked: Question, rows: Iterable[Mapping[str, Any]]
) -> tuple[Codes | None, Mapping[str, Any]]:
    """Return the verdicts about versions, and in what they would be started.

    The verdicts are None unless there is one of each that still holds.

    Args:
        asked: whose.
        rows: of `listing.rows`; one with a problem needs no verdict.
    """
    wanted = [(row["id"], row["version"]) for row in rows if not row["problem"]]
    if not wanted:
        return {}, {}
    kept = _read(path_of(asked.home))
    versions, contained = kept.get("versions"), kept.get("contained")
    if not isinstance(versions, dict) or not isinstance(contained, dict):
        return None, {}
    if not _holds(kept, asked):
        return None, {}
    found: Codes = {}
    for plugin, version in wanted:
        state = state_of(receipt_path(asked.home, plugin, version))
        code = _code(versions.get(f"{plugin}@{version}"), state)
        if code is None:
            return None, {}
        found[plugin, version] = code
    return found, contained


def document(asked: Question, codes: Codes, kept: Kept) -> bytes:
    """Return what to keep of verdicts."""
    made = {
        **_key(asked),
        "until": kept.until,
        "depends": kept.depends,
        "versions": {
            f"{plugin}@{version}": [kept.receipts.get((plugin, version)), code]
            for (plugin, version), code in codes.items()
        },
        "contained": kept.contained,
    }
    return json.dumps(made).encode()


def path_of(home: str) -> str:
    """Return where verdicts of a home are kept."""
    return f"{home}/checks/may-run.json"


def receipt_path(home: str, plugin: str, version: str) -> str:
    """Return where the receipt of an installed version is."""
    return f"{home}/plugins/{plugin}/{version}/receipt.json"


def state_of(path: str) -> list[int] | None:
    """Return what tells a changed file from the one before; of a folder, who may write to it."""
    try:
        status = os.stat(path)  # noqa: PTH116 - pathlib costs a tenth of the whole command
    except (OSError, ValueError):
        return None
    owned = [status.st_mode, status.st_uid, status.st_gid]
    if stat.S_ISDIR(status.st_mode):
        return owned
    return [*owned, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _holds(kept: dict[str, Any], asked: Question) -> bool:
    depends, until = kept.get("depends"), kept.get("until")
    if not isinstance(depends, dict) or not isinstance(until, str):
        return False
    if {key: kept.get(key) for key in _key(asked)} != _key(asked) or (until and _now() > until):
        return False
    return all(path in depends for path in asked.watched) and all(
        state_of(path) == state for path, state in depends.items()
    )


def _key(asked: Question) -> dict[str, object]:
    """Return what has to be the same for verdicts to hold, beside the state of files."""
    return {
        "schema": _SCHEMA,
        "aperio": __version__,
        "machine": _machine(),
        "group": " ".join(map(_text, _CONFINING)),
        "place": asked.place,
        "day": _now()[:10],
    }


def _code(entry: object, state: list[int] | None) -> str | None:
    if not isinstance(entry, list) or len(entry) != 2:  # noqa: PLR2004 - state and code
        return None
    was, code = entry
    return code if isinstance(code, str) and state is not None and was == state else None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - as above
            return file.read(_MAX_TEXT).strip()
    except OSError:
        return ""


def _machine() -> str:
    """Return what kind of machine it is, and who asks: what others own is not theirs to run."""
    if not hasattr(os, "uname"):
        return ""
    system = os.uname()
    return f"{system.sysname} {system.machine} {os.geteuid()}"


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            found = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
