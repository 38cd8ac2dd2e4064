"""Prints something before its handshake."""

import bare  # type: ignore[import-not-found] # beside this file

print("loading 3 rules …", flush=True)  # noqa: T201 - what it is for
bare.serve()
