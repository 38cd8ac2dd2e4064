"""Control: calls to a running host, and what a host refuses of them."""

from __future__ import annotations

from aperio_cli.errors import USAGE, AperioError


class HostNotRunning(AperioError):
    """No host runs on this home, or it does not answer on its socket."""

    code = "host-not-running"


class HostRunning(AperioError):
    """A host runs on this home already; a second one would start every plugin again."""

    code = "host-running"


class HostFailed(AperioError):
    """The host failed at a call, and neither the plugin nor the caller is to blame."""

    code = "host-failed"


class HostBusy(AperioError):
    """The host serves as many calls as it can at once; this one was not begun."""

    code = "host-busy"


class SocketPathTooLong(AperioError):
    """The path of a socket is longer than the system allows."""

    code = "socket-path-too-long"


class CallInvalid(AperioError):
    """A call to the host lacks something, or says something that makes no sense."""

    code = "call-invalid"
    exit_status = USAGE


class VersionNotRunning(AperioError):
    """A call was made for one version of a plugin, and another one runs."""

    code = "version-not-running"
