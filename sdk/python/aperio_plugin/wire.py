"""The messages of the wire, mutual TLS, what settings and events have to be, for hosts.

Plugins need nothing of it. It is shared with hosts of the same minor version only, as aperio's own
(`aperio-plugin-sdk>=0.1,<0.2`): within one minor version no name here goes or changes its meaning;
the next may change all.

Each name is imported when it is first asked for: messages take a few milliseconds each; `mtls`
makes certificates with the extra `aperio-plugin-sdk[mtls]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import ModuleType

    from aperio_plugin import _delivery_keys as delivery_keys
    from aperio_plugin import _event_rules as event_rules
    from aperio_plugin import _finding_rules as finding_rules
    from aperio_plugin import _fitting as fitting
    from aperio_plugin import _mtls as mtls
    from aperio_plugin import _schema_rules as schema_rules
    from aperio_plugin import limits
    from aperio_plugin._generated.aperio.host.v1 import host_pb2 as control_pb2
    from aperio_plugin._generated.aperio.plugin.v1 import (
        capabilities_pb2,
        common_pb2,
        connector_pb2,
        destination_pb2,
        host_pb2,
        remediation_pb2,
    )
    from aperio_plugin._generated.goplugin import goplugin_pb2

__all__ = [
    "capabilities_pb2",
    "common_pb2",
    "connector_pb2",
    "control_pb2",
    "delivery_keys",
    "destination_pb2",
    "event_rules",
    "finding_rules",
    "fitting",
    "goplugin_pb2",
    "host_pb2",
    "limits",
    "mtls",
    "remediation_pb2",
    "schema_rules",
]

_ELSEWHERE: Final = {
    "control_pb2": "aperio_plugin._generated.aperio.host.v1.host_pb2",
    "delivery_keys": "aperio_plugin._delivery_keys",
    "event_rules": "aperio_plugin._event_rules",
    "finding_rules": "aperio_plugin._finding_rules",
    "fitting": "aperio_plugin._fitting",
    "goplugin_pb2": "aperio_plugin._generated.goplugin.goplugin_pb2",
    "limits": "aperio_plugin.limits",
    "mtls": "aperio_plugin._mtls",
    "schema_rules": "aperio_plugin._schema_rules",
}


def __getattr__(name: str) -> ModuleType:
    """Import a module of `__all__` and keep it as an attribute.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    place = _ELSEWHERE.get(name, f"aperio_plugin._generated.aperio.plugin.v1.{name}")
    module = globals()[name] = importlib.import_module(place)
    return module
