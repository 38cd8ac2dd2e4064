"""Grants of tokens, which the host performs for a plugin."""
