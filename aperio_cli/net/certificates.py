"""Whose certificates count for https: those that this system trusts.

As for its other programs, a company's own authority among them: OpenSSL's store on Linux, the
keychain on macOS, the certificate store on Windows. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others,
in the way of OpenSSL, for every command and whatever library it speaks through.

This module is imported where a connection with TLS is made.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.files import CertificatesUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_VARIABLE: Final = "SSL_CERT_FILE"
FOLDER_VARIABLE: Final = "SSL_CERT_DIR"
READ: Final = (FILE_VARIABLE, FOLDER_VARIABLE)
UNREAD: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""What other programs read for the same, each of them only some."""


def system_context() -> ssl.SSLContext:
    """Return a context for TLS that trusts what the system does, or what the variables name.

    Secrets of connections are written nowhere, whatever `SSLKEYLOGFILE` says.

    Raises:
        CertificatesUnusable: a variable names what cannot be read.
    """
    import truststore

    require_stated()
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@contextlib.contextmanager
def for_every_library() -> Iterator[dict[str, str | None]]:
    """Have `ssl` itself trust the same in the block; give the environment for `requests`.

    It reads a package of certificates that comes with it, unless a variable of its own names one.

    Raises:
        CertificatesUnusable: as `system_context`.
    """
    import truststore

    require_stated()
    truststore.inject_into_ssl()
    try:
        yield dict.fromkeys((*UNREAD, "SSLKEYLOGFILE")) | {UNREAD[0]: _for_requests()}
    finally:
        truststore.extract_from_ssl()


def require_stated() -> None:
    """Check that what the variables name is there, and holds certificates.

    Raises:
        CertificatesUnusable: it is not, or does not.
    """
    file, folder = os.environ.get(FILE_VARIABLE), os.environ.get(FOLDER_VARIABLE)
    if file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        except OSError as error:  # ssl.SSLError is one
            no_certificate = isinstance(error, ssl.SSLError)
            why = "it holds no certificate in PEM" if no_certificate else error.strerror
            raise _unusable(FILE_VARIABLE, file, why or str(error)) from error
    if folder and not any(map(os.path.isdir, folder.split(os.pathsep))):
        raise _unusable(FOLDER_VARIABLE, folder, "there is no such folder")


def _unusable(variable: str, place: str, why: str) -> CertificatesUnusable:
    return CertificatesUnusable(
        f"`{place}` cannot be used: {variable} names it for the certificates that count",
        why=why,
        next=[
            f"correct {variable}",
            f"unset {variable}, for the certificates that this system trusts",
        ],
    )


def _for_requests() -> str | None:
    """Return the file or folder of certificates that OpenSSL takes; None when there is neither."""
    stated = ssl.get_default_verify_paths()  # None for what is not there
    return stated.cafile or stated.capath
