"""A machine in Google's cloud, as far as identity tokens go; signs artifacts on it.

    unshare --user --map-root-user --mount --net python google_machine.py FOLDER

sigstore asks fixed names: `http://metadata/…` on a machine whose product name says so, and
`https://iamcredentials.googleapis.com/…` to sign as another service account (cloud.google.com,
"Get an ID token from the metadata server"; IAM Service Account Credentials API, generateIdToken).
In a network and mount namespace of its own, this process is all of them. It prints as JSON who has
signed on the machine, and who by impersonation.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aperio_cli import clock
from tests.sigstack.namespace import raise_loopback
from tests.simulators.ci import artifacts, claims, web
from tests.simulators.ci.instance import Instance, instance
from tests.simulators.ci.web import Answer, Asked

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNT = "release@acme.iam.gserviceaccount.com"
CREDENTIALS_HOST = "iamcredentials.googleapis.com"
ACCESS_TOKEN = "access-token-of-the-machine"
TIMEOUT_S = 60


def mount(what: Path, where: str) -> None:
    """Show a file or folder in another place, in this namespace only."""
    subprocess.run(["mount", "--bind", str(what), where], check=True)


def become_the_machine(folder: Path) -> None:
    """Have the names and the files of the machine."""
    raise_loopback()
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost metadata {CREDENTIALS_HOST}\n")
    mount(hosts, "/etc/hosts")
    product = folder / "class" / "dmi" / "id" / "product_name"
    product.parent.mkdir(parents=True)
    product.write_text("Google Compute Engine\n")
    mount(folder / "class", "/sys/class")


def metadata(private: Instance, asked: Asked) -> Answer:
    """The metadata server."""
    account = "/computeMetadata/v1/instance/service-accounts/default"
    if asked.headers.get("metadata-flavor") != "Google":
        return Answer(403)
    if asked.path == f"{account}/identity" and asked.query["format"] == "full":
        return Answer(body=private.mint(claims.google(), aud=asked.query["audience"]).encode())
    if asked.path == f"{account}/token":
        return Answer(body=json.dumps({"access_token": ACCESS_TOKEN}).encode())
    return Answer(404)


def credentials(private: Instance, asked: Asked) -> Answer:
    """The service that makes tokens for another account."""
    path = f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateIdToken"
    if (asked.method, asked.path) != ("POST", path):
        return Answer(404)
    if asked.headers.get("authorization") != f"Bearer {ACCESS_TOKEN}":
        return Answer(401)
    wanted = json.loads(asked.body)
    assert wanted["includeEmail"] is True
    token = private.mint(claims.google(), aud=wanted["audience"])
    return Answer(body=json.dumps({"token": token}).encode())


def certificate(folder: Path) -> Path:
    """A certificate for the second host, with its key, that the command is told to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, CREDENTIALS_HOST)])
    now = clock.now()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(CREDENTIALS_HOST)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "host.pem"
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return file


@contextlib.contextmanager
def services(private: Instance, host: Path) -> Iterator[None]:
    """Both services, where sigstore asks for them."""
    with (
        web.serving(lambda asked: metadata(private, asked), port=80),
        web.serving(lambda asked: credentials(private, asked), port=443, certificate=host),
    ):
        yield


def main(folder: Path) -> None:
    """Sign an artifact as the machine's account, and as another that it may sign as."""
    become_the_machine(folder)
    host = certificate(folder)
    artifact = artifacts.artifact_at(folder / artifacts.NAME).path
    with instance(folder / "instance") as private, services(private, host):
        words = ["plugin", "sign", str(artifact), "--trust", str(private.file), "--json"]
        stated = {"SSL_CERT_FILE": str(host), "APERIO_HOME": str(folder / "home")}
        signers = {
            "machine": sign(words, stated),
            "impersonation": sign(words, stated | {"GOOGLE_SERVICE_ACCOUNT_NAME": ACCOUNT}),
        }
    json.dump(signers, sys.stdout)


def sign(words: list[str], stated: dict[str, str]) -> object:
    """Sign; return who has."""
    done = subprocess.run(
        [sys.executable, "-m", "aperio_cli", *words],
        env=os.environ | stated,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=TIMEOUT_S,
    )
    return json.loads(done.stdout)["data"]["bundles"][0]["signer"]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    assert threading.active_count() == 1
