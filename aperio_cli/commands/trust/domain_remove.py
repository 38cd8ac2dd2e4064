"""`aperio trust domain remove`: take back a trust domain that a command stated."""

from __future__ import annotations

from typing import Annotated

from aperio_cli.commands.app import domain
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import stated_domains
from aperio_cli.commands.options import argument
from aperio_cli.context import Context
from aperio_cli.errors.usage import NotFound
from aperio_cli.output import Report
from aperio_cli.text import one_line


@command(domain, "trust", "domain", "remove", examples=["aperio trust domain remove acme"])
def trust_domain_remove(
    context: Context,
    name: Annotated[
        str, argument(metavar="NAME", help="What rules call it.", values=stated_domains)
    ],
) -> Report:
    """Take a trust domain back that `trust domain add` stated, when no rule names it."""
    from aperio_cli.config import changes, managed

    config = context.config
    planned = changes.without_domain(config, name)
    gone = [known for known in config.managed.domains if known not in planned.domains]
    if not gone:
        raise _missing(context, name)
    managed.change(context.paths, lambda config: changes.without_domain(config, name))
    data = {"config_file": str(config.managed_file), "domain": gone[0].to_json()}
    return Report(data, f"the trust domain `{name}` is not known here any more")


def _missing(context: Context, name: str) -> NotFound:
    """Return the error that no command stated it; says where it is from, if it is known."""
    from aperio_cli.models.reading import unknown

    config = context.config
    known = {domain.name: f"stated in {domain.stated_in}" for domain in config.site.domains}
    names = [domain.name for domain in config.managed.domains]
    if name in known:
        why = known[name]
    elif name in config.domain_names:
        why = "it is known without being stated"
    else:
        why = unknown(name, names) if names else "no command stated any"
    return NotFound(
        f"the trust domain `{one_line(name, limit=80)}` is none that a command stated;"
        " nothing was changed",
        why=why,
        next=["`aperio trust domain list` lists all of them"],
    )
