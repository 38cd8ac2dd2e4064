"""What is installed, as rows: read with the standard library only, so that `plugin list` is quick.

It reads the same files as `store.records`, `store.used` and `store.checks`, and judges nothing: a
row says what the receipt says, and what `verdicts` remembers of the last judgement. A home that
others may change, and what has not been judged since something changed, is left to the ordinary
path.
A receipt that cannot be read gives a row with a `problem`.
"""

from __future__ import annotations

import json
import os
import stat

import aperio_cli

TYPE_CHECKING = False  # importing `typing` and `contextlib` takes longer than the answer
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from aperio_cli.store.verdicts import Codes

_MAX_RECEIPT_BYTES = 256 * 1024
_MAX_CONFIG_BYTES = 1024 * 1024
_MAX_KNOWN_BYTES = 8 * 1024 * 1024
_STATES = ("deprecated", "yanked", "revoked")
"""As `models.registry.plugin_file` has them."""
_SCHEMA = "aperio.receipt/v1"
_NUMBER = 1
"""Schema of current.json and of noted checks."""
_COLUMNS = (
    "plugin", "version", "kind", "badge", "may run", "contained", "signer", "last check",
    "exceptions",
)  # fmt: skip


def rows(home: str, *, checks_home: str = "", is_system: bool = False) -> list[dict[str, Any]]:
    """Return a row for each installed version under `home`, sorted by id, then version as text.

    Args:
        home: of the store.
        checks_home: where launches note their checks; empty: there.
        is_system: whether it is the one that root keeps for all users.
    """
    found = []
    against = _against({home, checks_home or home})
    plugins = os.path.join(home, "plugins")  # noqa: PTH118 - pathlib costs a tenth of the whole command
    for namespace in _folders(plugins):
        for name in _folders(f"{plugins}/{namespace}"):
            folder = f"{plugins}/{namespace}/{name}"
            current = _read(f"{folder}/current.json")
            checks = _checks(_read(f"{checks_home or home}/checks/{namespace}/{name}.json"))
            for version in _folders(folder):
                if os.path.exists(f"{folder}/{version}/receipt.json"):  # noqa: PTH110 - as above
                    receipt = _read(f"{folder}/{version}/receipt.json")
                    row = _row(f"{namespace}/{name}", version, receipt, checks.get(version))
                    if _is_newer(current):
                        row["problem"] = row["problem"] or "record-newer"
                    is_current = _is_ours(current) and current.get("version") == version
                    row |= {"registry_status": against.get((row["id"], version))}
                    found.append(row | {"current": is_current, "is_system": is_system})
    return found


def may_state_exceptions(environment: Mapping[str, str], home: str) -> bool:
    """Return whether a configuration file names exceptions, which rows then have to show.

    Where such files may be is known to `paths` and `config`; here every place is looked at in
    which one could be, on any system, because asking them costs more than the whole command.
    """
    return any(map(_mentions_exceptions, config_files(environment, home)))


def config_files(environment: Mapping[str, str], home: str) -> list[str]:
    """Return every place in which a configuration file could be, on any system."""
    user = environment.get("HOME", "")
    folders = (
        home,
        f"{environment.get('XDG_CONFIG_HOME') or f'{user}/.config'}/aperio",
        f"{user}/Library/Application Support/aperio",
        "/etc/xdg/aperio",
        "/Library/Application Support/aperio",
    )
    names = ("config.toml", "managed.toml")
    return [f"{folder}/{name}" for folder in folders for name in names]


def add_verdicts(listed: list[dict[str, Any]], codes: Codes) -> None:
    """Say in each row whether the version may be started, and with which code it is refused.

    Args:
        listed: of `rows`; changed.
        codes: of refusals, by id and version; a version without one is refused for its problem.
    """
    for row in listed:
        code = row["problem"] or codes.get((row["id"], row["version"]), "receipt-invalid")
        row["may_run"], row["refused_as"] = not code, code or None


def add_containment(listed: list[dict[str, Any]], contained: Mapping[str, Any]) -> None:
    """Say in each row in which sandbox the version would be started, and who keeps its limits.

    Args:
        listed: of `rows`; changed.
        contained: `sandbox`, its name; `levels` by limit; `reported`, the ids of plugins whose
            egress is only recorded. Empty where that is not known.
    """
    for row in listed:
        row["sandbox"] = contained.get("sandbox")
        row["levels"] = dict(contained.get("levels") or {})
        row["egress_reported"] = row["id"] in (contained.get("reported") or ())
        if row["egress_reported"]:
            row["levels"]["egress"] = "none"


def may_be_shared(home: str) -> bool:
    """Return whether root keeps a store for all, or others may change what is in this home.

    As far as a glance tells.

    `files.owning` looks closely, at records too; importing it costs more than this command.
    """
    if not hasattr(os, "geteuid"):
        return False
    if os.path.isdir(f"{aperio_cli.SYSTEM_HOME}/plugins"):  # noqa: PTH112 - as above
        return True
    real = os.path.realpath(home)
    return any(_is_open_somewhere(place) for place in {home, real})


def _is_open_somewhere(home: str) -> bool:
    place, is_passed = f"{home}/plugins", False
    while True:
        if _is_open(place, is_passed=is_passed):
            return True
        if place == "/":
            return False
        is_passed = True
        place = os.path.dirname(place)  # noqa: PTH120 - as above


def _is_open(place: str, *, is_passed: bool) -> bool:
    try:
        status = os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return False
    is_open = status.st_mode & 0o22 and not stat.S_ISLNK(status.st_mode)
    is_sticky = status.st_mode & stat.S_ISVTX and is_passed
    return status.st_uid not in {0, os.geteuid()} or bool(is_open and not is_sticky)


def _mentions_exceptions(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            return b"exceptions" in file.read(_MAX_CONFIG_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it may; whoever reads it properly says what is wrong with it
        return True


def render(listed: list[dict[str, Any]]) -> str:
    """Return the rows as an aligned table, ending in a newline; a sentence when there are none."""
    if not listed:
        return "no plugins are installed\n"
    table = [_COLUMNS, *(_cells(row) for row in listed)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_COLUMNS))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )
    return "\n".join(lines) + "\n"


def envelope(listed: list[dict[str, Any]]) -> str:
    """Return the JSON document of `plugin list --json`, ending in a newline."""
    document = {
        "schema": 1,
        "command": ["plugin", "list"],
        "status": "ok",
        "exit_status": 0,
        "data": {"plugins": listed},
        "errors": [],
    }
    return json.dumps(document, ensure_ascii=False) + "\n"


def _against(homes: Iterable[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the worst that registries were last heard to say against versions, by id and version.

    As `models.known` remembers it, and `trust.known_versions` reads it before anything is decided.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for home in homes:
        plugins = _read(f"{home}/trust/known-versions.json", _MAX_KNOWN_BYTES).get("plugins")
        for plugin, said in _items(plugins):
            for _, known in _items(said):
                for version, status in _items(known.get("versions")):
                    key = plugin, version
                    if _badness(status) > _badness(found.get(key, {})):
                        found[key] = _status(status)
    return found


def _items(table: object) -> list[tuple[str, dict[str, Any]]]:
    """Return the tables in a table; none where it is something else."""
    if not isinstance(table, dict):
        return []
    return [(key, value) for key, value in table.items() if isinstance(value, dict)]


def _badness(status: dict[str, Any]) -> int:
    state = status.get("state")
    return _STATES.index(state) + 1 if state in _STATES else 0


def _status(status: dict[str, Any]) -> dict[str, Any]:
    texts = {key: _text(status.get(key, "")) for key in ("state", "reason", "at", "replacement")}
    return texts | {"replacement": texts["replacement"] or None}


def _folders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
    except FileNotFoundError:
        return []


def _read(path: str, limit_bytes: int = _MAX_RECEIPT_BYTES) -> dict[str, Any]:
    """Return the JSON object in a small file; empty when there is none or it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            document = json.loads(file.read(limit_bytes))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _is_newer(document: dict[str, Any]) -> bool:
    """Return whether a newer aperio made it, as `models.newer` decides."""
    schema = document.get("schema")
    return type(schema) is int and schema > _NUMBER


def _is_ours(document: dict[str, Any]) -> bool:
    """Return whether it has no schema or the one known here, as `models.newer` decides."""
    schema = document.get("schema", _NUMBER)
    return type(schema) is int and schema == _NUMBER


def _checks(document: dict[str, Any]) -> dict[str, Any]:
    """Return noted checks by version; 0.1.0 noted them without a schema around."""
    if not _is_ours(document):
        return {}
    found = document.get("checks") if "schema" in document else document
    return found if isinstance(found, dict) else {}


def _row(plugin: str, version: str, receipt: dict[str, Any], check: object) -> dict[str, Any]:
    signer = receipt.get("signer")
    exception = receipt.get("exception")
    return {
        "id": plugin,
        "version": version,
        "kind": _text(receipt.get("kind")),
        "badge": _text(receipt.get("badge")),
        "signer": _text(signer.get("identity")) if isinstance(signer, dict) else None,
        "installed_at": _text(receipt.get("installed_at")),
        "source": _text(receipt.get("source")),
        "last_check": _check(check),
        "exceptions": [exception] if exception and isinstance(exception, dict) else [],
        "newest": None,
        "problem": _problem(plugin, version, receipt),
    }


def _problem(plugin: str, version: str, receipt: dict[str, Any]) -> str | None:
    """Return the code with which the receipt is refused, as far as a glance tells."""
    schema = _text(receipt.get("schema", _SCHEMA))
    if schema == _SCHEMA:
        speaks_for = receipt.get("id"), receipt.get("version", version)
        return None if speaks_for == (plugin, version) else "receipt-invalid"
    name, _, number = schema.rpartition("/v")
    is_number = number.isascii() and number.isdecimal() and number[0] != "0"
    is_newer = name == _SCHEMA.rpartition("/v")[0] and is_number and number != "1"
    return "receipt-newer" if is_newer else "receipt-invalid"


def _check(noted: object) -> dict[str, Any] | None:
    if not isinstance(noted, dict):
        return None
    at, ok = noted.get("at"), noted.get("ok")
    return {"at": _text(at), "ok": ok} if isinstance(at, str) and isinstance(ok, bool) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() else ""


def _remark(row: dict[str, Any]) -> str:
    status = row["registry_status"] or {}
    remarks = (
        "" if row["current"] else "not current",
        "system" if row["is_system"] else "",
        status.get("state", ""),
    )
    return "".join(f" ({remark})" for remark in remarks if remark)


def _contained(row: dict[str, Any]) -> str:
    """Return by what a version is contained, and which of its limits less than the kernel keeps."""
    if not row["sandbox"]:
        return "?"
    if row["sandbox"] == "none":
        return "NO"
    words = [row["sandbox"]]
    for level in ("polled", "none"):
        names = [limit for limit, found in row["levels"].items() if found == level]
        words += [f"{level} {' '.join(names)}"] if names else []
    return "; ".join(words)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    check = row["last_check"] or {}
    outcome = "ok" if check.get("ok") else "FAILED"
    exceptions = ", ".join(f"{e.get('rule')} until {e.get('until')}" for e in row["exceptions"])
    return (
        row["id"],
        row["version"] + _remark(row),
        row["kind"] or "?",
        row["problem"] or row["badge"],
        "yes" if row["may_run"] else f"NO: {row['refused_as']}",
        _contained(row),
        row["signer"] or "-",
        f"{outcome} {check.get('at')}" if check else "-",
        exceptions or "-",
    )
