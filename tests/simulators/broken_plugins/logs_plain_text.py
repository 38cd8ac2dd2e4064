"""logs: its lines are for people only."""

import os

import sound  # type: ignore[import-not-found] # beside this file

sound.log = lambda message: os.write(2, f"{message}\n".encode())
sound.serve()
