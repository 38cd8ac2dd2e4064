"""`aperio trust publisher list`: the rules that configuration files state."""

from __future__ import annotations

from aperio_cli.commands.app import publisher
from aperio_cli.commands.common import command
from aperio_cli.commands.trust.rows import publisher_row, publishers_text
from aperio_cli.context import Context
from aperio_cli.output import Report


@command(publisher, "trust", "publisher", "list", examples=["aperio trust publisher list"])
def trust_publisher_list(context: Context) -> Report:
    """List the rules about who may sign, each with the file that states it.

    Publisher files' rules, and what the site leaves of yours, are in `aperio trust show`.
    """
    config = context.config
    rules = (*config.site.publishers, *config.user.publishers)
    rows = [publisher_row(config, rule) for rule in rules]
    text = publishers_text(rows) if rows else "no configuration file states a publisher"
    return Report({"publishers": rows}, text)
