"""Copies the trusted roots that the installed sigstore carries into aperio_cli/trust/shipped.

    python tests/vendor_trust_roots.py

A unit test calls `vendored` and compares, so that the copies cannot fall behind unseen.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from importlib import metadata, resources
from pathlib import Path
from urllib.parse import quote

from aperio_cli.clock import format_timestamp

ROOT = Path(__file__).resolve().parent.parent
TRUST_ROOTS = ROOT / "aperio_cli" / "trust" / "shipped"
REPOSITORIES = {
    "public": "https://tuf-repo-cdn.sigstore.dev",
    "staging": "https://tuf-repo-cdn.sigstage.dev",
}
# Our names and sigstore's.
_FILES = {
    "trusted_root.json": "trusted_root.json",
    "signing_config.json": "signing_config.v0.2.json",
    "tuf_root.json": "root.json",
}


def vendored() -> dict[Path, bytes]:
    """Every copied file: where it has to stand, and its bytes in the installed sigstore."""
    # Read as files of the installation, so that no private module of sigstore is imported.
    store = resources.files("sigstore").joinpath("_store")
    files: dict[Path, bytes] = {}
    domains: dict[str, dict[str, object]] = {}
    for name, url in REPOSITORIES.items():
        folder = store.joinpath(quote(url, safe=""))
        for ours, theirs in _FILES.items():
            files[TRUST_ROOTS / name / ours] = folder.joinpath(theirs).read_bytes()
        domains[name] = {"url": f"{url}/"} | facts_of(files[TRUST_ROOTS / name / "tuf_root.json"])
    document = {"sigstore": metadata.version("sigstore"), "domains": domains}
    files[TRUST_ROOTS / "metadata.json"] = (json.dumps(document, indent=2) + "\n").encode()
    return files


def facts_of(tuf_root: bytes) -> dict[str, object]:
    """The version of a TUF root, and the moment at which it was signed.

    `x-tuf-on-ci-expiry-period`: tuf-on-ci, which signs these repositories, sets `expires` that
    many days ahead.
    """
    signed = json.loads(tuf_root)["signed"]
    period = timedelta(days=signed["x-tuf-on-ci-expiry-period"])
    as_of = datetime.fromisoformat(signed["expires"]) - period
    return {"tuf_root_version": signed["version"], "as_of": format_timestamp(as_of)}


def main() -> int:
    """Writes what differs and names it."""
    for path, contents in vendored().items():
        if path.is_file() and path.read_bytes() == contents:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
