"""`aperio trust show`: the operator's policy, as it is in force."""

from __future__ import annotations

from aperio_cli.commands.app import trust
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.output import Report, table


@command(trust, "trust", "show")
def trust_show(context: Context) -> Report:
    """Show who may sign which plugins on this machine."""
    rules = context.config.policy.publishers
    has_root = context.paths.local_root.exists()
    data = {
        "config_file": str(context.paths.config_file),
        "publishers": [rule.to_json() | {"source": rule.source} for rule in rules],
        "domains": [{"name": "local", "root": str(context.paths.local_root)}] if has_root else [],
    }
    if not rules:
        text = "nobody is trusted: there is no [[publishers]] rule"
        return Report(data, text, notes=("next: `aperio trust local init`",))
    rows = [(r.namespace, r.domain, r.identity, r.issuer, r.source) for r in rules]
    return Report(data, table(("namespace", "domain", "identity", "issuer", "stated in"), rows))
