"""Every error that aperio reports: its code, what happened, why, what to do next, exit status.

One class per cause. `docs/reference/errors.md` is generated from this module: the class docstring
is what the catalogue says, so it is written for the person who meets the error.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DONE = 0
NOT_DONE = 1
USAGE = 2
REFUSED = 3
UNAVAILABLE = 4
PLUGIN_FAILED = 5
INCOMPATIBLE = 6
INTERRUPTED = 130

_KEPT_CONTROLS = frozenset("\n\t")
_C1_CONTROL = re.compile("[\x80-\x9f]")


def clean(text: object, *, limit: int = 400) -> str:
    """Outside text made safe to show: no control, format or bidirectional characters, bounded.

    Args:
        text: anything; bytes are decoded as UTF-8 with replacement.
        limit: the longest result in characters; a longer text ends in an ellipsis.
    """
    raw = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    raw = raw[: limit * 4]
    safe = "".join(
        character
        if character in _KEPT_CONTROLS or unicodedata.category(character)[0] != "C"
        else "\N{REPLACEMENT CHARACTER}"
        for character in raw
    )
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def one_line(text: object, *, limit: int = 400) -> str:
    """Outside text as `clean` gives it, and without a line end by which it could look like ours."""
    return clean(text, limit=limit).replace("\n", " ")


def escape_controls(json_text: str) -> str:
    """Valid JSON text of the same value, without control characters that a terminal may obey.

    Those are U+0080 to U+009F, which only strings can hold; below U+0020 JSON (RFC 8259, section 7)
    has no raw ones.
    """
    if json_text.isascii():
        return json_text
    return _C1_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)


class AperioError(Exception):
    """The base of every error that aperio reports to people.

    Attributes:
        code: stable kebab-case name of the cause.
        exit_status: what the process ends with (CLI.md).
        what: starts with the thing the user named and says what state it was left in.
        why: evidence; expected and received; may have several lines.
        next: what to do, easiest first; a command stands in backticks.
    """

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = NOT_DONE

    def __init__(self, what: str, *, why: str = "", next: Sequence[str] = ()) -> None:  # noqa: A002 - the field's name in the JSON contract
        super().__init__(what)
        self.what = one_line(what, limit=2000)
        self.why = clean(why, limit=8000)
        self.next = tuple(clean(step, limit=2000) for step in next)

    def to_json(self) -> dict[str, object]:
        """The error as the `errors` entry of the JSON envelope: code, what, why, next."""
        return {"code": self.code, "what": self.what, "why": self.why, "next": list(self.next)}


class Refusal(AperioError):
    """A refusal for safety: what was asked for was not done because it could not be shown safe."""

    code = "refused"
    exit_status = REFUSED


def catalogue() -> Iterator[type[AperioError]]:
    """Every concrete error class of this module, in the order of its code.

    A class that defines its own `code` is concrete; a class without one only groups others.
    """
    found: dict[str, type[AperioError]] = {}
    pending: list[type[AperioError]] = [AperioError]
    while pending:
        current = pending.pop()
        pending.extend(current.__subclasses__())
        if "code" in vars(current) and current not in {AperioError, Refusal}:
            found[current.code] = current
    return iter(found[code] for code in sorted(found))


# ── wrong usage, input and output, places ─────────────────────────────────────────────────────────


class UsageError(AperioError):
    """The command line does not say something that can be done."""

    code = "usage"
    exit_status = USAGE


class ConsentMissing(AperioError):
    """A question has to be answered, and there is no terminal to ask it on."""

    code = "consent-missing"


class ConfigurationInvalid(AperioError):
    """aperio's own configuration file cannot be read or says something unknown."""

    code = "configuration-invalid"
    exit_status = USAGE


class PluginIdInvalid(AperioError):
    """A plugin id is `namespace/name`, lower-case letters, digits and hyphens only."""

    code = "plugin-id-invalid"
    exit_status = USAGE


class VersionInvalid(AperioError):
    """A version is semantic versioning 2.0, without build metadata."""

    code = "version-invalid"
    exit_status = USAGE


class NotFound(AperioError):
    """A file or folder that was named is not there, or is not what the command works on."""

    code = "not-found"


class PlaceUnusable(AperioError):
    """A file or folder that aperio needs is closed to this user, or on a disk for reading only."""

    code = "place-unusable"


class Interrupted(AperioError):
    """Somebody pressed Ctrl-C; what the command had half done was undone."""

    code = "interrupted"
    exit_status = INTERRUPTED


class InternalError(AperioError):
    """A bug in aperio: the traceback was saved, and the message says where."""

    code = "internal-error"


# ── scaffold and build: projects, manifests, artifacts ────────────────────────────────────────────


class FolderNotEmpty(AperioError):
    """`plugin init` writes into a new or empty folder only."""

    code = "folder-not-empty"


class ProjectInvalid(AperioError):
    """The folder is not a plugin project: it has no manifest.yaml, or a named file is missing."""

    code = "project-invalid"


class ManifestInvalid(AperioError):
    """manifest.yaml cannot be read, lacks a key, or has an unknown or badly formed one."""

    code = "manifest-invalid"


class ManifestKindUnknown(AperioError):
    """The manifest's `kind` is none of connector, remediation and destination."""

    code = "manifest-kind-unknown"


class ModuleInvalid(AperioError):
    """`plugin init` takes a module path such as github.com/acme/aperio-plugin-box, and no other."""

    code = "module-invalid"
    exit_status = USAGE


class SecretInProject(Refusal):
    """A file of the project looks like a credential, and what is built is made to be published."""

    code = "secret-in-project"


class LockInvalid(AperioError):
    """requirements.lock is missing, or a line of it is not one pinned version with its hashes."""

    code = "lock-invalid"


class BuildDependencyUnavailable(AperioError):
    """No wheel of a locked dependency fits the interpreter and the platform built for."""

    code = "build-dependency-unavailable"


class BuildDependencyFailed(AperioError):
    """The locked dependencies could not be installed, for a reason that pip gives."""

    code = "build-dependency-failed"


class DependencyDigestMismatch(Refusal):
    """A downloaded dependency is not the one that requirements.lock names; it was not used."""

    code = "dependency-digest-mismatch"


class RuntimeUnsupported(AperioError):
    """This version of aperio cannot build the manifest's runtime, or not for that platform."""

    code = "runtime-unsupported"


class GoToolchainMissing(AperioError):
    """A Go plugin can be built only where Go is installed, as new as its go.mod asks for."""

    code = "go-toolchain-missing"


class GoModulesUnpinned(AperioError):
    """go.mod and go.sum of a Go plugin do not pin every module that it imports."""

    code = "go-modules-unpinned"


class GoBuildFailed(AperioError):
    """A Go plugin does not compile; what go says stands in the message."""

    code = "go-build-failed"


class InterpreterNotDeclared(AperioError):
    """The interpreter is none of those that the manifest's `runtime.tags` declares."""

    code = "interpreter-not-declared"
    exit_status = INCOMPATIBLE


class BuildNotReproducible(AperioError):
    """Building the same project twice gave different bytes."""

    code = "build-not-reproducible"


# ── store and launch ──────────────────────────────────────────────────────────────────────────────


class ReceiptInvalid(Refusal):
    """The record of an installed version cannot be read, so what it runs cannot be checked."""

    code = "receipt-invalid"


class NotInstalled(AperioError):
    """The plugin, or that version of it, is not installed."""

    code = "not-installed"


# ── run: the plugin's process, its calls, its stored state ────────────────────────────────────────


class PluginFault(AperioError):
    """The base of what a plugin did wrong; it has been stopped."""

    exit_status = PLUGIN_FAILED


class HandshakeMalformed(PluginFault):
    """The plugin's first line on stdout is not a go-plugin handshake."""

    code = "handshake-malformed"


class HandshakeTooLong(PluginFault):
    """The plugin printed 64 KiB on stdout without ending its first line."""

    code = "handshake-too-long"


class HandshakeTimeout(PluginFault):
    """The plugin started and did not print its handshake in time."""

    code = "handshake-timeout"


class HandshakeAddressRefused(PluginFault):
    """The plugin's handshake names an address that is not a socket in its own private folder."""

    code = "handshake-address-refused"


class PluginExitedEarly(PluginFault):
    """The plugin ended, or closed its stdout, before it printed its handshake."""

    code = "plugin-exited-early"


class PluginNotExecutable(PluginFault):
    """The system could not execute the plugin at all."""

    code = "plugin-not-executable"


class PluginNotHealthy(PluginFault):
    """The plugin printed its handshake, and then did not answer its health check."""

    code = "plugin-not-healthy"


class PluginCrashed(PluginFault):
    """The plugin's process ended while it was at work."""

    code = "plugin-crashed"


class PluginDeadlineExceeded(PluginFault):
    """The plugin did not answer a call in time."""

    code = "plugin-deadline-exceeded"


class PluginReportedError(PluginFault):
    """The plugin answered a call with an error of its own, shown with its diagnostics."""

    code = "plugin-reported-error"


class PluginUnauthenticated(PluginReportedError):
    """The service that the plugin reads refuses the credentials in use."""

    code = "plugin-unauthenticated"


class PluginContractBroken(PluginFault):
    """The plugin sent something that the plugin interface does not allow."""

    code = "plugin-contract-broken"


class InterpreterChanged(AperioError):
    """The Python that a plugin was installed for is gone, or is another version now."""

    code = "interpreter-changed"
    exit_status = INCOMPATIBLE


class PluginConfigInvalid(AperioError):
    """A configuration key of a plugin is missing, unknown or of a wrong type."""

    code = "plugin-config-invalid"
    exit_status = USAGE


class TokenUrlRefused(Refusal):
    """The address to ask for tokens is not one that the plugin's manifest permits."""

    code = "token-url-refused"


class TokenRefused(AperioError):
    """The service did not give a token for the client id and secret in the configuration."""

    code = "token-refused"


class TokenUnavailable(AperioError):
    """The service that gives tokens could not be reached, or answered something unusable."""

    code = "token-unavailable"
    exit_status = UNAVAILABLE


class StateUnreadable(AperioError):
    """The database of checkpoints and stored values cannot be read or written."""

    code = "state-unreadable"


class StateLimit(AperioError):
    """A key, a value or a whole slice of the key-value store is larger than allowed."""

    code = "state-limit"


class StateConflict(AperioError):
    """A conditional write to the key-value store found another revision than it asked for."""

    code = "state-conflict"


# ── files, archives and downloads ─────────────────────────────────────────────────────────────────


class DiskFull(AperioError):
    """The disk, or this user's quota, is full; what was half written has been removed."""

    code = "disk-full"


class LockHeld(AperioError):
    """Another aperio process is changing the same thing and did not finish in time."""

    code = "locked"


class FileTooLarge(AperioError):
    """A file is longer than any file of its kind has to be, so it was not read."""

    code = "file-too-large"


class FileNotRegular(Refusal):
    """A link, a folder, a pipe or a device stands where a regular file, or a folder, has to."""

    code = "file-not-regular"


class FolderNotPrivate(Refusal):
    """A folder that has to be this user's alone is a link, or is open to somebody else."""

    code = "folder-not-private"


class FilesChanged(Refusal):
    """Installed files differ from the list made at install, so nothing of them was executed."""

    code = "files-changed"


class TreeNotPlain(Refusal):
    """A folder holds links, devices or names that a list of files cannot describe."""

    code = "tree-not-plain"


class MemberUnfit(AperioError):
    """A file cannot be put into an artifact: its path, its size or its kind does not fit."""

    code = "archive-member-unfit"


class ArchiveRefused(Refusal):
    """The base of every reason not to unpack an artifact; nothing of it was left on disk."""


class ArchiveTruncated(ArchiveRefused):
    """The artifact ends before its contents do, as after a download that was cut off."""

    code = "archive-truncated"


class ArchiveMalformed(ArchiveRefused):
    """The artifact is not a well-formed gzip file holding one POSIX ustar archive."""

    code = "archive-malformed"


class ArchiveMemberType(ArchiveRefused):
    """The artifact holds something other than regular files: a link, a device, an extension."""

    code = "archive-member-type"


class ArchivePath(ArchiveRefused):
    """A path in the artifact leads outside of it, or is written in a way that can mislead."""

    code = "archive-path"


class ArchiveDuplicate(ArchiveRefused):
    """Two members of the artifact claim the same path, exactly or on some file system."""

    code = "archive-duplicate"


class ArchiveTooLarge(ArchiveRefused):
    """The artifact unpacks to more, or to more files, than any plugin has to."""

    code = "archive-too-large"


class ArchiveManifestMissing(ArchiveRefused):
    """The artifact's first member is not manifest.yaml."""

    code = "archive-manifest-missing"


class NetworkUnavailable(AperioError):
    """A server could not be reached, broke off, or answered something that cannot be used."""

    code = "network-unavailable"
    exit_status = UNAVAILABLE
    status: int | None = None  # of the HTTP response, where one was the cause


class Offline(AperioError):
    """Something has to be downloaded, and `--offline` allows no network at all."""

    code = "offline"
    exit_status = UNAVAILABLE


class ResponseTooLarge(AperioError):
    """A download is longer than what was asked for can be; it was stopped and thrown away."""

    code = "response-too-large"
    exit_status = UNAVAILABLE


class ResponseNotFound(AperioError):
    """The server or folder answered, and does not have what was asked for."""

    code = "not-found-at-source"
    exit_status = UNAVAILABLE


class DigestMismatch(Refusal):
    """The bytes received are not the bytes that were promised; they were thrown away."""

    code = "artifact-digest-mismatch"


class InsecureUrl(Refusal):
    """The address is neither https nor this machine, so anybody on the way could change it."""

    code = "insecure-url"


# ── policy at the start ───────────────────────────────────────────────────────────────────────────


class RequiredLimit(Refusal):
    """`[sandbox] require` names a limit that this version of aperio does not enforce."""

    code = "limit-required"


class ExceptionExpired(Refusal):
    """The plugin was installed without proof until a date, and that date has passed."""

    code = "exception-expired"


# ── trust domains, signing and signatures ─────────────────────────────────────────────────────────


class TrustDomainExists(AperioError):
    """There is a local trust domain already; it was left as it is."""

    code = "trust-domain-exists"


class TrustDomainMissing(AperioError):
    """There is no local trust domain; `aperio trust local init` makes one."""

    code = "trust-domain-missing"


class TrustDomainBroken(AperioError):
    """A file of the local trust domain is missing, damaged, or readable by other users."""

    code = "trust-domain-broken"


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


class SignatureDigestMismatch(Refusal):
    """A bundle is a valid signature, but of another file."""

    code = "signature-digest-mismatch"


class AttestationMalformed(Refusal):
    """What came as a signed statement about the artifact is not one, or cannot be understood."""

    code = "attestation-malformed"


class VerifierCrashed(Refusal):
    """Checking a signature ended in an unforeseen error, which counts as a refusal."""

    code = "verifier-crashed"


# ── configuration, verification, installation ─────────────────────────────────────────────────────


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


class ManifestMismatch(Refusal):
    """The artifact's own manifest says something else than what it was offered as."""

    code = "manifest-mismatch"


class BytecodeInArtifact(Refusal):
    """The artifact carries compiled Python, which nobody can review; install compiles instead."""

    code = "artifact-bytecode"


class PlatformIncompatible(AperioError):
    """The plugin exists, but not for this operating system and architecture."""

    code = "platform-incompatible"
    exit_status = INCOMPATIBLE


class ProtocolIncompatible(AperioError):
    """The plugin speaks another major version of the plugin interface than this aperio."""

    code = "protocol-incompatible"
    exit_status = INCOMPATIBLE


class InterpreterMissing(AperioError):
    """No Python interpreter on this machine fits what the plugin was built for."""

    code = "interpreter-missing"
    exit_status = INCOMPATIBLE


class BytecodeFailed(AperioError):
    """The plugin's Python files could not be compiled within the memory and time allowed."""

    code = "bytecode-failed"


class VersionChanged(Refusal):
    """A version that is installed already was offered again with other contents."""

    code = "version-changed"


class SignerChanged(Refusal):
    """The new version is signed by somebody else than the installed one, or not at all."""

    code = "signer-changed"


class PluginInUse(AperioError):
    """The plugin is running, so its files were left as they are."""

    code = "plugin-in-use"


# ── registries ────────────────────────────────────────────────────────────────────────────────────


class RegistryUnconfigured(AperioError):
    """A plugin was named by its id, and no registry is configured to look it up in."""

    code = "registry-unconfigured"
    exit_status = USAGE


class RegistryUnsigned(Refusal):
    """A registry that is neither a folder nor on this machine has to be signed; this is not."""

    code = "registry-unsigned"


class IndexTooLarge(AperioError):
    """The registry's index is longer than any index has to be, so it was not read."""

    code = "index-too-large"
    exit_status = UNAVAILABLE


class IndexUnreadable(AperioError):
    """The registry's index is missing, is not JSON, or breaks a rule of its format."""

    code = "index-unreadable"
    exit_status = UNAVAILABLE


class IndexVersionUnknown(AperioError):
    """The registry's index is written in a version of the format that this aperio cannot read."""

    code = "index-version-unknown"
    exit_status = UNAVAILABLE


class PluginNotFound(AperioError):
    """The registry has no plugin of that id, or not that version of it."""

    code = "plugin-not-found"


class RegistrySourceInvalid(AperioError):
    """The folder is not the source of a registry, or one of its records is damaged."""

    code = "registry-source-invalid"


class RegistrySourceExists(AperioError):
    """The folder is the source of a registry already, or holds something else."""

    code = "registry-source-exists"


class RegistryOutputForeign(Refusal):
    """A registry would be built over a folder that holds something else, which stays as it is."""

    code = "registry-output-foreign"


class PublishedVersionChanged(Refusal):
    """A version that the registry has already was added again with other contents."""

    code = "published-version-changed"


class PortInUse(AperioError):
    """The registry cannot be served on that port: another program listens there."""

    code = "port-in-use"
