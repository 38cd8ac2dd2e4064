"""Comparing: what one version of a plugin is beside another, before anybody has to agree to it."""

from aperio_cli.comparing.differences import Difference, compare
from aperio_cli.comparing.looking import look_at_admitted, look_at_artifact, look_at_installed
from aperio_cli.comparing.seen import Component, Seen, SeenFile

__all__ = [
    "Component",
    "Difference",
    "Seen",
    "SeenFile",
    "compare",
    "look_at_admitted",
    "look_at_artifact",
    "look_at_installed",
]
