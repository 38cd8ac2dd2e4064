"""Whose word counts: trusted roots, their refresh, and files of publishers."""
