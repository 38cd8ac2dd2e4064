"""What a bundle proves, for somebody who is about to state a rule about its signer."""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperio_cli.archive.loading import load_artifact
from aperio_cli.errors.files import FileNotRegular, FileTooLarge
from aperio_cli.errors.trust import BundleMalformed, SignatureMissing
from aperio_cli.errors.usage import NotFound, UsageError
from aperio_cli.files import reading
from aperio_cli.files.naming import as_path, is_path, parse_ref, require_plain
from aperio_cli.files.temporary import temporary_folder
from aperio_cli.models.address import is_address, shown
from aperio_cli.models.artifact import BUNDLE_SUFFIX, MAX_BUNDLE_BYTES, SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginRef, reads_as_id
from aperio_cli.models.reading import Bounds, read_json
from aperio_cli.verifying import MAX_ARTIFACT_BYTES, RemoteArtifact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aperio_cli.models.platform import Platform
    from aperio_cli.models.proof import Proof
    from aperio_cli.proving.signature import TrustedRootSource
    from aperio_cli.registry import Registry

FROM_ARTIFACT = "artifact"
FROM_INDEX = "index"
FROM_BUNDLE = "bundle"
_BASES = {
    FROM_ARTIFACT: "the artifact's own bytes; it will be checked again at install",
    FROM_INDEX: "the digest that the registry offers; `plugin install` checks the bytes",
    FROM_BUNDLE: "the digest that the bundle itself states: somebody signed something,"
    " which need not be the plugin you mean",
}


@dataclass(frozen=True, slots=True)
class BundleEvidence:
    """A bundle that verified.

    Attributes:
        proof: what it proves.
        digest: of what was signed.
        basis: where that digest is from: `artifact`, `index` or `bundle`.
        claim: what the artifact, or the registry, says it is; None when there is only the bundle.
    """

    proof: Proof
    digest: Digest
    basis: str
    claim: PluginRef | None

    @property
    def says(self) -> str:
        """In words, what was held against the signature."""
        return _BASES[self.basis]


@dataclass(frozen=True, slots=True)
class _Signed:
    """A bundle, and what it is for."""

    bundle: bytes
    digest: Digest
    basis: str
    claim: PluginRef | None = None


@dataclass(frozen=True, slots=True)
class BundleRequest:
    """Which bundle to verify, and with what.

    Attributes:
        source: a bundle, an artifact with its bundle beside it, which may be at an address, or a
            plugin of the registry.
        artifact: the artifact, when it is not beside its bundle; else empty.
        roots: gives the trusted roots of this machine; asked once there is a bundle.
        registry: gives the registry; asked only for a plugin of it.
        platform: the platform of this machine.
        offline: whether nothing may be downloaded.
    """

    source: str
    artifact: str
    roots: Callable[[], Sequence[TrustedRootSource]]
    registry: Callable[[], Registry]
    platform: Platform
    offline: bool = False


def bundle_evidence(request: BundleRequest) -> BundleEvidence:
    """Prove who signed, by the trusted roots of this machine.

    Raises:
        NotFound, UsageError: what was named is not there, or does not go together.
        Refusal: there is no bundle, or it proves nothing; one class for each cause.
        AperioError: the registry has no such plugin.
    """
    from aperio_cli.proving.signature import verify_signature

    source = request.source
    require_plain(source, lambda _plugin: False, "no rule was written")
    if is_address(source):
        signed = _of_address(request)
    else:
        signed = _of_file(source, request.artifact) if _is_file(source) else _of_registry(request)
    roots = request.roots()
    proof = verify_signature(signed.digest, signed.bundle, roots, subject=f"`{shown(source)}`")
    return BundleEvidence(proof, signed.digest, signed.basis, signed.claim)


def _is_file(source: str) -> bool:
    """Return whether a file is meant.

    A bundle's name need not look like a path, and no id has a dot.
    """
    return is_path(source) or (source.endswith(".json") and not reads_as_id(source))


def _of_registry(request: BundleRequest) -> _Signed:
    reference = parse_ref(request.source)
    if request.artifact:
        raise UsageError(
            "`--artifact` goes with a bundle that is a file",
            why=f"`{request.source}` is a plugin of the registry",
            next=["leave `--artifact` out: the registry states the digest"],
        )
    offer = request.registry().resolve(reference, request.platform)
    if offer.bundle is None or offer.digest is None:
        raise SignatureMissing(
            f"`{offer.id}` {offer.version} is offered without a signature",
            why=f"there is no Sigstore bundle for it in {offer.source}",
            next=["ask its publisher for one"],
        )
    return _Signed(offer.bundle, offer.digest, FROM_INDEX, PluginRef(offer.id, offer.version))


def _of_address(request: BundleRequest) -> _Signed:
    """Fetch an artifact and the bundle beside it, for as long as it takes to read them."""
    if request.artifact:
        raise UsageError(
            "`--artifact` goes with a bundle that is a file",
            why=f"`{shown(request.source)}` is an address",
            next=["leave `--artifact` out: the artifact is fetched from that address"],
        )
    remote = RemoteArtifact.parse(request.source)
    with temporary_folder("aperio-fetch-") as folder:
        path = Path(folder, remote.name)
        with path.open("w+b") as file:
            remote.fetch(file, MAX_ARTIFACT_BYTES, offline=request.offline)
        found = load_artifact(path, named=str(remote))
    bundle = remote.fetch_beside(BUNDLE_SUFFIX, MAX_BUNDLE_BYTES, offline=request.offline)
    if bundle is None:
        raise SignatureMissing(
            f"`{remote}` has no bundle beside it; no rule was written",
            why=f"expected {remote}{BUNDLE_SUFFIX}",
            next=["ask its publisher for one"],
        )
    claim = PluginRef(found.manifest.id, found.manifest.version)
    return _Signed(bundle, found.digest, FROM_ARTIFACT, claim)


def _of_file(source: str, artifact: str) -> _Signed:
    path = as_path(source)
    if path.name.endswith(SUFFIX):
        named, bundle_path = artifact or str(path), _bundle_beside(path)
    else:
        beside = path.with_name(path.name.removesuffix(BUNDLE_SUFFIX))
        has_one = beside.name.endswith(SUFFIX) and beside.exists()
        named, bundle_path = artifact or (str(beside) if has_one else ""), path
    bundle = _read_bundle(bundle_path)
    if not named:
        return _Signed(bundle, _stated_digest(bundle, path), FROM_BUNDLE)
    found = load_artifact(as_path(named))
    claim = PluginRef(found.manifest.id, found.manifest.version)
    return _Signed(bundle, found.digest, FROM_ARTIFACT, claim)


def _bundle_beside(artifact: Path) -> Path:
    expected = artifact.with_name(artifact.name + BUNDLE_SUFFIX)
    if expected.exists():
        return expected
    if not artifact.exists():
        raise _not_there(artifact)
    named = f"--from-bundle FILE --artifact {shlex.quote(str(artifact))}"
    raise SignatureMissing(
        f"`{artifact}` has no bundle beside it; no rule was written",
        why=f"expected {expected}",
        next=[f"name the bundle where it is: `{named}`", "ask its publisher for one"],
    )


def _read_bundle(path: Path) -> bytes:
    try:
        return reading.read_capped(path, MAX_BUNDLE_BYTES)
    except FileNotFoundError as error:
        raise _not_there(path) from error
    except FileTooLarge as error:
        raise BundleMalformed(
            f"`{path}` is not a Sigstore bundle; no rule was written", why=error.why
        ) from error
    except FileNotRegular as error:
        raise NotFound(f"`{path}` cannot be read; no rule was written", why=error.why) from error
    except OSError as error:
        raise NotFound(
            f"`{path}` cannot be read; no rule was written", why=str(error.strerror)
        ) from error


def _not_there(path: Path) -> NotFound:
    return NotFound(
        f"`{path}` is not there; no rule was written", next=["check the path for a typing error"]
    )


def _stated_digest(bundle: bytes, path: Path) -> Digest:
    """Return the digest that a bundle is about, as it says itself (sigstore_bundle.proto as JSON).

    Raises:
        BundleMalformed: it states none.
    """
    try:
        document = read_json(bundle, Bounds(MAX_BUNDLE_BYTES))
        if "messageSignature" in document:
            stated = document["messageSignature"]["messageDigest"]["digest"]
            return Digest(base64.b64decode(stated, validate=True).hex())
        return Digest(_first_subject(document)["digest"]["sha256"])
    except (LookupError, TypeError, ValueError) as error:
        raise BundleMalformed(
            f"`{path}` does not say what it is the signature of; no rule was written",
            why="expected messageSignature with a SHA-256 digest, or a statement with a subject",
            next=["name the artifact with `--artifact FILE`"],
        ) from error


def _first_subject(document: dict[str, Any]) -> Any:
    payload = base64.b64decode(document["dsseEnvelope"]["payload"], validate=True)
    return read_json(payload, Bounds(MAX_BUNDLE_BYTES))["subject"][0]
