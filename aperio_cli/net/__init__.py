"""Bytes from elsewhere, within limits of size and time."""
