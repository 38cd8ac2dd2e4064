"""`aperio trust domain list`: the trust domains that rules may name."""

from __future__ import annotations

from aperio_cli.commands.app import domain
from aperio_cli.commands.common import command
from aperio_cli.commands.trust.rows import domain_row, domains_text
from aperio_cli.context import Context
from aperio_cli.output import Report


@command(domain, "trust", "domain", "list", examples=["aperio trust domain list"])
def trust_domain_list(context: Context) -> Report:
    """List the trust domains: how old the root of each is, and which file states it."""
    rows = [domain_row(context, root) for root in context.trusted_roots]
    return Report({"domains": rows}, domains_text(rows))
