"""Puts a value into the host's store when it is tested; the account says how that went."""

import os
from typing import Any

HOST = os.environ.get("APERIO_HOST_SOCKET", "")

import bare  # noqa: E402 - it takes the cookie out of the environment
import grpc  # noqa: E402 - after it
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2, host_pb2  # noqa: E402


def tested(request: Any, _context: Any) -> Any:
    with grpc.insecure_channel(f"unix:{HOST}") as channel:
        put: Any = channel.unary_unary(
            "/aperio.plugin.v1.KeyValueStore/Put",
            lambda message: message.SerializeToString(),
            host_pb2.PutResponse.FromString,
        )
        invocation = (("aperio-invocation", request.context.invocation_id),)
        try:
            put(host_pb2.PutRequest(key="runs", value=b"1"), metadata=invocation, timeout=10)
        except grpc.RpcError as error:
            said = error.code().name
        else:
            said = "OK"
    return connector_pb2.TestResponse(ok=True, account={"stored": said})


bare.serve({"TestConnection": bare.unary(tested, connector_pb2.TestRequest)})
