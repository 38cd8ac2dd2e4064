"""The embedded trust domain: certificate authority, log, timestamps and identity tokens.

Everything Sigstore's clients need to sign and verify on one machine without a network. It is for
trying out, tests and demonstrations: nobody else trusts it, and it never counts as `verified`.
"""

from aperio_cli.signing.local.domain import LocalDomain, create_domain, open_domain

__all__ = ["LocalDomain", "create_domain", "open_domain"]
