"""Write aperio plugins: a class with business logic, and one call that serves it.

`connector`, `remediation` and `destination` are what an author uses, `errors` what a plugin
raises, `testing` a harness for tests. Names with an underscore are internal.
"""

from aperio_plugin import _launch

__version__ = "0.1.0"

# In a process that a go-plugin host started, file descriptor 1 belongs to the handshake, and what
# other modules print while they are imported would break it. Elsewhere this does nothing.
_launch.claim()
