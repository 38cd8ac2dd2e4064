"""`aperio plugin why`: the trust in one installed plugin, on one screen."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.parsing import complete_installed
from aperio_cli.context import Context
from aperio_cli.errors.usage import UsageError
from aperio_cli.output import Report, pairs
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.errors import AperioError
    from aperio_cli.models.receipt import Receipt

_Rows = list[tuple[str, object]]
# What a CI service's certificate says of a build, as people call it; in the order of reading.
_BUILD = {
    "source_repository_uri": "repository",
    "source_repository_identifier": "repository id",
    "source_repository_owner_identifier": "owner id",
    "build_config_uri": "workflow",
    "source_repository_ref": "ref",
    "source_repository_digest": "commit",
    "runner_environment": "runner",
}


@command(plugin, "plugin", "why")
def plugin_why(
    context: Context,
    plugin: Annotated[
        str,
        typer.Argument(
            metavar="PLUGIN",
            help="An installed plugin: id or id@VERSION.",
            autocompletion=complete_installed,
            show_default=False,
        ),
    ],
    *,
    organization: Annotated[
        str,
        typer.Option("--org", help="Judge by what this organization requires.", metavar="ID"),
    ] = "local",
) -> Report:
    """Explain why an installed plugin may run, or may not: who signed, what proves it, which rule.

    The rules are those in force now, asked as before a launch; the files are not hashed again.
    """
    from aperio_cli.models.plugin_id import PluginRef, is_path

    if is_path(plugin):
        raise UsageError(
            f"`{clean(plugin)}` was not explained: `why` is about what is installed",
            why="expected the id of an installed plugin, found a path",
            next=[f"for an artifact: `aperio plugin verify {shlex.quote(plugin)}`"],
        )
    receipt = context.store.get(PluginRef.parse(plugin))
    data = _explain(context, receipt, organization)
    text = pairs([(name, value) for name, value in _rows(data) if value not in {"", None}])
    return Report(
        data,
        text,
        notes=("files are hashed again before each start, and by `aperio plugin list --check`",),
    )


def _explain(context: Context, receipt: Receipt, organization: str) -> dict[str, Any]:
    from aperio_cli.models.evidence import evidence_to_json
    from aperio_cli.store.installed import read_checks

    evidence = evidence_to_json(receipt.evidence)
    check = read_checks(context.paths.checks(receipt.id)).get(receipt.version)
    refusal = _refusal(context, receipt, organization)
    policy = context.policy
    return {
        "id": str(receipt.id),
        "version": receipt.version,
        "kind": receipt.kind,
        "platform": receipt.platform,
        "badge": receipt.badge,
        "may_run": refusal is None,
        "refusal": refusal.to_json() if refusal else None,
        "required": policy.required(organization),
        "signer": evidence["signer"],
        "proof": evidence["proof"],
        "root_now": _root_now(context, receipt),
        "rule": evidence["rule"],
        "rule_source": _rule_source(context, receipt),
        "exceptions": _exceptions(context, receipt),
        "source": receipt.source,
        "index_serial": receipt.index_serial,
        "installed_at": receipt.installed_at,
        "artifact_sha256": receipt.artifact_digest.hex,
        "tree_digest": receipt.tree_digest,
        "last_check": check.to_json() if check else None,
    }


def _refusal(context: Context, receipt: Receipt, organization: str) -> AperioError | None:
    """Why it would not be started now; None when it would."""
    from aperio_cli import clock
    from aperio_cli.errors import AperioError
    from aperio_cli.verifying.decide import check_receipt

    today = clock.now().date()
    outcome = "would not be started"
    try:
        check_receipt(
            receipt, context.policy, organization=organization, today=today, outcome=outcome
        )
    except AperioError as refusal:
        return refusal
    return None


def _rule_source(context: Context, receipt: Receipt) -> str | None:
    """The file that states a rule which admits the signer now; None when no rule does."""
    from aperio_cli.models.evidence import proof_of

    proof = proof_of(receipt.evidence)
    if proof is None:
        return None
    rules = context.policy.rules_for(receipt.id)
    return next((r.source for r in rules if r.admits(proof.signer, receipt.version)), None)


def _exceptions(context: Context, receipt: Receipt) -> list[dict[str, str]]:
    """What the operator excepts the plugin from: granted at install, or in the configuration."""
    from aperio_cli.models.evidence import ExceptionGranted

    recorded = receipt.evidence
    granted = [recorded.to_json()] if isinstance(recorded, ExceptionGranted) else []
    stated = [
        exception.to_json()
        for exception in context.policy.exceptions
        if exception.plugin == receipt.id and exception.version in {"", receipt.version}
    ]
    return [*granted, *stated]


def _root_now(context: Context, receipt: Receipt) -> dict[str, Any] | None:
    """The trusted root of the signer's domain as it is on this machine now."""
    from aperio_cli import clock
    from aperio_cli.models.evidence import proof_of
    from aperio_cli.trust.roots import root_age

    proof = proof_of(receipt.evidence)
    if proof is None:
        return None
    for root in context.trusted_roots:
        if root.name == proof.signer.domain:
            return root.facts.to_json() | {"age": root_age(root, clock.now())}
    return None


# ── one screen ────────────────────────────────────────────────────────────────────────────────────


def _rows(data: dict[str, Any]) -> Iterator[tuple[str, object]]:
    yield "plugin", f"{data['id']} {data['version']} ({data['kind']}, {data['platform']})"
    refusal = data["refusal"]
    yield "may run", "yes" if refusal is None else f"NO: {refusal['code']}"
    if refusal:
        for line in (refusal["what"], *refusal["why"].splitlines()):
            yield "", line
        for step in refusal["next"]:
            yield "  next", step
    yield "badge", f"{data['badge']} ({data['required']} is required)"
    yield from _signer_rows(data["signer"])
    yield from _proof_rows(data["proof"] or {}, data["root_now"])
    yield from _rule_rows(data)
    yield "installed from", data["source"] + _edition(data["index_serial"])
    yield "installed at", data["installed_at"]
    yield "artifact", f"sha256:{data['artifact_sha256']}"
    yield "files", data["tree_digest"]
    check = data["last_check"]
    outcome = f"{'ok' if check['ok'] else 'FAILED'} {check['at']}" if check else "never"
    yield "last launch check", outcome


def _edition(serial: int | None) -> str:
    return "" if serial is None else f" (index serial {serial})"


def _signer_rows(signer: dict[str, Any] | None) -> Iterator[tuple[str, object]]:
    if signer is None:
        yield "signed by", "nobody"
        return
    yield "signed by", signer["identity"]
    yield "vouched for by", signer["issuer"]
    for claim, name in _BUILD.items():
        yield f"  {name}", signer["claims"].get(claim, "")
    yield "signed at", f"{signer['signed_at']} (trust domain {signer['domain']})"


def _proof_rows(
    proof: dict[str, Any], root_now: dict[str, Any] | None
) -> Iterator[tuple[str, object]]:
    if entry := proof.get("log_entry"):
        yield "log entry", f"{entry['index']} of {entry['tree_size']} in {entry['log']}"
    if (root := proof.get("root")) and root["sha256"]:
        yield "trusted root", ", ".join(dict.fromkeys((root["name"], root["origin"])))
        yield "  digest", f"sha256:{root['sha256']}"
    if root_now:
        yield "  on this machine", f"{root_now['origin']}, {root_now['age']}"
    for attestation in proof.get("attestations", ()):
        yield "attested", attestation["predicate_type"]
        if provenance := attestation["provenance"]:
            yield "  builder", provenance["builder"]
            yield "  source", provenance["source_repository"]
            yield "  commit", provenance["source_sha"]


def _rule_rows(data: dict[str, Any]) -> Iterator[tuple[str, object]]:
    if rule := data["rule"]:
        place = data["rule_source"]
        stated = f"in {place}" if place else "which is not in force any more"
        yield "admitted by", f"the rule for `{rule['namespace']}`, {stated}"
    for exception in data["exceptions"]:
        named = f"{exception['rule']} until {exception['until']}: {exception['reason']}"
        yield "exception", named
