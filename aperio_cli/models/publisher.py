"""Publishers: who signed, and the operator's rules about who may sign."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aperio_cli.models.plugin_id import PluginId

ANY_NAMESPACE = "*"
# The trust domain that `aperio trust local init` makes. Its issuer is a name that never resolves
# (RFC 2606, `.invalid`), so a rule for it cannot come to mean somebody else's server.
LOCAL_DOMAIN = "local"
LOCAL_ISSUER = "https://oidc.local.aperio.invalid"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who a cryptographically valid bundle says signed: fields of its certificate and its time.

    Attributes:
        domain: name of the trust root that the bundle verified against, such as `local`.
        identity: the certificate's only subject alternative name.
        issuer: who vouched for the identity (Fulcio OID 1.3.6.1.4.1.57264.1.8).
        signed_at: the verified timestamp, RFC 3339 in UTC.
        certificate_digest: sha256 of the leaf certificate, 64 hex digits.
        claims: other Fulcio claims of the certificate by name, in the order of their OIDs.
    """

    domain: str
    identity: str
    issuer: str
    signed_at: str
    certificate_digest: str
    claims: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, object]:
        """The signer as receipts and reports carry it."""
        return {
            "domain": self.domain,
            "identity": self.identity,
            "issuer": self.issuer,
            "signed_at": self.signed_at,
            "certificate_sha256": self.certificate_digest,
            "claims": dict(self.claims),
        }


@dataclass(frozen=True, slots=True)
class PublisherRule:
    """One `[[publishers]]` rule of the operator: who may sign for a namespace.

    Attributes:
        namespace: a namespace, or `*` for every namespace that has no rule of its own.
        domain: name of the trust root that must have verified the bundle.
        identity: the exact identity; never a pattern.
        issuer: the exact issuer.
        source: file that states the rule, for messages.
    """

    namespace: str
    domain: str
    identity: str
    issuer: str
    source: str

    def covers(self, plugin: PluginId) -> bool:
        """Whether the rule speaks about this plugin."""
        return self.namespace in {ANY_NAMESPACE, plugin.namespace}

    def admits(self, signer: Signer) -> bool:
        """Whether this signer is the one that the rule names, field by field."""
        return (signer.domain, signer.identity, signer.issuer) == (
            self.domain,
            self.identity,
            self.issuer,
        )

    def to_json(self) -> dict[str, object]:
        """The rule as reports carry it."""
        return {
            "namespace": self.namespace,
            "domain": self.domain,
            "identity": self.identity,
            "issuer": self.issuer,
        }

    def to_toml(self) -> str:
        """The rule as lines of config.toml, without a line end behind the last."""
        # What JSON writes for a printable string is a TOML basic string too.
        lines = (f"{key} = {json.dumps(text)}" for key, text in self.to_json().items())
        return "\n".join(["[[publishers]]", *lines])
