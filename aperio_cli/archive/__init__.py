"""Artifacts as files: written, read, unpacked."""
