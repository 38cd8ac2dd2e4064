"""`aperio plugin verify`: everything `install` would check, without installing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.options import Attestations, Bundle, argument
from aperio_cli.context import Context
from aperio_cli.output import Report, pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.verifying.decide import AdmittedArtifact


@command(
    plugin,
    "plugin",
    "verify",
    examples=[
        "aperio plugin verify aperio-plugin-hello/dist/hello-connector_0.1.0_linux_amd64.tar.gz"
    ],
)
def plugin_verify(
    context: Context,
    source: Annotated[
        str,
        argument(
            metavar="ARTIFACT|PLUGIN|URL",
            help="A file, an id, or an artifact's https address.",
        ),
    ],
    *,
    bundle: Bundle = "",
    attestations: Attestations = "",
) -> Report:
    """Check all that `install` checks, and install nothing.

    An artifact for another machine is verified, too: whoever publishes it checks it on theirs.
    """
    from aperio_cli.commands.plugin.arguments import find_source, verify_source
    from aperio_cli.installing import check_replacement
    from aperio_cli.verifying import VERIFY

    with (
        context.output.working(f"verifying `{source}`"),
        verify_source(
            context,
            find_source(context, source, VERIFY),
            bundle=bundle,
            attestations=attestations,
            deed=VERIFY,
        ) as admitted,
    ):
        is_for_here = admitted.artifact.platform == context.platform
        if is_for_here:  # another platform's takes no version's place here
            check_replacement(admitted, context.store)
        data = describe(admitted) | {"is_for_this_machine": is_for_here}
    rows = [
        ("plugin", f"{data['id']} {data['version']} ({data['kind']}, {data['platform']})"),
        ("offered by", data["source"]),
        ("digest", f"sha256:{data['sha256']}"),
        *_trust(data),
        ("asks for egress", " ".join(data["permissions"]["egress"]) or "nothing"),
    ]
    note = "it would be installed"
    if not is_for_here:
        note = f"it is for {data['platform']}, not for this machine ({context.platform})"
    return Report(data, pairs(rows), notes=(note,))


def _trust(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for exception in (data["exception"], *data["exceptions"]):
        if exception:
            granted = f"{exception['rule']} until {exception['until']}: {exception['reason']}"
            yield "exception", granted
    if not data["signer"]:
        yield "signed by", "nobody"
        return
    signer, proof = data["signer"], data["proof"]
    yield "signed by", signer["identity"]
    yield "vouched for by", signer["issuer"]
    yield "signed at", f"{signer['signed_at']} (trust domain {signer['domain']})"
    if entry := proof["log_entry"]:
        yield "log entry", f"{entry['index']} of {entry['tree_size']} in {entry['log']}"
    root = proof["root"]
    as_of = [f"as of {root['as_of']}"] if root["as_of"] else []
    yield "trusted root", ", ".join(dict.fromkeys((root["name"], root["origin"], *as_of)))
    for attestation in proof["attestations"]:
        maker = attestation["signer"]["identity"]
        by = "" if maker == signer["identity"] else f" (by {maker})"
        yield "attested", attestation["predicate_type"] + by
        if provenance := attestation["provenance"]:
            yield "  built by", provenance["builder"]
            source = f"{provenance['source_repository']} {provenance['source_sha']}".strip()
            yield "  from", source or "no source is stated"
    yield "admitted by", f"the rule for `{data['rule']['namespace']}` in {data['rule_source']}"


def describe(admitted: AdmittedArtifact) -> dict[str, Any]:
    """Return what reports say about an admitted artifact."""
    from aperio_cli.models.evidence import Verified, evidence_to_json

    manifest = admitted.artifact.manifest
    evidence = admitted.evidence
    return {
        "id": str(manifest.id),
        "version": manifest.version,
        "kind": manifest.kind,
        "platform": str(admitted.artifact.platform),
        "sha256": admitted.artifact.digest.hex,
        "size": admitted.artifact.size,
        "source": admitted.offer.source,
        "badge": admitted.badge,
        **evidence_to_json(evidence),
        "rule_source": evidence.rule.stated_in if isinstance(evidence, Verified) else "",
        "exceptions": [exception.to_json() for exception in admitted.judgement.lifted],
        "permissions": {
            "scopes": list(manifest.scopes),
            "egress": list(manifest.egress),
            "egress_from_config": [
                {"field": rule.field, "suffix": rule.suffix, "port": rule.port}
                for rule in manifest.egress_from_config
            ],
            "folders_from_config": list(manifest.folders_from_config),
            "limits": manifest.limits.to_json(),
            "state": manifest.state,
        },
    }
