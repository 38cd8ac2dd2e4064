"""aperio: one command that carries a plugin through its whole life."""

__version__ = "0.1.0"
SYSTEM_HOME = "/var/lib/aperio"
"""The home of a store that root keeps for every user of a machine, on Linux (FHS 3.0, 5.8)."""
