"""`aperio trust local init`: make the trust domain of this machine and one rule for this user."""

from __future__ import annotations

from dataclasses import replace

from aperio_cli.commands.app import local
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.output import Report, pairs


@command(local, "trust", "local", "init", examples=["aperio trust local init"])
def trust_local_init(context: Context) -> Report:
    """Make a trust domain for this machine alone, and trust what this user signs with it.

    It has its own certificate authority, log and timestamps, all held by you: good for
    development, tests and machines without a network. What it signs shows the badge `local` and
    never counts as a verified publisher.
    """
    from aperio_cli.config import changes, load_config, managed
    from aperio_cli.files import writing
    from aperio_cli.models.publisher import (
        ANY_NAMESPACE,
        LOCAL_DOMAIN,
        LOCAL_ISSUER,
        PublisherRule,
    )
    from aperio_cli.signing.local import create_domain

    paths = context.paths
    writing.ensure_own(paths.home)
    with context.output.working("making a trust domain"):
        made = create_domain(paths.local_domain, f"{_login()}@local")
    rule = PublisherRule(
        ANY_NAMESPACE, LOCAL_DOMAIN, made.identity, LOCAL_ISSUER, str(paths.managed_file)
    )
    managed.change(paths, lambda config: changes.with_publisher(config, rule))
    config = load_config(paths)
    path = next(k.stated_in for k in config.user.publishers if k.to_json() == rule.to_json())
    data = {
        "domain": str(paths.local_domain),
        "identity": made.identity,
        "config_file": path,
        "rule": rule.to_json(),
    }
    text = pairs(
        [
            ("trust domain", paths.local_domain),
            ("signs as", made.identity),
            ("rule added to", path),
        ]
    )
    notes = ["next: `aperio plugin sign dist --trust local`"]
    if replace(rule, stated_in=path) not in config.policy.publishers and not config.publisher_files:
        notes.insert(0, f"the rule has no effect: {config.site_file} does not admit it")
    return Report(data, text, notes=tuple(notes))


def _login() -> str:
    """Return this user's login name; its number where the system knows no name, as in containers.

    Raises:
        OSError: there is no number either.
    """
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # as Python 3.11 and as 3.13 say it
        if not hasattr(os, "getuid"):
            raise OSError(str(error)) from error
        return f"uid-{os.getuid()}"
