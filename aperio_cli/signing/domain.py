"""What signing asks of a trust domain, whichever kind it is; one module or package per kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class SigningDomain(Protocol):
    """A trust domain that can certify this user."""

    @property
    def name(self) -> str:
        """The name that rules and reports use, such as `local`."""

    @property
    def issuer(self) -> str:
        """URL of the OIDC issuer that vouches for the identity."""

    @property
    def identity(self) -> str:
        """Whom bundles will name."""

    def trusted_root_json(self) -> str:
        """The trusted root that verifies what this domain signs (sigstore_trustroot.proto)."""

    def serving(self) -> AbstractContextManager[str]:
        """Have the domain's services answer while a block runs; gives a ClientTrustConfig."""

    def identity_token(self) -> str:
        """An OIDC identity token for this user: a secret, never printed or stored."""
