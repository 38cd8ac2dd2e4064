"""Signs the files of a release of aperio with aperio itself, and verifies what was published.

    python .ci/release.py sign DIST
    python .ci/release.py verify DIST IDENTITY

Each wheel and sdist gets a Sigstore bundle and, as signed statements, its provenance and its bill
of materials, as `aperio plugin sign` gives them to artifacts: that command takes artifacts only, so
this calls what stands below it. The environment's RELEASE_TRUST names another trust domain than
Sigstore's public instance: a file with its client trust configuration.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aperio_cli import __version__, paths
from aperio_cli.building.lock import Pin, parse_lock
from aperio_cli.config import Config
from aperio_cli.errors import AperioError
from aperio_cli.files.reading import hash_file
from aperio_cli.models.publisher import PUBLIC_DOMAIN
from aperio_cli.proving.attestations import verify_attestations
from aperio_cli.proving.signature import verify_signature
from aperio_cli.proving.trusted_root import TrustedRootSource
from aperio_cli.scaffolding.origin import APERIO_LOCK
from aperio_cli.signing import Subject, attestations_path, bundle_path, sign_files
from aperio_cli.signing.hosted import Identification, open_hosted
from aperio_cli.trust import roots

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aperio_cli.models.digest import Digest

ROOT = Path(__file__).resolve().parent.parent
ISSUER = "https://token.actions.githubusercontent.com"
CLI, SDK = "aperio-cli", "aperio-plugin-sdk"
SDK_LOCK = ROOT / "plugins" / "box" / "requirements.lock"
"""A plugin that needs the SDK only: its lock is what the SDK needs, and the SDK."""


def main(arguments: Sequence[str]) -> int:
    """Sign or verify; the exit status is 1 when an error was printed."""
    verb, folder, *rest = arguments
    files = released(Path(folder))
    try:
        if verb == "sign":
            sign(files)
        else:
            verify(files, *rest)
    except AperioError as error:
        sys.stderr.write(f"{error.what}\n{error.why}\n")
        return 1
    return 0


def released(folder: Path) -> list[Path]:
    """Return the files of the release in a folder: a wheel and an sdist of both distributions."""
    stems = (f"{name.replace('-', '_')}-{__version__}" for name in (CLI, SDK))
    return [folder / f"{stem}{end}" for stem in stems for end in ("-py3-none-any.whl", ".tar.gz")]


def sign(files: Sequence[Path]) -> None:
    """Sign files as this job, and write the bills of materials beside them, too."""
    subjects = []
    for path in files:
        bill = bill_of_materials(path)
        path.with_name(f"{path.name}.cdx.json").write_text(json.dumps(bill, indent=2) + "\n")
        subjects.append(Subject(path, hash_file(path), bill))
    name, configuration = trust()
    who = Identification(environment=os.environ)
    signers = sign_files(subjects, domain=open_hosted(name, configuration, who))
    for path, signer in zip(files, signers, strict=True):
        print(f"{path.name}: signed by {signer.identity}")


def verify(files: Sequence[Path], identity: str) -> None:
    """Check that all that was signed about each file holds, and that this workflow signed it."""
    name, configuration = trust()
    root = TrustedRootSource(name, json.dumps(json.loads(configuration)["trustedRoot"]).encode())
    for path in files:
        digest = hash_file(path)
        proof = verify_signature(digest, bundle_path(path).read_bytes(), [root])
        attested = verify_attestations(digest, attestations_path(path).read_bytes(), [root])
        for signer in (proof.signer, *(one.signer for one in attested)):
            if (signer.identity, signer.issuer) != (identity, ISSUER):
                raise SystemExit(f"{path.name}: signed by {signer.identity}, {signer.issuer}")
        kinds = ", ".join(one.predicate_type for one in attested)
        print(f"{path.name}: signed by {identity}; {kinds}")


def trust() -> tuple[str, str]:
    """Return the trust domain's name and its client trust configuration."""
    if stated := os.environ.get("RELEASE_TRUST"):
        return stated, Path(stated).read_text()
    places = paths.find_paths(os.environ)
    return PUBLIC_DOMAIN, roots.trust_config_json(PUBLIC_DOMAIN, Config(), places)


def bill_of_materials(path: Path) -> dict[str, Any]:
    """Return what a file needs to run, in the versions tested with, as CycloneDX 1.5."""
    needed = list(parse_lock(SDK_LOCK.read_bytes(), SDK_LOCK).pins)
    name = SDK
    if path.name.startswith("aperio_cli-"):
        name = CLI
        sdk = [pin for pin in needed if pin.name == SDK]
        needed = [*parse_lock(APERIO_LOCK.read_bytes(), APERIO_LOCK).pins, *sdk]
    components = [component(pin) for pin in needed if pin.name != name]
    main_reference = purl(Pin(name, __version__, ()))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": main_reference,
                "name": name,
                "version": __version__,
                "purl": main_reference,
                "hashes": hashes([hash_file(path)]),
            }
        },
        "components": components,
        "dependencies": [
            {"ref": main_reference, "dependsOn": [one["bom-ref"] for one in components]}
        ],
    }


def component(pin: Pin) -> dict[str, Any]:
    """Return a dependency as a component, with the hashes of the files that it may be."""
    return {
        "type": "library",
        "bom-ref": purl(pin),
        "name": pin.name,
        "version": pin.version,
        "purl": purl(pin),
        "hashes": hashes(pin.digests),
    }


def purl(pin: Pin) -> str:
    """Return the package URL of a pinned distribution."""
    return f"pkg:pypi/{pin.name}@{quote(pin.version, safe='')}"


def hashes(digests: Iterable[Digest]) -> list[dict[str, str]]:
    """Return digests as CycloneDX writes them."""
    return [{"alg": "SHA-256", "content": digest.hex} for digest in digests]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
