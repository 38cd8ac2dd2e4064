"""How the host and its plugins are, in words: state, why, until when, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.host.lifecycle import Phase
from aperio_cli.models.run_receipt import FAILED, RUNNING
from aperio_cli.output import pairs, table
from aperio_cli.text import counted, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from aperio_cli.host.control.controlled import InstalledPlugin
    from aperio_cli.host.supervising.instances import InstanceKey, Status
    from aperio_cli.models.run_receipt import RunReceipt

    LastRuns = Mapping[tuple[str, str, str], RunReceipt]

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86400
_COLUMNS: Final = ("plugin", "organization", "integration", "state", "since", "restarts", "version")
_MEANS: Final = {
    Phase.STOPPED: "nobody wants it",
    Phase.STARTING: "its process comes up",
    Phase.READY: "it takes calls",
    Phase.BACKOFF: "it died, and is started again by itself",
    Phase.PAUSED: "somebody paused it; calls to it fail at once",
    Phase.STOPPING: "it is being ended",
    Phase.FAILED: "it is not started again until something changes",
}


def of_instance(status: Status, last_run: RunReceipt | None) -> dict[str, Any]:
    """Return how an instance is, with its last run and what to do, as `--json` shows it."""
    return {
        **status.to_json(),
        "last_run": last_run.to_json() if last_run else None,
        "next": steps(status),
    }


def of_plugin(plugin: InstalledPlugin) -> dict[str, Any]:
    """Return an installed plugin as `--json` shows it."""
    return {
        "id": str(plugin.id),
        "version": plugin.version or None,
        "kind": plugin.kind or None,
        "badge": plugin.badge or None,
        "signer": plugin.signer or None,
        "refused_as": plugin.refusal or None,
    }


def overview(
    about: Mapping[str, Any],
    statuses: Sequence[Status],
    runs: LastRuns,
    idle: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return how everything is, for people.

    Args:
        about: the host, as `--json` shows it.
        statuses: the instances that are meant.
        runs: their last runs.
        idle: what was asked for by name, is installed, and is not kept running.
    """
    since = f"since {about['started_at']}, process {about['pid']}, aperio {about['version']}"
    head = [("host", f"running {since}"), ("home", about["home"]), ("plugins", about["summary"])]
    parts = [pairs([*head, *_registries(about), *_unlimited(statuses)])]
    parts.extend(map(_idle, idle))
    if not statuses and not idle:
        parts.append(
            "No plugin is kept running. State which in a [[run]] table of config.toml,\n"
            "or start the host with --all."
        )
    if not statuses:
        return "\n\n".join(parts)
    parts.append(table(_COLUMNS, [_row(status) for status in statuses]))
    told = ("\n".join(_about(status, runs.get(key_of(status.key)))) for status in statuses)
    parts.extend(filter(None, told))
    return "\n\n".join(parts)


def _idle(plugin: Mapping[str, Any]) -> str:
    """Return an installed plugin that is not kept running, why, and what to do about it."""
    name, refused = str(plugin["id"]), plugin["refused_as"]
    why = f"it may not be started: {refused}" if refused else "nothing states that it should run"
    step = f"`aperio plugin why {name}`" if refused else "state it in a [[run]] of config.toml"
    state = f"{plugin['version'] or 'no version'} is installed, and not kept running"
    return pairs([(name, state), ("why", why), ("next", step)])


def _unlimited(statuses: Sequence[Status]) -> Iterator[tuple[str, str]]:
    """Yield what nothing enforces on this machine, once for all plugins of which that is so."""
    of = [status for status in statuses if status.not_enforced]
    if of:
        names = " ".join(dict.fromkeys(name for status in of for name in status.not_enforced))
        whose = "of any plugin" if len(of) == len(statuses) else f"of {counted(len(of), 'plugin')}"
        yield "limits", f"not enforced {whose}: {names} (`aperio doctor` says what would help)"


def _registries(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is to be said of registries: only that they are not heard needs words."""
    if problem := about.get("registries_problem"):
        heard_at = about.get("registries_heard_at")
        since = f"since {heard_at}" if heard_at else "since the host runs"
        yield "registries", f"not heard {since}: {one_line(problem, limit=1000)}"


def key_of(key: InstanceKey) -> tuple[str, str, str]:
    """Return by what a last run is looked up."""
    return str(key.plugin), key.organization, key.integration


def _row(status: Status) -> tuple[str, ...]:
    since = status.started_at or status.last_healthy_at
    return (
        str(status.key.plugin),
        status.key.organization,
        status.key.integration,
        status.phase.value,
        _ago(since) if since and status.phase is Phase.READY else "",
        str(status.restarts) if status.restarts else "",
        status.version,
    )


def _about(status: Status, last_run: RunReceipt | None) -> Iterator[str]:
    """Yield lines about an instance that there is more to say of than its row."""
    lines = [*_state(status), *_run(last_run), *_newcomer(status)]
    if lines:
        key = status.key
        yield f"{key.plugin} for {key.organization} {key.integration}"
        for label, text in lines:
            for number, line in enumerate(text.splitlines() or [""]):
                shown = one_line(line, limit=1000)
                yield f"  {label if number == 0 else '':<10}{shown}".rstrip()


def _state(status: Status) -> Iterator[tuple[str, str]]:
    if status.phase is not Phase.READY:
        yield "state", f"{status.phase.value}: {_MEANS[status.phase]}"
        if status.pause:
            yield "since", f"{status.pause.at}, by {status.pause.by}"
            yield "why", status.pause.reason or "no reason was given"
        if status.until:
            yield "until", f"{clock.format_timestamp(status.until)}, {_ahead(status.until)}"
        if status.last_healthy_at:
            yield "healthy", f"last {_ago(status.last_healthy_at)} ago"
        if status.reason:
            yield "why", status.reason
            yield "code", status.code
        for number, step in enumerate(steps(status)):
            yield "or" if number else "next", step
    if status.is_on_demand:
        yield "kept up", "by calls alone: it ends some minutes after the last of them"
    if status.exceptions:
        yield "lifted", "; ".join(status.exceptions)


def _run(last_run: RunReceipt | None) -> Iterator[tuple[str, str]]:
    if last_run is None:
        return
    ended = last_run.ended_at or last_run.started_at
    counts = (
        (last_run.seen, "seen", "seen"),
        (last_run.sent, "sent", "sent"),
        (last_run.filtered, "filtered", "filtered"),
        (last_run.dead_letters, "dead letter", "dead letters"),
        (last_run.egress_refused, "connection refused", "connections refused"),
    )
    found = ", ".join(counted(*each) for each in counts if each[0])
    status = last_run.status if last_run.status == RUNNING else last_run.status.lower()
    yield "last run", f"{last_run.operation} {status} {ended}{f': {found}' if found else ''}"
    if last_run.status == FAILED:
        yield "", f"{last_run.error_message} ({last_run.code})"


def _newcomer(status: Status) -> Iterator[tuple[str, str]]:
    if left := status.fallback:
        plugin = status.key.plugin
        yield "fallback", f"since {left.at} from {left.version}, which does not start"
        yield "why", left.reason
        yield "next", f"`aperio plugin update {plugin}`, once there is a newer version"
        yield "or", f"to try that one again: `aperio plugin rollback {plugin}@{left.version}`"
    if status.newcomer and status.newcomer != status.reason:
        yield "update", status.newcomer


def steps(status: Status) -> list[str]:
    """Return what an operator can do about the state of an instance, easiest first."""
    logs = f"`aperio host logs {status.key.plugin}`"
    if status.phase is Phase.BACKOFF:
        return ["wait: it is started again by itself", logs]
    if status.phase is Phase.PAUSED:
        return [f"`aperio host resume {status.key.plugin}`, once that is over"]
    return _remedies(status, logs) if status.phase is Phase.FAILED else []


def _remedies(status: Status, logs: str) -> list[str]:
    """Return what helps where a plugin is not started again by itself."""
    plugin = status.key.plugin
    again = "then have the host begin again: `systemctl reload aperio-host`, or SIGHUP"
    if status.code == "not-installed":
        return [f"`aperio plugin install {plugin}`", "take its [[run]] table out of config.toml"]
    if status.code == "configuration-invalid":
        return ["correct the configuration: the host sees that by itself"]
    if status.code == "plugin-config-invalid":
        return ["correct its [[run]] table in config.toml: the host sees that by itself"]
    if status.code.startswith("plugin-"):
        return [logs, again]
    return [f"`aperio plugin why {plugin}`", again]


def _ago(moment: datetime) -> str:
    return _span((clock.now() - moment).total_seconds())


def _ahead(moment: datetime) -> str:
    left_s = (moment - clock.now()).total_seconds()
    return f"in {_span(left_s)}" if left_s > 0 else "now"


def _span(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    whole = max(0, round(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"


def last_runs(receipts: Iterable[RunReceipt]) -> LastRuns:
    """Return the newest receipt of each instance; those given first are newer."""
    found: dict[tuple[str, str, str], RunReceipt] = {}
    for receipt in receipts:
        key = (str(receipt.plugin), receipt.organization, receipt.integration)
        found.setdefault(key, receipt)
    return found
