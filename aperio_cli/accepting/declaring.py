"""Checks of what a plugin declares: complete, consistent, and always the same."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from aperio_plugin.wire import schema_rules

from aperio_cli.accepting.checks import Check
from aperio_cli.accepting.verdicts import expect
from aperio_cli.host.answers import word
from aperio_cli.host.calls.configuration import read_default
from aperio_cli.host.calls.declaration import (
    auth_problems,
    client_secret_key,
    default_problems,
    repeated_keys,
)
from aperio_cli.models.egress import is_for_operators, permits, target_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aperio_cli.accepting.bench import Bench

_KEY: Final = re.compile(r"[a-z0-9_]{1,64}")
_LONGEST_NAME: Final = 128


async def _declared(bench: Bench) -> str:
    declaration = await bench.declare(await bench.shared())
    expected = bench.program.provider
    expect(
        declaration.provider == expected,
        f"provider\nexpected {expected}, as in the manifest\nreceived {declaration.provider}",
    )
    expect(declaration.name.strip(), "it has no name for people")
    kind = bench.program.kind
    if kind != "connector":
        expect(declaration.WhichOneof("kind") == kind, f"it declares nothing as a {kind}")
    bench.declaration = declaration
    return f"{declaration.name}, provider {declaration.provider}"


async def _same(bench: Bench) -> str:
    first = await bench.declare(await bench.shared())
    again = await bench.declare(await bench.shared())
    expect(first == again, f"the same process answered twice; {_difference(first, again)}")
    await bench.close()
    elsewhere = await bench.declare(await bench.shared())
    expect(first == elsewhere, f"two processes answered; {_difference(first, elsewhere)}")
    return "three answers of two processes were the same"


def _difference(one: Any, other: Any) -> str:
    names = [field.name for field in one.DESCRIPTOR.fields]
    return "differing: " + ", ".join(n for n in names if getattr(one, n) != getattr(other, n))


async def _fields(bench: Bench) -> str:
    declaration = bench.declaration
    problems = [*_field_problems(declaration.fields), *_auth_problems(declaration)]
    for action in _actions(bench):
        problems += [f"{action.key}: {text}" for text in _field_problems(action.parameters)]
    expect(not problems, "\n".join(problems))
    return f"{len(declaration.fields)} settings, auth {declaration.auth.WhichOneof('method')}"


def _field_problems(fields: Iterable[Any]) -> Iterator[str]:
    yield from repeated_keys(fields)
    for field in fields:
        yield from (f"`{field.key}`: {text}" for text in _problems_of(field))


def _problems_of(field: Any) -> Iterator[str]:
    known = field.Type.values()
    if not _KEY.fullmatch(field.key):
        yield "a key has lower-case letters, digits, underscores"
    if field.type not in known or field.type == field.TYPE_UNSPECIFIED:
        yield f"type {field.type} is unknown"
    if (field.type == field.TYPE_SELECT) != bool(field.options):
        yield "a SELECT has options, and nothing else has"
    if field.type == field.TYPE_PASSWORD and not field.secret:
        yield "a PASSWORD is secret"
    yield from default_problems(field)
    if field.secret and field.default_json:
        yield "a secret has no default"


def _auth_problems(declaration: Any) -> Iterator[str]:
    yield from auth_problems(declaration)
    if declaration.auth.WhichOneof("method") == "oauth2" and not declaration.auth.oauth2.grants:
        yield "auth: OAuth 2.0 without a grant"
    for field in declaration.fields:
        if field.key == client_secret_key(declaration.auth):
            for flag in ("host_only", "secret"):
                if not getattr(field, flag):
                    yield f"`{field.key}` holds the client's secret, so it has to be {flag}"


def _actions(bench: Bench) -> Any:
    return bench.declaration.remediation.actions if bench.program.kind == "remediation" else ()


async def _egress(bench: Bench) -> str:
    """Compare the addresses that the plugin brings along with what its manifest declares."""
    manifest = bench.program.manifest
    addresses = dict(_addresses(bench.declaration))
    settings = {field.key: _default(field) for field in bench.declaration.fields}
    problems = []
    for what, address in addresses.items():
        target = target_of(address)
        if target is None:
            problems.append(f"{what} is no http or https address: {address}")
        elif not permits(manifest, *target, settings):
            place = f"{target[0]}:{target[1]}"
            problems.append(f"{what} leads to {place}, which {_lacks(place)}")
    declared = ", ".join(manifest.egress) or "nothing"
    expect(not problems, "\n".join([*problems, f"permissions.egress declares {declared}"]))
    return f"{len(addresses)} addresses, each at a declared host"


def _lacks(place: str) -> str:
    if is_for_operators(place):
        return "only an operator may open: leave it out"
    return "is not declared"


def _addresses(declaration: Any) -> Iterator[tuple[str, str]]:
    """Yield the addresses that are known without the operator's settings, by what they are."""
    for field in declaration.fields:
        default = _default(field)
        if field.type == field.TYPE_URL and isinstance(default, str) and default:
            yield f"the default of `{field.key}`", default
        for option in field.options:
            if option.startswith(("https://", "http://")):
                yield f"the option `{option}` of `{field.key}`", option
    if declaration.auth.WhichOneof("method") == "oauth2":
        address = declaration.auth.oauth2.token_url
        if address and "{" not in address:
            yield "auth: token_url", address


def _default(field: Any) -> object:
    """Return a field's default; None when there is none, or none that can be read."""
    try:
        return read_default(field)
    except ValueError:
        return None


async def _names(bench: Bench) -> str:
    declaration = bench.declaration
    if bench.program.kind == "remediation":
        keys = [action.key for action in declaration.remediation.actions]
        problems = list(schema_rules.key_problems("action", keys))
        expect(not problems, "\n".join(problems))
        return f"{len(keys)} actions, each a prefix, a dot and a name"
    prefix = f"{bench.program.provider.lower()}."
    names = list(declaration.event_types)
    problems = [
        f"`{name}`: expected `{prefix}` and a name"
        for name in names
        if not name.startswith(prefix) or name == prefix or len(name) > _LONGEST_NAME
    ]
    problems += [f"`{name}` is declared twice" for name, n in Counter(names).items() if n > 1]
    problems += schema_rules.problems(declaration)
    expect(not problems, "\n".join(problems))
    others = len(declaration.checks) + len(declaration.remediation_actions)
    return f"{len(names)} event types, each begins with `{prefix}`; {others} checks and actions"


async def _streams(bench: Bench) -> str:
    destination = bench.declaration.destination
    known = set(destination.Stream.values()) - {destination.STREAM_UNSPECIFIED}
    expect(destination.streams, "it takes no stream")
    unknown = set(destination.streams) - known
    expect(not unknown, f"unknown streams: {sorted(unknown)}")
    return ", ".join(word(destination.Stream, stream) for stream in destination.streams)


DECLARING: Final = (
    Check(
        "declaration",
        "declares itself without settings, for the manifest's provider",
        "answer Schema or Capabilities with empty settings; name the provider of manifest.yaml",
        _declared,
    ),
    Check(
        "same-declaration",
        "declares the same every time",
        "declare constants: no time, no random order, nothing from the network",
        _same,
    ),
    Check(
        "fields",
        "declares well-formed settings and auth",
        "correct the settings that the evidence names",
        _fields,
        after="declaration",
    ),
    Check(
        "egress",
        "declares the hosts of the addresses that it brings along",
        "list the host and port under permissions.egress of manifest.yaml, or correct the default",
        _egress,
        after="declaration",
    ),
    Check(
        "names",
        "names events after its provider, and checks, actions, streams and mappings once",
        "write `provider.name` with the provider in lower case for events, each name once",
        _names,
        after="declaration",
        kinds=frozenset({"connector", "remediation"}),
    ),
    Check(
        "streams",
        "takes at least one stream",
        "declare which of finding, event, audit_log it takes",
        _streams,
        after="declaration",
        kinds=frozenset({"destination"}),
    ),
)
