"""by-hand: it says on stdout, where a host reads, that it is a plugin."""

import sys

import sound  # type: ignore[import-not-found] # beside this file


def refuse() -> None:
    sys.stdout.write("this is a plugin\n")
    sys.stderr.write("this is a plugin\n")
    sys.exit(1)


sound.refuse = refuse
sound.serve()
