"""Installed plugins."""
