"""The options of commands: those that go everywhere, and those that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aperio_cli.commands import completing
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.tenant import why_no_name

if TYPE_CHECKING:
    from aperio_cli.commands.completing import Values

_PANEL = "Everywhere"


def option(
    *names: str,
    help: str,  # noqa: A002 - Typer's own word
    metavar: str | None = None,
    values: Values | None = None,
    panel: str | None = None,
    shows_default: bool = False,
) -> Any:
    """Return an option; what it is without being given is not shown unless that is asked for.

    Args:
        names: such as `--set`; without any, the parameter's own name.
        help: what it is for.
        metavar: the word for its value; None for a flag.
        values: what a shell offers for its value.
        panel: under which heading `--help` shows it.
        shows_default: whether its default is shown.
    """
    return typer.Option(
        *names,
        help=help,
        metavar=metavar,
        show_default=shows_default,
        autocompletion=completing.complete(values) if values else None,
        rich_help_panel=panel,
    )


def tenant(*names: str, help: str, shows_default: bool = False) -> Any:  # noqa: A002 - as above
    """Return an option that names an organization or an integration."""
    return typer.Option(
        *names,
        help=help,
        metavar="ID",
        show_default=shows_default,
        callback=_tenant_name,
    )


def _tenant_name(parameter: typer.CallbackParam, value: str) -> str:
    """Return a name as it was given.

    Raises:
        UsageError: it can be none.
    """
    why = why_no_name(value) if value else ""
    if why:
        raise UsageError(
            f"nothing was done: `{parameter.opts[0]}` names nobody",
            why=why,
            next=["name it as the server does, such as `org_1`, or leave the option out"],
        )
    return value


def argument(help: str, metavar: str, values: Values | None = None) -> Any:  # noqa: A002 - Typer's own word
    """Return an argument without a default that would be shown."""
    return typer.Argument(
        help=help,
        metavar=metavar,
        show_default=False,
        autocompletion=completing.complete(values) if values else None,
    )


def _everywhere(*names: str, help: str, metavar: str | None = None) -> Any:  # noqa: A002 - Typer's own word
    return option(*names, help=help, metavar=metavar, panel=_PANEL)


EVERYWHERE: dict[str, Any] = {
    "json": Annotated[bool, _everywhere("--json", "-j", help="One JSON document on stdout.")],
    "quiet": Annotated[bool, _everywhere("--quiet", "-q", help="Results and errors only.")],
    "verbose": Annotated[bool, _everywhere("--verbose", "-v", help="Say more on stderr.")],
    "home": Annotated[
        str, _everywhere("--home", help="Use this home, not ~/.aperio.", metavar="DIR")
    ],
    "config": Annotated[
        str, _everywhere("--config", help="Read this config.toml.", metavar="FILE")
    ],
    "registry": Annotated[
        str, _everywhere("--registry", help="Read this registry.", metavar="URL_OR_DIR")
    ],
    "offline": Annotated[bool, _everywhere("--offline", help="Use no network at all.")],
    "yes": Annotated[bool, _everywhere("--yes", "-y", help="Consent without being asked.")],
}
"""The options that go with every command, by the name of their parameter."""

# ── what is stated about an artifact ──────────────────────────────────────────────────────────────

Bundle = Annotated[str, option(help="The bundle, when it is elsewhere.", metavar="FILE")]
Attestations = Annotated[
    str, option(help="Statements about it, when they are elsewhere.", metavar="FILE")
]

# ── how to sign ───────────────────────────────────────────────────────────────────────────────────

Trust = Annotated[
    str,
    option(
        help="Who certifies: public, Sigstore's instance for everybody; its staging; local, this"
        " machine's own domain; one of config.toml's domains; or a file, a private instance's"
        " trust configuration.",
        metavar="DOMAIN",
        values=completing.domains,
        shows_default=True,
    ),
]
IdentityToken = Annotated[
    str,
    option(
        help="An OIDC identity token; - reads it from stdin, out of sight of other processes.",
        metavar="TOKEN",
    ),
]
OutOfBand = Annotated[
    bool, option("--oob", help="Log in with a code, without a browser on this machine.")
]

# ── what a plugin is run with ─────────────────────────────────────────────────────────────────────

Settings = Annotated[
    list[str] | None,
    option(
        "--set",
        help="A setting; VALUE may be env:NAME, file:PATH or keyring:NAME.",
        metavar="KEY=VALUE",
    ),
]
PluginConfig = Annotated[str, option(help="Settings in a .toml or .json file.", metavar="FILE")]
Action = Annotated[str, option(help="remediation: which action.", metavar="ACTION")]
Target = Annotated[str, option("--target", help="remediation: on what.", metavar="TARGET")]
Parameters = Annotated[
    list[str] | None,
    option(help="remediation: a parameter of the action.", metavar="KEY=VALUE"),
]

TargetType = Annotated[str, option(help="remediation: what a target is.", metavar="TYPE")]
Facts = Annotated[
    list[str] | None,
    option("--context", help="execute: a fact that the action asks for.", metavar="KEY=VALUE"),
]
Approval = Annotated[
    str, option("--approval", help="execute: where the approval is recorded.", metavar="REFERENCE")
]
ApprovalHash = Annotated[
    str, option("--approval-sha256", help="execute: what was approved.", metavar="HEX")
]

# ── exceptions, registries ────────────────────────────────────────────────────────────────────────

Rule = Annotated[
    str,
    option(
        help="unsigned, unverified, revoked or limit:NAME.",
        metavar="RULE",
        values=completing.rules,
    ),
]
Reason = Annotated[str, option(help="Why, for whoever asks.", metavar="TEXT")]
Directory = Annotated[str, option("--dir", help="The registry.", metavar="DIR", shows_default=True)]
