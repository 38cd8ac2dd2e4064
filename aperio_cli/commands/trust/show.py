"""`aperio trust show`: the operator's policy, as it is in force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from aperio_cli import clock
from aperio_cli.commands.app import trust
from aperio_cli.commands.common import command
from aperio_cli.commands.trust.rows import (
    by_site,
    domain_row,
    domains_text,
    publisher_row,
    publishers_text,
    stated_in,
    with_places,
)
from aperio_cli.context import Context
from aperio_cli.errors.trust import PublisherFileInvalid
from aperio_cli.output import Report, pairs, table
from aperio_cli.text import counted, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.config import Config, PublisherFile
    from aperio_cli.models.policy import Policy, PolicyException
    from aperio_cli.models.publisher_file import PublisherList
    from aperio_cli.trust.signed_document import SignedDocument


@command(trust, "trust", "show", examples=["aperio trust show"])
def trust_show(context: Context) -> Report:
    """Show who may sign which plugins on this machine, and what is required of them."""
    found = _findings(context)
    config = context.config
    data = {
        "config_file": str(config.file),
        "managed_file": str(config.managed_file) if config.managed_file.exists() else None,
        "site_config_file": str(config.site_file) if config.site_file.exists() else None,
        "required": _required(config),
        "publishers": [publisher_row(config, rule) for rule in found.policy.publishers],
        "closed": sorted(found.policy.closed),
        "publisher_files": [_publisher_file(config, each) for each in found.files],
        "domains": [domain_row(context, root) for root in context.trusted_roots],
        "exceptions": [_exception(config, each) for each in _exceptions(config)],
    }
    return Report(data, _text(data), notes=tuple(_notes(data)))


@dataclass(frozen=True, slots=True)
class _FileFinding:
    """A publisher file of the configuration: what it states, or why it does not count."""

    file: PublisherFile
    verified: SignedDocument[PublisherList] | None
    problem: str


@dataclass(frozen=True, slots=True)
class _Findings:
    """The rules in force, as far as publisher files could be read."""

    policy: Policy
    files: tuple[_FileFinding, ...]


def _findings(context: Context) -> _Findings:
    from aperio_cli.config import policy_in_force

    config = context.config
    files = tuple(_file_finding(context, file) for file in config.publisher_files)
    rules = {each.file: each.verified.stated.rules for each in files if each.verified}
    is_whole = len(rules) == len(config.publisher_files)
    policy = policy_in_force(config.user, config.site, rules if is_whole else None)
    return _Findings(policy, files)


def _file_finding(context: Context, file: PublisherFile) -> _FileFinding:
    try:
        return _FileFinding(file, context.publishers_of(file), "")
    except PublisherFileInvalid as error:
        return _FileFinding(file, None, error.why)


# ── data ──────────────────────────────────────────────────────────────────────────────────────────


def _required(config: Config) -> dict[str, Any]:
    return {
        **_level_of(config, "", config.policy.require),
        "organizations": [
            {"id": name, **_level_of(config, name, level)}
            for name, level in config.policy.organizations
        ],
        "provenance": config.policy.require_provenance,
        "unsigned_allowed": config.policy.allow_unsigned,
    }


def _level_of(config: Config, organization: str, level: str) -> dict[str, Any]:
    """Return what is required and the file that says so, the site's first; null by default."""
    stated = {
        config.site_file: config.site,
        config.file: config.stated,
        config.managed_file: config.managed,
    }
    files = [file for file, each in stated.items() if each.level(organization) == level]
    return {
        "level": level,
        "source": str(files[0]) if files else None,
        "from_site": config.site.level(organization) == level,
    }


def _publisher_file(config: Config, found: _FileFinding) -> dict[str, Any]:
    verified = found.verified
    return {
        "file": str(found.file.path),
        "source": found.file.rule.stated_in,
        "from_site": found.file in config.site.publisher_files,
        "problem": found.problem or None,
        "serial": verified.stated.serial if verified else None,
        "expires": verified.stated.expires if verified else None,
        "publishers": len(verified.stated.rules) if verified else 0,
        "signer": verified.signer.to_json() if verified else None,
        "verified_at": verified.verified_at if verified else None,
    }


def _exceptions(config: Config) -> list[PolicyException]:
    """Return every exception that is stated, those that do not count too."""
    return [*config.site.exceptions, *config.user.exceptions]


def _exception(config: Config, stated: PolicyException) -> dict[str, Any]:
    left = (date.fromisoformat(stated.until) - clock.now().date()).days
    return {
        **stated.to_json(),
        "days_left": max(left, 0),
        "has_ended": left < 0,
        "counts": left >= 0 and stated in config.policy.exceptions,
        "source": stated.stated_in,
        "from_site": stated in config.site.exceptions,
    }


# ── text ──────────────────────────────────────────────────────────────────────────────────────────


def _text(data: dict[str, Any]) -> str:
    parts = [_heading(data), publishers_text(data["publishers"])]
    for rows, section in (
        (data["publisher_files"], _publisher_files),
        (data["domains"], domains_text),
        (data["exceptions"], _exception_lines),
    ):
        parts += [section(rows)] if rows else []
    return "\n\n".join(parts)


def _heading(data: dict[str, Any]) -> str:
    required = data["required"]
    rows = [("configuration", data["config_file"])]
    if data["managed_file"]:
        rows.append(("by commands", data["managed_file"]))
    if data["site_config_file"]:
        rows.append(("the site's", data["site_config_file"]))
    rows.append(("required", _level(required)))
    rows += [(f"  {each['id']}", _level(each)) for each in required["organizations"]]
    rows.append(("provenance", "required" if required["provenance"] else "not required"))
    if data["closed"]:
        rows.append(("nobody for", " ".join(data["closed"])))
    return pairs(rows)


def _level(stated: dict[str, Any]) -> str:
    where = f", stated in {stated['source']}" if stated["source"] else ""
    return f"{stated['level']} publishers{where}{by_site(stated)}"


def _publisher_files(found: Sequence[dict[str, Any]]) -> str:
    lines = []
    for each in found:
        count = each["publishers"]
        stated = f"serial {each['serial']}, {count} rule{'' if count == 1 else 's'}"
        state = "NOT USED" if each["problem"] else f"{stated}, until {each['expires']}"
        lines.append(f"publisher file  {one_line(each['file'])}: {one_line(state)}")
        signer = each["signer"] or {}
        signed = f"signed by {signer.get('identity')} on {signer.get('signed_at')}"
        details = each["problem"].splitlines() if each["problem"] else [signed]
        lines += [f"  {one_line(detail)}" for detail in (*details, stated_in(each))]
    return "\n".join(lines)


def _exception_lines(stated: Sequence[dict[str, Any]]) -> str:
    rows = [
        (
            each["plugin"],
            each["rule"],
            _days(each),
            each["reason"],
        )
        for each in stated
    ]
    return with_places(table(("exception", "from", "until", "reason"), rows), stated)


def _days(stated: dict[str, Any]) -> str:
    if stated["has_ended"]:
        return f"{stated['until']} (ended)"
    if not stated["counts"]:
        return f"{stated['until']} (the site does not allow it)"
    return f"{stated['until']} ({counted(stated['days_left'], 'day')} left)"


def _notes(data: dict[str, Any]) -> list[str]:
    if any(each["problem"] for each in data["publisher_files"]):
        return ["as long as a publisher file cannot be used, nothing is admitted"]
    if data["publishers"]:
        return []
    return [
        "next: `aperio trust local init`, for what you sign yourself",
        "or `aperio trust publisher add NS --from-bundle FILE`, for somebody else's plugins",
    ]
