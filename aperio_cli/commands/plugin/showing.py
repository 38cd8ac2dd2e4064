"""What `plugin run` shows: declarations, results, notes and a plugin's log, as data and as text.

A plugin's words are outside text: `Report` texts go through `clean`, data through JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aperio_cli.errors import DONE, PLUGIN_FAILED, UNAVAILABLE
from aperio_cli.host.answers import is_known, word
from aperio_cli.host.catalogue import define
from aperio_cli.models.artifact import DevelopmentBuild
from aperio_cli.models.reading import Bounds, Unreadable, read_json
from aperio_cli.output import Report, pairs, table
from aperio_cli.text import clean, counted, escape_unshown, one_line, show_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aperio_cli.host.calls.letters import DeadLetter
    from aperio_cli.host.calls.remediation import Execution
    from aperio_cli.host.calls.sync import EventDoubted, SyncSummary
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.output import Output
    from aperio_cli.running.delivering import Deliveries, DeliveryRepeated
    from aperio_cli.running.forwarding import Forwarding
    from aperio_cli.running.keeping import CursorKept
    from aperio_cli.running.streams import StreamNotTaken


_MOST_NOTES = 20
_LATER = {"rate-limited", "service-unavailable"}
"""Codes of what the SDKs' errors say that may be gone later."""


def log_sink(output: Output) -> Callable[[LogRecord], None]:
    """Return a sink that shows a plugin's log on stderr; trace and debug only with `--verbose`."""

    def show(record: LogRecord) -> None:
        fields = "".join(f" {key}={value}" for key, value in record.fields)
        # Further lines are indented, so that none can pass for one of ours.
        text = f"{record.level:<5} {record.message}{fields}".replace("\n", "\n      ")
        if record.stream == "host" and record.level == "debug":
            output.detail(record.message)
        elif record.stream == "host":
            output.warn(record.message)
        elif (
            record.level in {"warn", "error"}
            or output.verbose
            or (record.level == "info" and not output.quiet)
        ):
            output.log(text, record.message)

    return show


def tell_left_out(output: Output, target: Receipt | DevelopmentBuild) -> None:
    """Tell which variables did not count; with `--verbose` what of a folder is not there."""
    if not isinstance(target, DevelopmentBuild):
        return
    if target.not_counted:
        from aperio_cli.machine.reach import say_not_counted

        output.note(say_not_counted(target.not_counted))
    if target.left_out:
        output.detail(f"left out, as of an artifact: {', '.join(map(show_path, target.left_out))}")


def plain(message: Any) -> dict[str, Any]:
    """Return a protobuf message as JSON data, with the field names of the proto.

    Values that are not set are there all the same, so that scripts need not ask for each key;
    messages inside that are not set are left out.
    """
    from google.protobuf.json_format import MessageToDict

    found: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found


def declaration(answer: Any) -> Report:
    """Return what a plugin declares: its fields, and what its kind adds."""
    parts = [
        pairs(
            [
                ("provider", answer.provider),
                ("name", answer.name),
                ("interface", f"1.{answer.interface.minor}"),
                ("auth", _auth(answer)),
                *_told(answer),
            ]
        ),
        _fields("setting", answer.fields) or "no settings",
        *_offered(answer),
    ]
    return Report(plain(answer), "\n\n".join(parts))


def catalogue(answer: Any) -> Report:
    """Return what a plugin declares as the product's catalogue has it, as JSON for people, too."""
    defined = define(answer)
    text = escape_unshown(json.dumps(defined.document, ensure_ascii=False, indent=2))
    notes = [
        f"{one_line(each.path)}: {one_line(each.declared) or 'empty'}"
        f" becomes {one_line(each.shown) or 'empty'}"
        for each in defined.becomes[:_MOST_NOTES]
    ]
    more = len(defined.becomes) - _MOST_NOTES
    if more > 0:
        notes.append(f"and {more} more: `--json` has them all")
    data = {
        "definition": defined.document,
        "becomes": [each.to_json() for each in defined.becomes],
    }
    return Report(data, text, tuple(notes))


def _told(answer: Any) -> Iterator[tuple[str, str]]:
    """Yield what a connector says of itself beside that, where it does."""
    features = ", ".join(one_line(name) for name in answer.interface.features)
    rows = [
        ("features", features),
        ("account", getattr(answer, "account_id_field", "")),
        ("note", getattr(answer, "readiness_note", "")),
    ]
    yield from ((key, one_line(text)) for key, text in rows if text)


def _fields(heading: str, fields: Sequence[Any]) -> str:
    """Return fields as a table; empty without any."""
    rows = [_field(item) for item in fields]
    return table((heading, "type", "default", "", ""), rows) if rows else ""


def _field(item: Any) -> tuple[str, ...]:
    """Return what people have to know of a setting, cell by cell."""
    kind = spoken(word(item.Type, item.type))
    stated = {"required": item.required, "secret": item.secret, "host-only": item.host_only}
    said = [item.helper, item.placeholder and f"such as {item.placeholder}"]
    help_text = "; ".join(text.strip().rstrip(".") for text in said if text.strip())
    return (
        item.key,
        f"{kind}: {', '.join(item.options)}" if item.options else kind,
        item.default_json,
        " ".join(name for name, holds in stated.items() if holds),
        ": ".join(filter(None, (item.label.strip(), help_text))),
    )


def _offered(answer: Any) -> Iterator[str]:
    """Yield what a kind declares besides its settings, a block each."""
    if events := getattr(answer, "event_types", ()):
        yield "\n".join(["event types", *(f"  {one_line(name)}" for name in events)])
    if streams := getattr(answer, "streams", ()):
        yield table(("stream", ""), [(each.name, one_line(each.description)) for each in streams])
    if mappings := getattr(answer, "event_mappings", ()):
        rows = [(each.event_type, one_line(each.product_event_type)) for each in mappings]
        yield table(("event type", "in the product"), rows)
    kind = answer.WhichOneof("kind") if hasattr(answer, "remediation") else ""
    for action in answer.remediation.actions if kind == "remediation" else ():
        yield _action(action)
    if kind == "destination" and answer.destination.streams:
        streams = [word(answer.destination.Stream, each) for each in answer.destination.streams]
        yield "\n".join(["streams", *(f"  {spoken(name)}" for name in streams)])


def _action(action: Any) -> str:
    """Return an action with what it takes."""
    stated = {"can be undone": action.reversible, "has a dry run": action.supports_dry_run}
    rows = [
        ("action", action.key),
        ("", action.description or action.label),
        ("target", ", ".join(action.target_types)),
        ("", ", ".join(name for name, holds in stated.items() if holds)),
    ]
    text = pairs([row for row in rows if row[1]])
    return "\n".join(filter(None, [text, _fields("parameter", action.parameters)]))


def _auth(answer: Any) -> str:
    """Return the method of a declaration's auth; one of a newer minor version is unknown."""
    is_stated = answer.HasField("auth")
    return answer.auth.WhichOneof("method") or ("unknown" if is_stated else "none")


def spoken(name: str) -> str:
    """Return a word of the interface as people read it."""
    return name.replace("_", " ")


def test(answer: Any) -> Report:
    """Return whether the configuration works.

    One that does not is exit status 5; when only the service cannot say so for now, 4.
    """
    from aperio_cli.host.wire.channel import wait_s_of

    lines = ["the connection works" if answer.ok else "the connection does not work"]
    status = DONE if answer.ok else PLUGIN_FAILED
    wait_s = None if answer.ok else wait_s_of(answer)
    if not answer.ok and (wait_s or _LATER & {item.code for item in answer.diagnostics}):
        lines = ["the service cannot be asked for now"]
        status = UNAVAILABLE
    lines += [
        f"  {one_line(key)}  {one_line(value)}" for key, value in sorted(answer.account.items())
    ]
    lines += _diagnostics(answer.diagnostics)
    if status == UNAVAILABLE:
        lines.append(f"wait {f'{wait_s} s' if wait_s else 'some minutes'}, then run it again")
    told = type(answer)()
    told.CopyFrom(answer)
    told.ClearField("retry_after")
    data = plain(told) | {"ok": answer.ok, "retry_after_s": wait_s}
    return Report(data, "\n".join(lines), exit_status=status)


def connection(answer: Any) -> Report:
    """Return the account that an authorization is for."""
    rows = sorted(answer.account.items()) or [("account", "the plugin says nothing about it")]
    return Report(plain(answer), "\n".join([pairs(rows), *_diagnostics(answer.diagnostics)]))


def execution(answer: Any, asked: Execution, *, failed_status: int) -> Report:
    """Return what came of one action; what cannot be read of the changes is said beside it."""
    key = asked.idempotency_key
    outcome = word(answer.Outcome, answer.outcome)
    lines = [spoken(outcome), *_diagnostics(answer.diagnostics)]
    if not is_known(answer.Outcome, answer.outcome):
        lines[0] += ": of a newer version of the plugin interface; look at the target yourself"
    if answer.outcome == answer.OUTCOME_UNKNOWN:
        lines[0] += ": it was sent, and what came of it is not known; look in the service, then"
        lines[0] += f" repeat it with `--idempotency-key {key}`"
    if answer.provider_request_id:
        lines.append(f"  the service's id of the request: {one_line(answer.provider_request_id)}")
    lines += [
        f"  {_path(each.attribute)}: {one_line(each.before_json)} -> {one_line(each.after_json)}"
        for each in answer.changes
    ]
    problems: list[str] = []
    data = plain(answer) | {
        "outcome": outcome,
        "idempotency_key": key,
        "approval_sha256": asked.sha256,
    }
    data["changes"] = [
        {
            "attribute": _path(change.attribute),
            "before": _json_value(change.before_json, f"changes[{number}].before", problems),
            "after": _json_value(change.after_json, f"changes[{number}].after", problems),
        }
        for number, change in enumerate(answer.changes)
    ]
    data["problems"] = problems
    lines += [f"warning: {problem}" for problem in problems]
    if answer.outcome == answer.OUTCOME_WOULD_CHANGE:
        lines.append(f"to approve exactly this: `--approve --approval-sha256 {asked.sha256}`")
    done = outcome in {"changed", "unchanged", "would_change"}
    return Report(data, "\n".join(lines), exit_status=DONE if done else failed_status)


def _json_value(data: bytes, key: str, problems: list[str]) -> Any:
    """Return the value in JSON bytes; None for none, and for what is not JSON, which is added."""
    try:
        return read_json(data, Bounds(len(data))) if data else None
    except Unreadable as error:
        problems.append(one_line(f"the plugin's `{key}` cannot be read: {error}"))
        return None


def _path(attribute: Any) -> str:
    steps = (step.key or f"[{step.index}]" for step in attribute.steps)
    return one_line(".".join(steps)) or "target"


def _diagnostics(items: Sequence[Any]) -> list[str]:
    lines = []
    for item in items:
        name = spoken(word(item.Severity, item.severity))
        lines.append(f"{name}: {one_line(item.summary)}")
        lines += [f"  {line}" for line in clean(item.detail, limit=2000).splitlines()]
    return lines


def summary(found: SyncSummary) -> tuple[dict[str, Any], str]:
    """Return a finished sync as a line of the stream, and in one sentence."""
    said = {
        "type": "summary",
        "events": found.events,
        "findings": found.findings,
        "audit_log": found.audit_log,
        "dead_letters": found.dead_letters,
        "filtered": found.filtered,
        "checkpoints": found.checkpoints,
        "tokens_renewed": found.tokens_renewed,
        "duration_s": round(found.duration_s, 3),
        "coverage": [
            {"stream": each.stream, "covers_until": each.covers_until} for each in found.coverage
        ],
    }
    more = f", {counted(found.findings, 'finding')}" if found.findings else ""
    entries = counted(found.audit_log, "audit log entry", "audit log entries")
    more += f", {entries}" if found.audit_log else ""
    dead = f", {counted(found.dead_letters, 'dead letter')}" if found.dead_letters else ""
    if found.filtered:
        dead += f", {found.filtered} of other types left out"
    renewed = (
        f", token renewed {counted(found.tokens_renewed, 'time')}" if found.tokens_renewed else ""
    )
    return said, (
        f"{counted(found.events, 'event')}{more}{dead}, {counted(found.checkpoints, 'checkpoint')}"
        f" in {found.duration_s:.2f} s{renewed}"
        + "".join(_read_until(each.stream, each.covers_until) for each in found.coverage)
    )


def _read_until(stream: str, covers_until: str | None) -> str:
    """Return how far a stream was read, for people; empty when nobody knows."""
    if covers_until is None:
        return ""
    day, _, time = covers_until.partition("T")
    named = f" {one_line(stream)}" if stream else ""
    return f";{named} read until {day} {time[:5]} UTC"


def forwarding(found: Forwarding) -> tuple[dict[str, Any], str]:
    """Return what became of the events of a sync to a destination, finished or broken off."""
    tally = found.deliveries
    counts = {
        "to": found.to,
        "accepted": tally.accepted,
        "rejected": tally.rejected,
        "repeated": tally.repeated,
        "not_taken": found.not_taken,
    }
    where = f" in {found.rejects_file}" if found.rejects_file else ""
    left_out = f", {found.not_taken} not taken" if found.not_taken else ""
    text = f"{tally.accepted} accepted, {tally.rejected} rejected{left_out} by {found.to}{where}"
    if found.summary is None:
        said = {"type": "deliveries"} | counts | {"rejects_file": found.rejects_file}
        return (
            said,
            f"before that: {text}; nothing after the last checkpoint is taken for delivered",
        )
    said, sentence = summary(found.summary)
    said |= {"deliveries": counts, "rejects_file": found.rejects_file}
    return said, f"{sentence}; {text}"


def note(found: Any) -> tuple[dict[str, Any], str]:
    """Return what a sync says beside its events: as a line of the stream, and as text."""
    from aperio_cli.host.calls.letters import DeadLetter
    from aperio_cli.host.calls.sync import CheckpointStored, EventDoubted, ProgressMade
    from aperio_cli.running.delivering import DeliveryRepeated
    from aperio_cli.running.forwarding import Forwarding
    from aperio_cli.running.keeping import CursorKept
    from aperio_cli.running.streams import StreamNotTaken

    match found:
        case Forwarding():
            return forwarding(found)
        case DeliveryRepeated() | StreamNotTaken() | CursorKept():
            return _about_a_delivery(found)
        case DeadLetter() | EventDoubted():
            return _about_an_event(found)
        case CheckpointStored(events=events, stream=stream, covers_until=until):
            said = {"type": "checkpoint", "events": events, "stream": stream, "covers_until": until}
            after = counted(events, "event")
            return said, f"checkpoint after {after}{_read_until(stream, until)}"
        case ProgressMade(done=done, total=total, message=message):
            said = {"type": "progress", "done": done, "total": total, "message": one_line(message)}
            return said, f"{done} of {total or 'unknown'}: {one_line(message)}"
        case _:
            return {"type": "token", "renewed": True}, "the token had expired; it was renewed"


def _about_a_delivery(
    found: DeliveryRepeated | StreamNotTaken | CursorKept,
) -> tuple[dict[str, Any], str]:
    from aperio_cli.running.keeping import CursorKept
    from aperio_cli.running.streams import SPOKEN, StreamNotTaken

    if isinstance(found, CursorKept):
        return _cursor_kept(found)
    if isinstance(found, StreamNotTaken):
        said: dict[str, Any] = {"type": "not_taken", "kind": found.kind, "to": found.to}
        return said, f"{found.to} takes no {SPOKEN[found.kind]}: they are counted and left out"
    count, wait_s, reason = found.envelopes, found.wait_s, one_line(found.reason)
    said = {"type": "retry", "envelopes": count, "wait_s": wait_s, "reason": reason}
    again = f"{count} envelopes" if count else "the checkpoint"
    return said, f"{again} again in {round(wait_s, 2):g} s: {reason}"


def _cursor_kept(found: CursorKept) -> tuple[dict[str, Any], str]:
    said: dict[str, Any] = {"type": "cursor_kept", "by": found.by, "goes_on": found.goes_on}
    said |= {"stored_at": found.stored_at, "own_stored_at": found.own_stored_at}
    text = f"{found.by} keeps the cursor: the sync "
    text += "goes on from it" if found.goes_on else "begins anew"
    if found.stored_at:
        text += f", as it was stored at {found.stored_at}"
    if found.own_stored_at:
        text += f"; the host's own, stored at {found.own_stored_at}, is another one and is not used"
    return said, text


def _about_an_event(found: DeadLetter | EventDoubted) -> tuple[dict[str, Any], str]:
    from aperio_cli.host.calls.letters import DeadLetter

    if isinstance(found, DeadLetter):
        return found.to_json(), f"dead letter: {found}"
    identity, why = one_line(found.source_event_id), one_line(found.why)
    said = {"type": "doubt", "source_event_id": identity, "why": why}
    return said, f"event `{identity}`: {why}" if identity else f"checkpoint: {why}"


def deliveries(found: Deliveries, *, undelivered_status: int) -> Report:
    """Return the counts; not everything accepted is the given status."""
    data = {
        "accepted": found.accepted,
        "rejected": found.rejected,
        "retry": found.retry,
        "reasons": found.reasons,
        "rejects_file": found.rejects_file,
    }
    lines = [str(found)]
    for each in found.reasons:
        named = each["id"] or f"line {each['line']}"
        lines.append(f"  {named}  {each['status']}  {each['reason']}")
    status = undelivered_status if found.rejected or found.retry else DONE
    return Report(data, "\n".join(lines), exit_status=status)
