"""`aperio trust publisher remove`: take back a rule that a command stated, after consent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import publisher
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import domains, namespaces
from aperio_cli.commands.options import argument, option
from aperio_cli.commands.trust.stopping import say_stops, stops
from aperio_cli.context import Context
from aperio_cli.errors.usage import NotFound, UsageError
from aperio_cli.output import Report
from aperio_cli.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_cli.models.publisher import PublisherRule


@command(publisher, "trust", "publisher", "remove", examples=["aperio trust publisher remove acme"])
def trust_publisher_remove(
    context: Context,
    namespace: Annotated[
        str, argument(metavar="NAMESPACE", help="Whose plugins, such as acme.", values=namespaces)
    ],
    *,
    identity: Annotated[
        str | None,
        option(
            help="Only the rule for this signer, as `list` shows it.",
            metavar="ID",
        ),
    ] = None,
    domain: Annotated[
        str | None,
        option(help="Only in this trust domain.", metavar="NAME", values=domains),
    ] = None,
    plugin: Annotated[
        str | None,
        option(help="Only the rule for this plugin.", metavar="NAME"),
    ] = None,
    every: Annotated[bool, option("--all", help="Every rule that fits.")] = False,
) -> Report:
    """Take back a rule about who may sign, after your consent.

    What that stops, and who may sign for the namespace afterwards, is said first.
    """
    chosen = {"identity": identity, "domain": domain, "plugin": plugin}
    for name, value in chosen.items():
        if value is not None and not value.strip():
            raise UsageError(
                f"`--{name}` was not accepted; no rule was removed",
                why="it is blank",
                next=["copy it from `aperio trust publisher list`, or leave it out"],
            )
    wanted = _Wanted(namespace, identity, domain, plugin)
    rules = [rule for rule in context.config.user.publishers if wanted.fits(rule)]
    if not rules:
        raise _missing(context, namespace)
    if len(rules) > 1 and not every:
        raise UsageError(
            f"`{namespace}` was left as it is: {len(rules)} rules fit, and none was removed",
            why="\n".join(_lines(rules)),
            next=["name one with `--identity ID`, `--domain NAME` or `--plugin NAME`", "`--all`"],
        )
    return _remove(context, namespace, rules)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which rules are meant; None leaves a field open."""

    namespace: str
    identity: str | None
    domain: str | None
    plugin: str | None

    def fits(self, rule: PublisherRule) -> bool:
        from aperio_cli.models.publisher_table import who_signs

        return (
            rule.namespace == self.namespace
            and self.identity in {None, who_signs(rule)}
            and self.domain in {None, rule.domain}
            and self.plugin in {None, rule.plugin}
        )


def _remove(context: Context, namespace: str, rules: Sequence[PublisherRule]) -> Report:
    """Remove the rules after consent."""
    from aperio_cli.config import changes, managed
    from aperio_cli.models.publisher import ANY_NAMESPACE

    config = context.config
    planned = changes.without_publishers(config, rules)
    stopped = stops(context, planned)
    others = [known for known in config.user.publishers if known not in rules]
    left = [known for known in others if known.namespace == namespace]
    opened = [] if left else [known for known in others if known.namespace == ANY_NAMESPACE]
    context.output.warn("to be removed:")
    for line in (*_lines(rules), *_afterwards(context, namespace, left, opened)):
        context.output.warn(line)
    say_stops(context, stopped)
    count = "this rule" if len(rules) == 1 else f"these {len(rules)} rules"
    context.ask(
        f"Remove {count} for `{namespace}`?",
        what=f"`{namespace}` was left as it is: no rule was removed",
    )
    managed.change(context.paths, lambda config: changes.without_publishers(config, rules))
    data = {
        "config_file": str(config.managed_file),
        "removed": [rule.to_json() for rule in rules],
        "left": [rule.to_json() for rule in left],
        "opened_to": [rule.to_json() for rule in opened],
        "stops": stopped,
    }
    number = "a rule" if len(rules) == 1 else f"{len(rules)} rules"
    return Report(data, f"{number} for `{namespace}` left {config.managed_file}")


def _afterwards(
    context: Context,
    namespace: str,
    left: Sequence[PublisherRule],
    opened: Sequence[PublisherRule],
) -> Iterator[str]:
    """Say who may sign for the namespace without the rules."""
    if left:
        yield f"these signers stay admitted for `{namespace}`:"
    elif opened:
        yield f"`{namespace}` has no rule of its own then, and is open to who may sign for `*`:"
    else:
        yield f"nobody else may sign for `{namespace}` by a rule of yours"
    yield from _lines([*left, *opened])
    if not left and context.config.publisher_files:
        yield f"what publisher files state for `{namespace}` counts then"


def _lines(rules: Sequence[PublisherRule]) -> list[str]:
    from aperio_cli.models.publisher_table import who_signs

    return [
        f"  {clean(who_signs(rule))} (trust domain {rule.domain}"
        f"{f', plugin {rule.plugin}' if rule.plugin else ''})"
        for rule in rules
    ]


def _missing(context: Context, namespace: str) -> NotFound:
    """Return the error that no rule fits; names those of the namespace and the site's."""
    config = context.config
    stated = [
        rule
        for rule in (*config.user.publishers, *config.site.publishers)
        if rule.namespace == namespace
    ]
    found = zip(_lines(stated), stated, strict=True)
    lines = [f"{line.strip()} in {rule.stated_in}" for line, rule in found]
    return NotFound(
        f"`{one_line(namespace, limit=80)}` has no such rule of yours; nothing was changed",
        why="\n".join(["there are:", *lines]) if lines else "",
        next=["`aperio trust publisher list` lists all of them"],
    )
