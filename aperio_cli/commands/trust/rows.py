"""Rules and trust domains as `trust show` and the lists print them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aperio_cli import clock
from aperio_cli.output import table
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_cli.config import Config
    from aperio_cli.context import Context
    from aperio_cli.models.publisher import PublisherRule
    from aperio_cli.proving.signature import TrustedRootSource

# What a rule demands besides the signer, by its key in the configuration.
_CONDITIONS = {
    "valid_from": "only from",
    "valid_until": "only until",
    "require_provenance": "only with signed provenance",
    "builder": "only built by",
    "source_repository": "only built from",
}


def publisher_row(config: Config, rule: PublisherRule) -> dict[str, Any]:
    """Return a rule as reports carry it."""
    from aperio_cli.models.publisher_table import who_signs

    sources = {str(config.site_file), *(str(f.path) for f in config.site.publisher_files)}
    return {
        "namespace": rule.namespace,
        "plugin": rule.plugin or None,
        "domain": rule.domain,
        "identity": who_signs(rule),
        "issuer": rule.issuer,
        "tier": rule.tier,
        "shape": "build" if rule.ci else "identity",
        "source": rule.stated_in,
        "from_site": rule.stated_in in sources,
        "rule": rule.to_json(),
    }


def domain_row(context: Context, root: TrustedRootSource) -> dict[str, Any]:
    """Return what is known of a trust domain as reports carry it."""
    from aperio_cli.trust.roots import root_age, root_age_days

    now = clock.now()
    stated = {domain.name: domain.stated_in for domain in context.config.domains}
    return {
        "name": root.name,
        "root": _place(context, root),
        "origin": root.origin,
        "as_of": root.as_of or None,
        "age": root_age(root, now),
        "age_days": root_age_days(root, now),
        "problem": root.problem or None,
        "source": stated.get(root.name),
        "from_site": root.name in {domain.name for domain in context.config.site.domains},
    }


def _place(context: Context, root: TrustedRootSource) -> str:
    """Return where a root is from: a file, or what ships with aperio."""
    for domain in context.config.domains:
        if domain.name == root.name:
            return str(domain.file or domain.tuf)
    if root.origin == "vendored":
        return "shipped with aperio"
    if root.origin == "refreshed":
        return str(context.paths.refreshed_root(root.name))
    return str(context.paths.local_root)


def publishers_text(publishers: Sequence[dict[str, Any]]) -> str:
    """Return the rules, what each says of the signer below it: no terminal is so wide."""
    if not publishers:
        return "nobody is trusted: there is no [[publishers]] rule in force"
    rows = [
        (
            f"{each['namespace']}/{each['plugin']}" if each["plugin"] else each["namespace"],
            each["tier"],
            each["domain"],
        )
        for each in publishers
    ]
    heading, *lines = table(("publisher", "tier", "domain"), rows).splitlines()
    shown = [heading]
    for line, each in zip(lines, publishers, strict=True):
        shown.append(line)
        shown += [f"  {one_line(detail)}" for detail in _details(each)]
    return "\n".join(shown)


def _details(publisher: dict[str, Any]) -> Iterator[str]:
    rule = publisher["rule"]
    yield f"signed by {publisher['identity']}"
    yield f"vouched for by {publisher['issuer']}"
    for key, words in _CONDITIONS.items():
        if stated := rule.get(key):
            yield words if stated is True else f"{words} {stated}"
    yield stated_in(publisher)


def domains_text(domains: Sequence[dict[str, Any]]) -> str:
    """Return trust domains as a table, each with the file that states it."""
    rows = [(each["name"], each["age"], each["problem"] or each["root"]) for each in domains]
    return with_places(table(("trust domain", "root", ""), rows), domains)


def with_places(shown: str, entries: Sequence[dict[str, Any]]) -> str:
    """Return a table with a line below each row that says which file states it."""
    heading, *rows = shown.splitlines()
    lines = [heading]
    for row, each in zip(rows, entries, strict=True):
        lines += [row, f"  {one_line(stated_in(each))}"] if each["source"] else [row]
    return "\n".join(lines)


def stated_in(entry: dict[str, Any]) -> str:
    """Return which file states an entry, in words."""
    return f"stated in {entry['source']}{by_site(entry)}"


def by_site(stated: dict[str, Any]) -> str:
    """Return the mark of what the site states; empty for all else."""
    return " (site)" if stated["from_site"] else ""
