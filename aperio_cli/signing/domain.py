"""What signing asks of a trust domain, whichever kind it is; one module or package per kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from aperio_cli.signing.credential import Credential


class SigningDomain(Protocol):
    """A trust domain that can certify this user."""

    @property
    def name(self) -> str:
        """The name that rules and reports use, such as `local`."""

    def trusted_root_json(self) -> str:
        """Return the root that verifies what this domain signs (sigstore_trustroot.proto)."""

    def serving(self) -> AbstractContextManager[str]:
        """Have the domain's services answer while a block runs; gives a ClientTrustConfig."""

    def credential(self) -> Credential:
        """Return who signs, with the token that says so; may ask the user to log in.

        Raises:
            AperioError: when nobody can be identified; nothing was asked of the domain's services.
        """
