"""aperio: one command that carries a plugin through its whole life."""

__version__ = "0.1.0"
