"""Never prints its handshake; says so on stderr first."""

import sys
import threading

sys.stderr.write("waiting for a lock\n")
sys.stderr.flush()
threading.Event().wait()
