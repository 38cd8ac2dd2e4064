"""Trust: domains, credentials, signatures, and the rules that judge them."""

from __future__ import annotations

from aperio_cli.errors import UNAVAILABLE, AperioError, Refusal


class TrustDomainExists(AperioError):
    """There is a local trust domain already; it was left as it is."""

    code = "trust-domain-exists"


class TrustDomainMissing(AperioError):
    """There is no local trust domain; `aperio trust local init` makes one."""

    code = "trust-domain-missing"


class TrustDomainBroken(AperioError):
    """A file of the local trust domain is missing, damaged, or readable by other users."""

    code = "trust-domain-broken"


class TrustDomainInUse(AperioError):
    """Rules name the trust domain, so it was not removed; they could not be read without it."""

    code = "trust-domain-in-use"


class IdentityInvalid(AperioError):
    """A local identity is `<login>@local`, of letters, digits and `.`, `_`, `-`, `+`."""

    code = "identity-invalid"


class ArtifactChanged(AperioError):
    """An artifact was changed between being read and being signed; nothing was signed."""

    code = "artifact-changed"


class SigningFailed(AperioError):
    """A service that signing needs refused or did not answer; no bundle was written."""

    code = "signing-failed"


class CredentialMissing(AperioError):
    """Nothing here can say who signs: no token, no credential of a CI service, no terminal."""

    code = "credential-missing"


class IdentityTokenInvalid(AperioError):
    """The identity token is not one, is for somebody else's service, or is out of date."""

    code = "identity-token-invalid"


class SigningTimeout(AperioError):
    """Signing, or the login before it, took longer than it may; no bundle was written."""

    code = "signing-timeout"
    exit_status = UNAVAILABLE


class TrustRootMissing(Refusal):
    """There is no trusted root to check signatures against."""

    code = "trust-root-missing"


class TrustRootInvalid(Refusal):
    """A trusted root cannot be read, so nothing can be checked against it."""

    code = "trust-root-invalid"


class TrustRefreshFailed(AperioError):
    """A TUF repository could not be reached or lacks something; the trusted root is as it was."""

    code = "trust-refresh-failed"
    exit_status = UNAVAILABLE


class TrustRefreshRefused(Refusal):
    """A TUF repository served what it must not: old, expired, unsigned or changed metadata."""

    code = "trust-refresh-refused"


class BundleMalformed(Refusal):
    """A file beside the artifact is not a Sigstore bundle, or is too long for one."""

    code = "bundle-malformed"


class TrustDomainUnknown(Refusal):
    """The bundle comes from a trust domain that this machine has no root of."""

    code = "trust-domain-unknown"


class SignatureInvalid(Refusal):
    """A bundle does not prove that anyone this machine trusts signed the artifact."""

    code = "signature-invalid"


class ClockSuspect(Refusal):
    """A signature, or a root, is of a time that is yet to come: this machine's clock is suspect."""

    code = "clock-suspect"


class SignatureDigestMismatch(Refusal):
    """A bundle is a valid signature, but of another file."""

    code = "signature-digest-mismatch"


class AttestationMalformed(Refusal):
    """A line beside the artifact is no signed statement about it, or cannot be understood."""

    code = "attestation-malformed"


class VerifierCrashed(Refusal):
    """Checking a signature ended in an unforeseen error, which counts as a refusal."""

    code = "verifier-crashed"


class SignatureMissing(Refusal):
    """There is no Sigstore bundle for the artifact, so nobody is known to stand behind it."""

    code = "signature-missing"


class PublisherUnknown(Refusal):
    """Somebody signed the artifact, and no rule of yours says who may sign for its namespace."""

    code = "publisher-unknown"


class SignatureIdentityMismatch(Refusal):
    """Somebody signed the artifact who is not the publisher that your rule names."""

    code = "signature-identity-mismatch"


class PublisherUnverified(Refusal):
    """Verified publishers are required here, and the plugin's is not one of them."""

    code = "publisher-unverified"


class ProvenanceMissing(Refusal):
    """Signed provenance is required, and none by the plugin's publisher came with it."""

    code = "provenance-missing"


class ProvenanceMismatch(Refusal):
    """The artifact's provenance says another builder, source or author than your rules demand."""

    code = "provenance-mismatch"


class SiteForbids(Refusal):
    """The site's configuration does not allow it: yours may tighten what the site says, only."""

    code = "site-forbids"


class PublisherFileInvalid(Refusal):
    """A file that states publishers cannot be used: unsigned, changed, ended, older than before."""

    code = "publisher-file-invalid"


class PublisherUnfit(Refusal):
    """The signer cannot be written as a rule that would mean this publisher and nobody else."""

    code = "publisher-unfit"
