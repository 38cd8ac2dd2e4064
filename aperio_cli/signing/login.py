"""Logging in as a person: in a browser, or with a code typed from another machine's browser."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from typing import TYPE_CHECKING

from aperio_cli.errors import AperioError
from aperio_cli.errors.trust import SigningTimeout
from aperio_cli.signing import client_environment, deadline, failures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEADLINE_S = 300.0
_STDIN = 0
_MAX_LINE_BYTES = 4096  # what a terminal gives at once, termios(3)


def log_in(issuer_url: str, *, out_of_band: bool) -> str:
    """Return an identity token for whoever logs in within five minutes (OAuth 2.0 with PKCE).

    Speaks to the user on stderr; the code of the out-of-band way is read from stdin.

    Args:
        issuer_url: of the OpenID provider.
        out_of_band: show an address and read the code, instead of opening a browser here.

    Raises:
        SigningTimeout: when nobody logs in in time.
        NetworkUnavailable: when the provider cannot be reached.
        SigningFailed: when it refuses, or answers something that cannot be used.
    """
    work = functools.partial(_log_in, issuer_url, out_of_band=out_of_band)
    with (
        failures.captured_warnings() as warnings,
        client_environment.of_clients(),
        # sigstore asks for the code with `input`, which prompts on stdout: that is for data.
        contextlib.redirect_stdout(sys.stderr),
        _stdin_without_a_lock(),
    ):
        try:
            return deadline.within(DEADLINE_S, work, late=functools.partial(_late, issuer_url))
        except AperioError:
            raise
        except Exception as error:
            raise _failed(issuer_url, error, warnings) from error


def _log_in(issuer_url: str, *, out_of_band: bool) -> str:
    from sigstore.oidc import Issuer

    return str(Issuer(issuer_url).identity_token(force_oob=out_of_band))


class _Lines:
    """Lines as a terminal hands them over."""

    def readline(self, _limit: int = -1) -> str:
        """Return one line; empty at the end of the input."""
        return os.read(_STDIN, _MAX_LINE_BYTES).decode("utf-8", "replace")


# Never freed: `input` holds no reference to what it reads from, and a thread that was left behind
# may still be in it.
_LINES = _Lines()


@contextlib.contextmanager
def _stdin_without_a_lock() -> Iterator[None]:
    """Have `input` read the terminal itself while the block runs.

    Python aborts when it ends while a thread that was left behind holds the lock of `sys.stdin`.
    """
    before = sys.stdin
    sys.stdin = _LINES  # `input` asks no more of it than a line
    try:
        yield
    finally:
        sys.stdin = before


def _failed(issuer_url: str, error: Exception, warnings: Sequence[str]) -> AperioError:
    return failures.of_service(f"the login at {issuer_url}", error, warnings)


def _late(issuer_url: str) -> SigningTimeout:
    return SigningTimeout(
        f"nothing was signed: nobody logged in at {issuer_url}",
        why=f"waited {DEADLINE_S:g} seconds",
        next=["run the same command again", "without a browser on this machine: add `--oob`"],
    )
