"""Changes config.toml for the operator: only the wanted lines, and never to something unreadable.

New entries are appended as text, so nothing of what a person wrote can move; single values are
changed by tomlkit, table by table, which keeps the comments beside them. Whatever the way, the new
text is parsed again before it is written, and has to say exactly what was wanted.
"""

from __future__ import annotations

import functools
import json
import operator
import re
import tomllib
from datetime import date
from typing import TYPE_CHECKING, Any

from aperio_cli.config.lines import find_entry
from aperio_cli.config.reading import MAX_BYTES, parse, read_unrelated
from aperio_cli.errors.usage import ConfigurationInvalid
from aperio_cli.files import reading, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aperio_cli.config.model import DomainRule, Statements
    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.models.policy import PolicyException
    from aperio_cli.models.publisher import PublisherRule

_ORGANIZATIONS = "policy.organizations"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def add_publisher_rule(path: Path, rule: PublisherRule) -> bool:
    """Adds a rule to config.toml, keeping its comments and its order; says whether it was missing.

    The file is replaced at once and is readable by its owner only; missing folders are made.

    Args:
        path: config.toml; made when missing.
        rule: the rule; its `source` is not written.

    Raises:
        ConfigurationInvalid: the file that is there cannot be read, or lists its publishers in
            another form; it stays as it is.
        FolderNotPrivate: the folder is a link or somebody else's.
        DiskFull: there is no space; the file stays as it is.
        OSError: the folder cannot be written.
    """
    if any(known.to_json() == rule.to_json() for known in read_unrelated(path).publishers):
        return False
    _append(path, rule.to_toml(), lambda stated: stated.publishers[-1].to_json() == rule.to_json())
    return True


def add_exception(path: Path, exception: PolicyException) -> bool:
    """Adds an exception, or gives the one that is there its date and reason; says if it changed.

    Args:
        path: config.toml; made when missing.
        exception: the exception; its `source` is not written.

    Raises:
        ConfigurationInvalid, FolderNotPrivate, DiskFull, OSError: as `add_publisher_rule`.
    """
    known = read_unrelated(path).exceptions
    for number, stated in enumerate(known):
        if _is_same_exception(stated, exception):
            return _renew_exception(path, number, exception)
    _append(
        path,
        _exception_lines(exception),
        lambda stated: stated.exceptions[-1].to_json() == exception.to_json(),
    )
    return True


def remove_exceptions(path: Path, plugin: PluginRef, rule: str) -> int:
    """Takes the exceptions of a plugin from a rule out of config.toml; gives their number.

    Args:
        path: config.toml.
        plugin: the plugin; with a version only the exception for that one, without only those for
            every version.
        rule: the rule that they lift.

    Raises:
        ConfigurationInvalid, FolderNotPrivate, DiskFull, OSError: as `add_publisher_rule`.
    """
    known = read_unrelated(path).exceptions
    wanted = [
        number
        for number, stated in enumerate(known)
        if (stated.plugin, stated.version, stated.rule) == (plugin.id, plugin.version or "", rule)
    ]
    if not wanted:
        return 0
    lines = _text(path).split("\n")
    for number in reversed(wanted):
        span = find_entry(lines, "exceptions", number)
        if span is None:
            raise _unfit(path, "the exceptions are not written as `[[exceptions]]` tables")
        del lines[span.start : span.end]
        _close_gap(lines, span.start)
    left = tuple(stated for number, stated in enumerate(known) if number not in wanted)
    _write(path, "\n".join(lines), lambda stated: stated.exceptions == left)
    return len(wanted)


def require_level(path: Path, level: str, organization: str = "") -> bool:
    """Sets what is required of plugins, for an organization when one is named; says if it changed.

    Args:
        path: config.toml; made when missing.
        level: one of `REQUIREMENTS`.
        organization: its id, or empty for the whole machine.

    Raises:
        ConfigurationInvalid, FolderNotPrivate, DiskFull, OSError: as `add_publisher_rule`.
    """
    stated = read_unrelated(path)
    before = dict(stated.organizations).get(organization, "") if organization else stated.require
    if before == level:
        return False

    def is_wanted(found: Statements) -> bool:
        if organization:
            return dict(found.organizations).get(organization) == level
        return found.require == level

    _write(path, _with_level(path, level, organization), is_wanted)
    return True


def add_domain(path: Path, domain: DomainRule) -> bool:
    """Adds a trust domain to config.toml; says whether it was missing.

    Args:
        path: config.toml; made when missing.
        domain: the domain; its `source` is not written.

    Raises:
        ConfigurationInvalid: as `add_publisher_rule`; or there is another domain of that name.
        FolderNotPrivate, DiskFull, OSError: as `add_publisher_rule`.
    """
    for known in read_unrelated(path).domains:
        if known.to_json() == domain.to_json():
            return False
    lines = [f"{key} = {_quoted(value)}" for key, value in domain.to_json().items()]
    _append(
        path,
        "\n".join(["[[domains]]", *lines]),
        lambda stated: stated.domains[-1].to_json() == domain.to_json(),
    )
    return True


# ── the ways to change a text ─────────────────────────────────────────────────────────────────────


def _append(path: Path, entry: str, is_wanted: Callable[[Statements], bool]) -> None:
    _write(path, _with_entry(path, entry), is_wanted, entry)


def _with_level(path: Path, level: str, organization: str) -> str:
    """The text of the file, with what is required changed in it or added to it."""
    lines = _text(path).split("\n")
    if organization and find_entry(lines, _ORGANIZATIONS):
        return _changed(path, _ORGANIZATIONS, 0, {("policy", "organizations", organization): level})
    if organization and "organizations" in tomllib.loads(_text(path)).get("policy", {}):
        return _changed(path, "policy", 0, {("policy", "organizations", organization): level})
    if organization:
        return _with_entry(path, f"[{_ORGANIZATIONS}]\n{_key(organization)} = {_quoted(level)}")
    if find_entry(lines, "policy"):
        return _changed(path, "policy", 0, {("policy", "require"): level})
    return _with_entry(path, f"[policy]\nrequire = {_quoted(level)}")


def _with_entry(path: Path, entry: str) -> str:
    """The text of the file with an entry appended."""
    text = _text(path)
    separator = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    return f"{text}{separator}{entry}\n"


def _changed(
    path: Path, section: str, number: int, changes: Mapping[tuple[str | int, ...], object]
) -> str:
    """The text of the file with values of one table changed; its comments stay.

    Only that table goes through tomlkit, which would bring tables of one name together that stand
    in several places of a file, and so part them from the comments above them.

    Args:
        path: the file.
        section: name of the table.
        number: which of that name, from 0.
        changes: new values by their path in a document that has only this table.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    lines = _text(path).split("\n")
    span = find_entry(lines, section, number)
    if span is None:
        raise _unfit(path, f"`{section}` is not written as a table with its name in brackets")
    try:
        document: Any = tomlkit.parse("\n".join(lines[span.start : span.end]) + "\n")
        for (*path_to, key), value in changes.items():
            functools.reduce(operator.getitem, path_to, document)[key] = value
        changed = tomlkit.dumps(document).removesuffix("\n")
    except (TOMLKitError, ValueError, LookupError, TypeError) as error:
        raise _unfit(path, str(error)) from error
    return "\n".join([*lines[: span.start], changed, *lines[span.end :]])


def _is_same_exception(first: PolicyException, second: PolicyException) -> bool:
    return (first.plugin, first.version, first.rule) == (
        second.plugin,
        second.version,
        second.rule,
    )


def _renew_exception(path: Path, number: int, exception: PolicyException) -> bool:
    if read_unrelated(path).exceptions[number].to_json() == exception.to_json():
        return False

    entry = ("exceptions", 0)
    changes: dict[tuple[str | int, ...], object] = {
        (*entry, "until"): date.fromisoformat(exception.until),
        (*entry, "reason"): exception.reason,
    }
    _write(
        path,
        _changed(path, "exceptions", number, changes),
        lambda stated: stated.exceptions[number].to_json() == exception.to_json(),
    )
    return True


def _exception_lines(exception: PolicyException) -> str:
    stated = exception.to_json()
    lines = [f"{key} = {_quoted(stated[key])}" for key in ("plugin", "rule")]
    lines += [f"until = {stated['until']}", f"reason = {_quoted(stated['reason'])}"]
    return "\n".join(["[[exceptions]]", *lines])


def _quoted(text: str) -> str:
    """Printable text as a TOML string, which is what JSON makes of it."""
    # Not in ASCII: JSON would write two halves of a surrogate pair, which are no TOML.
    return json.dumps(text, ensure_ascii=False)


def _key(name: str) -> str:
    """A key of TOML, without quotes where it needs none."""
    return name if _BARE_KEY.fullmatch(name) else _quoted(name)


def _close_gap(lines: list[str], position: int) -> None:
    """Leave one blank line where an entry between two was taken out."""
    around = lines[max(position - 1, 0) : position + 1]
    if len(around) > 1 and not "".join(around).strip():
        del lines[position]


def _text(path: Path) -> str:
    return reading.read_capped(path, MAX_BYTES).decode() if path.exists() else ""


def _write(path: Path, text: str, is_wanted: Callable[[Statements], bool], entry: str = "") -> None:
    try:
        is_right = is_wanted(parse(path, text)) and _others_stay(_text(path), text)
    except ConfigurationInvalid as error:
        why = error.why + (f"\nto add:\n{entry}" if entry else "")
        raise _unfit(path, why) from error
    if not is_right:
        raise _unfit(path, "what it would say is something else than was wanted")
    if not path.parent.exists():
        writing.make_private(path.parent)
    # Through a link, because people keep configuration files elsewhere and link to them.
    writing.write_atomic(path.resolve(), text.encode(), mode=0o600)


def _others_stay(before: str, after: str) -> bool:
    """Whether at most one section of the document says something else than before."""
    old, new = tomllib.loads(before), tomllib.loads(after)
    changed = [key for key in {*old, *new} if old.get(key) != new.get(key)]
    return len(changed) <= 1


def _unfit(path: Path, why: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        f"`{path}` was left as it is: it cannot be changed as was asked",
        why=why,
        next=["write its tables as docs/reference/configuration.md does", "change it by hand"],
    )
