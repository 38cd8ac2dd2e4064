"""Running: find what is meant, clear it, start it, do one operation with it, judge.

What `plugin run`, `test`, `why` and `may-run` do below the command line. Nothing here reads
arguments or shows anything, and whatever waits is a coroutine: whoever runs plugins, on a command
line or on a loop of its own, comes in here.

    target = find_target(collaborators, "acme/box-connector", organization="acme")
    cleared = clear_target(collaborators, target, "acme")
    answer = await run_operation(collaborators, cleared, request, listener)
"""

from aperio_cli.running.collaborators import Collaborators, Listener
from aperio_cli.running.targets import clear_target, find_target, kind_of

__all__ = ["Collaborators", "Listener", "clear_target", "find_target", "kind_of"]
