"""Prints something before its handshake."""

import bare

print("loading 3 rules …", flush=True)  # noqa: T201 - what it is for
bare.serve()
