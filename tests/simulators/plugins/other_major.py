"""Serves version 2 of the interface only, and leaves it to the host to say so."""

import threading

import bare

bare.announce(bare.socket_path(), version=2)
threading.Event().wait()
