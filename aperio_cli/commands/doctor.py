"""`aperio doctor`: what this machine can do for plugins, and what is wrong."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from aperio_cli import __version__, clock
from aperio_cli.commands.app import app
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.output import Report, pairs
from aperio_cli.text import show_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from aperio_cli.errors import AperioError
    from aperio_cli.examining import Examination
    from aperio_cli.host.sandbox.interface import Enforcement, Sandbox
    from aperio_cli.models.artifact import Interpreter
    from aperio_cli.paths import Paths
    from aperio_cli.registry.looking import Look
    from aperio_cli.store.verdicts import Codes
    from aperio_cli.trust.roots import DomainRoot

_TOOLS = ("go",)
_MIB = 1024**2
_GIB = 1024**3


@command(app, "doctor", examples=["aperio doctor"])
def doctor(context: Context) -> Report:
    """Show what was found here, what is enforced on plugins, where things are, and what is wrong.

    Works where nothing else does: each file that cannot be read is a finding, with its remedy.
    Exit status 1 when there is any. Each configured registry is waited for for three seconds, and
    not asked with `--offline`; one that does not answer is told, and is no finding.
    """
    from aperio_cli.errors import DONE, NOT_DONE
    from aperio_cli.examining import examine
    from aperio_cli.host.sandbox.interface import Level
    from aperio_cli.host.sandbox.telling import names_at
    from aperio_cli.paths import find_program
    from aperio_cli.running.containing import closed_part

    now = clock.now()
    sandbox = _sandbox(context)
    limits, wrong = _tried(sandbox)
    not_enforced = names_at(limits, Level.NONE)
    unknown: list[AperioError] = []
    paths = _paths(context, unknown)
    found = examine(paths)
    registries = _registries(context, found, paths)
    closed = [(each, closed_part(each, sandbox)) for each in found.interpreters]
    findings = [*unknown, *found.findings, *wrong, *_required(found, not_enforced)]
    verdicts = _verdicts(context)
    refused, failed = Counter(filter(None, verdicts.values())), _failed_checks(context)
    tools = {tool: find_program(tool) for tool in _TOOLS}
    cache = _cache(paths)
    data = {
        "version": __version__,
        "platform": str(context.platform),
        "home": str(paths.home) if paths else None,
        "config_file": str(paths.config_file) if paths else None,
        "cache": cache,
        "interpreters": [_interpreter_data(*each) for each in closed],
        "tools": tools,
        "sandbox": sandbox.name,
        "limits": [limit.to_json() for limit in limits],
        "not_enforced": not_enforced,
        "local_trust_domain": found.has_local_domain,
        "trusted_roots": [_root_data(root, now) for root in found.roots],
        "registries": [each.to_json(now) for each in registries],
        "plugins": {"installed": len(verdicts), "refused": dict(refused), "failed_checks": failed},
        "findings": [finding.to_json() for finding in findings],
    }
    rows: list[tuple[str, object]] = [
        *_first_rows(context, paths, cache),
        *(("interpreter", _interpreter_text(*each, sandbox.owner)) for each in closed),
        *((tool, place or "not found") for tool, place in tools.items()),
        ("sandbox", sandbox.name),
        *(("limit", _limit_text(limit)) for limit in limits),
        ("local trust domain", "yes" if found.has_local_domain else "no"),
        *(("trusted root", _root_text(root, now)) for root in found.roots),
        *(("registry", each.text(now)) for each in registries),
        ("plugins", _plugins_text(len(verdicts), refused, failed)),
        ("wrong", len(findings) or "nothing"),
    ]
    text = "\n\n".join([pairs(rows), *map(context.output.format_finding, findings)])
    notes = tuple(_notes(found, now, refused))
    return Report(data, text, notes=notes, exit_status=NOT_DONE if findings else DONE)


def _first_rows(
    context: Context, paths: Paths | None, cache: dict[str, Any] | None
) -> Iterator[tuple[str, object]]:
    yield "aperio", f"{__version__} on Python {sys.version.split()[0]}"
    yield "platform", context.platform
    yield "home", paths.home if paths else "nowhere"
    yield "config file", paths.config_file if paths else "nowhere"
    if cache:
        yield "cache", _cache_text(cache)


def _cache(paths: Paths | None) -> dict[str, Any] | None:
    """Return where the cache is, and how many bytes each part of it has."""
    from aperio_cli.files.trimming import size_of

    if paths is None:
        return None
    parts: dict[str, int] = {}
    with contextlib.suppress(OSError):
        parts = {
            path.name: size_of(path)
            for path in sorted(paths.cache.iterdir())
            if path.is_dir() and not path.is_symlink()
        }
    return {"path": str(paths.cache), "size": sum(parts.values()), "parts": parts}


def _cache_text(cache: dict[str, Any]) -> str:
    parts = [f"{show_path(name)} {_size(size)}" for name, size in cache["parts"].items() if size]
    of = f": {', '.join(parts)}" if parts else ""
    return f"{cache['path']}  {_size(cache['size'])}{of}"


def _size(size_bytes: int) -> str:
    """Return a size in whole MiB, or in GiB with one digit."""
    if size_bytes >= _GIB:
        return f"{size_bytes / _GIB:.1f} GiB"
    return f"{round(size_bytes / _MIB)} MiB" if size_bytes >= _MIB else f"{size_bytes >> 10} KiB"


def _interpreter_data(interpreter: Interpreter, place: Path | None) -> dict[str, object]:
    return interpreter.to_json() | {"closed": str(place) if place else None}


def _sandbox(context: Context) -> Sandbox:
    """Return what plugins are started in; of what the configuration says, only if it can be read.

    Raises:
        UsageError: what the environment says names no mode.
    """
    from aperio_cli.errors import AperioError
    from aperio_cli.errors.usage import UsageError
    from aperio_cli.host.sandbox.choosing import default_sandbox
    from aperio_cli.running.containing import sandbox_of

    try:
        return sandbox_of(context.collaborators)
    except UsageError:
        raise
    except AperioError:
        return default_sandbox()


def _tried(sandbox: Sandbox) -> tuple[tuple[Enforcement, ...], list[AperioError]]:
    """Return what is enforced on plugins, once all of it was tried, and what is wrong with that."""
    from aperio_cli.host.sandbox.interface import Confinement
    from aperio_cli.host.sandbox.trying import failed_enforcements, try_sandbox

    limits = sandbox.enforcements(Confinement())
    failed = try_sandbox(sandbox) if sandbox.name != "none" else None
    return (failed_enforcements(limits, failed.why), [failed]) if failed else (limits, [])


def _required(found: Examination, not_enforced: list[str]) -> list[AperioError]:
    """Return the finding that no plugin can be started, when a limit is required in vain."""
    from aperio_cli.errors.running import RequiredLimit

    missing = [name for name in found.config.sandbox_require if name in not_enforced]
    if not missing:
        return []
    return [
        RequiredLimit(
            "no plugin is started on this machine: a required limit cannot be enforced",
            why=f"[sandbox] require names {', '.join(missing)}",
            next=["do what stands at the limit above", "require what can be enforced"],
        )
    ]


def _interpreter_text(interpreter: Interpreter, closed: Path | None, owner: int | None) -> str:
    text = f"{interpreter.tag}  {interpreter.version}  {interpreter.executable}"
    return f"{text}; user {owner} of plugins may not read {closed}" if closed else text


def _limit_text(limit: Enforcement) -> str:
    remedy = f"; {limit.remedy}" if limit.remedy else ""
    return f"{limit.limit}  {limit.level}  {limit.mechanism}{remedy}"


def _verdicts(context: Context) -> Codes:
    """Return what keeps each installed version from being started; what is wrong here is found."""
    from aperio_cli.errors import AperioError
    from aperio_cli.running.judging import judge

    try:
        return judge(context.collaborators, context.store.receipts())
    except (AperioError, OSError):
        return {}


def _failed_checks(context: Context) -> int:
    """Return of how many versions the files were not as installed at their last start."""
    from aperio_cli.errors import AperioError

    try:
        checks = [context.store.checks.last(receipt) for receipt in context.store.receipts()]
    except (AperioError, OSError):
        return 0
    return sum(check is not None and not check.ok for check in checks)


def _plugins_text(installed: int, refused: Counter[str], failed: int) -> str:
    """Return how many versions are installed, and what keeps some of them from being started."""
    codes = ", ".join(f"{code} {count}" for code, count in sorted(refused.items()))
    text = f"{installed} installed"
    if refused:
        text += f", {refused.total()} may not run: {codes}"
    elif installed:
        text += ", all may run by the rules" if failed else ", all may run"
    return text + (f"; the last check of {failed} FAILED: `aperio plugin list`" if failed else "")


def _registries(context: Context, found: Examination, paths: Paths | None) -> list[Look]:
    """Return what is known of the configured registries, and whether they answer."""
    from aperio_cli.registry.looking import look_at

    if paths is None:
        return []
    cache = paths.cache / "registries"
    return look_at(found.config.registries, cache, offline=context.settings.offline)


def _paths(context: Context, unknown: list[AperioError]) -> Paths | None:
    """Return the operator's places; None, with the reason noted, when nothing says where."""
    from aperio_cli.errors.usage import HomeUnknown

    try:
        return context.paths
    except HomeUnknown as error:
        unknown.append(error)
        return None


def _root_data(root: DomainRoot, now: datetime) -> dict[str, Any]:
    from aperio_cli.trust.roots import root_age_days

    source = root.source
    return {
        "name": source.name,
        "origin": source.origin,
        "as_of": source.as_of,
        "age_days": root_age_days(source, now),
        "problem": source.problem,
    }


def _root_text(root: DomainRoot, now: datetime) -> str:
    from aperio_cli.trust.roots import root_age

    source = root.source
    state = "cannot be used" if source.problem else root_age(source, now)
    return f"{source.name}  {source.origin}, {state}"


def _notes(found: Examination, now: datetime, refused: Counter[str]) -> Iterator[str]:
    """Yield what people should know about the age of the roots that matter, and about plugins."""
    from aperio_cli.trust.roots import STALE_AFTER, refreshed_by_default, root_age, root_age_days

    wanted = refreshed_by_default(found.config)
    for root in found.roots:
        name, age_days = root.source.name, root_age_days(root.source, now)
        if name in wanted and age_days is not None and age_days > STALE_AFTER.days:
            age = root_age(root.source, now)
            yield f"the trusted root `{name}` is {age}: `aperio trust refresh {name}`"
    if refused:
        yield "`aperio plugin list` says which plugins may not run"
