"""`aperio plugin why`: the trust in one installed plugin, on one screen."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import argument, tenant
from aperio_cli.context import Context
from aperio_cli.errors import DONE
from aperio_cli.errors.usage import UsageError
from aperio_cli.output import Report, pairs

if TYPE_CHECKING:
    from collections.abc import Iterator


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


@command(plugin, "plugin", "why", examples=["aperio plugin why acme/hello-connector"])
def plugin_why(
    context: Context,
    plugin: Annotated[
        str,
        argument(
            metavar="PLUGIN",
            help="An installed plugin: id or id@VERSION.",
            values=installed,
        ),
    ],
    *,
    organization: Annotated[
        str,
        tenant("--org", help="Judge by what this organization requires.", shows_default=True),
    ] = "local",
) -> Report:
    """Explain why an installed plugin may run, or may not: who signed, what proves it, which rule.

    It asks what `run` asks before it starts anything; when the answer is no, the exit status is
    that refusal's. The files are not hashed again.
    """
    from aperio_cli.files.naming import is_path, parse_ref
    from aperio_cli.models.address import is_address, shown
    from aperio_cli.running.explaining import explain

    if is_address(plugin) or is_path(plugin):
        raise UsageError(
            f"`{shown(plugin)}` was not explained: `why` is about what is installed",
            why="expected the id of an installed plugin, found a path",
            next=[f"for an artifact: `aperio plugin verify {shlex.quote(shown(plugin))}`"],
        )
    receipt = context.store.get(parse_ref(plugin))
    found = explain(context.collaborators, receipt, context.trusted_roots, organization)
    data = found.to_json()
    text = pairs([(name, value) for name, value in _rows(data) if value not in {"", None}])
    return Report(
        data,
        text,
        notes=("files are hashed again before each start, and by `aperio plugin list --check`",),
        exit_status=found.refusal.exit_status if found.refusal else DONE,
    )


# ── one screen ────────────────────────────────────────────────────────────────────────────────────


def _rows(data: dict[str, Any]) -> Iterator[tuple[str, object]]:
    yield "plugin", f"{data['id']} {data['version']} ({data['kind']}, {data['platform']})"
    refusal = data["refusal"]
    yield "may run", _verdict(refusal, data["last_check"])
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
    if status := data["registry_status"]:
        yield "registry says", _told(status)
    if log := data["log_proof"]:
        yield "registry's log", f"entry {log['index']} of {log['size']} in {log['origin']}"
        yield "  root hash", log["root"]
    yield "installed at", data["installed_at"]
    yield "artifact", f"sha256:{data['artifact_sha256']}"
    yield "files", data["tree_digest"]
    check = data["last_check"]
    outcome = f"{'ok' if check['ok'] else 'FAILED'} {check['at']}" if check else "never"
    yield "last launch check", outcome
    yield from _limit_rows(data)


def _limit_rows(data: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield in which sandbox it would be started here, and who would keep which limit."""
    yield "sandbox", data["sandbox"]
    for level, name in (
        ("kernel", "by the kernel"),
        ("polled", "polled"),
        ("none", "not enforced"),
    ):
        yield f"  {name}", " ".join(e["limit"] for e in data["limits"] if e["level"] == level)


def _verdict(refusal: dict[str, Any] | None, check: dict[str, Any] | None) -> str:
    """Return whether it may run; a plain yes would mislead where its files were found changed."""
    if refusal is not None:
        return f"NO: {refusal['code']}"
    if check is None or check["ok"]:
        return "yes"
    return "by your rules, if its files are again what they were: their last check FAILED"


def _told(status: dict[str, Any]) -> str:
    instead = f"; use {status['replacement']}" if status.get("replacement") else ""
    return f"{status['state']} since {status['at']}: {status['reason']}{instead}"


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
        yield "admitted by", f"the rule for `{rule['namespace']}`, in {data['rule_source']}"
    elif rule := data["rule_at_install"]:
        yield "was admitted by", f"a rule for `{rule['namespace']}`, which does not admit it now"
    for exception in data["exceptions"]:
        named = f"{exception['rule']} until {exception['until']}: {exception['reason']}"
        yield "exception", named
