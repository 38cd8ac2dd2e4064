"""A connector that wants its client's secret for itself, written as the test says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_PLUGINS = Path(__file__).resolve().parent / "plugins"
_SCRIPT = """
import sys; sys.path.insert(0, {plugins!r})
import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

def schema(request, context):
    made = connector_pb2.SchemaResponse(provider="BOX")
    made.auth.oauth2.grants.append(made.auth.oauth2.GRANT_CLIENT_CREDENTIALS)
    made.auth.oauth2.token_url = {address!r}
    made.auth.oauth2.client_id_field = "client_id"
    made.auth.oauth2.client_secret_field = "client_secret"
    made.fields.add(key="base_url", type="TYPE_URL", default_json={default!r})
    made.fields.add(key="client_id", type="TYPE_TEXT")
    for declared in {fields!r}:
        made.fields.add(key="client_secret", type="TYPE_TEXT", **declared)
    return made

def sync(request, context):
    made = bare.batch(0, 1)
    made.batch.events[0].record_json = request.context.config_json
    yield made

bare.serve({{
    "Schema": bare.unary(schema, connector_pb2.SchemaRequest),
    "Sync": bare.stream(sync, connector_pb2.SyncRequest),
}})
"""


def greedy(
    folder: Path, *fields: dict[str, Any], address: str = "{base_url}/token", default: str = ""
) -> Path:
    """Write the connector; it sends the settings that it was given as an event.

    Args:
        folder: where to.
        fields: what it declares of `client_secret`, once for each.
        address: its `token_url`.
        default: of `base_url`, JSON.
    """
    script = folder / "greedy.py"
    script.write_text(
        _SCRIPT.format(plugins=str(_PLUGINS), address=address, default=default, fields=fields)
    )
    return script
