"""Uses the host's key-value store during a call; `name` of its schema tells what came of it."""

import os
from typing import Any

HOST = os.environ.get("APERIO_HOST_SOCKET", "")

import bare  # noqa: E402 - it takes the cookie out of the environment
import grpc  # noqa: E402 - after it
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2, host_pb2  # noqa: E402 - after it


def call(method: str, request: Any, reply: Any, invocation: str) -> Any:
    with grpc.insecure_channel(f"unix:{HOST}") as channel:
        return channel.unary_unary(
            f"/aperio.plugin.v1.KeyValueStore/{method}",
            lambda message: message.SerializeToString(),
            reply.FromString,
        )(request, metadata=(("aperio-invocation", invocation),), timeout=5)


def schema(request: Any, _context: Any) -> Any:
    if not HOST:
        return connector_pb2.SchemaResponse(provider="BOX", name="no store")
    me = request.context.invocation_id
    told = []
    for invocation in (me, "somebody-elses"):
        try:
            put = host_pb2.PutRequest(key="runs", value=b"1")
            told.append(str(call("Put", put, host_pb2.PutResponse, invocation).revision))
        except grpc.RpcError as error:
            told.append(error.code().name)
    try:
        stale = host_pb2.PutRequest(key="runs", value=b"2", if_revision=0)
        call("Put", stale, host_pb2.PutResponse, me)
    except grpc.RpcError as error:
        told.append(error.code().name)
    keys = call("List", host_pb2.ListRequest(prefix="r"), host_pb2.ListResponse, me).keys
    value = call("Get", host_pb2.GetRequest(key="runs"), host_pb2.GetResponse, me).value
    call("Delete", host_pb2.DeleteRequest(key="other"), host_pb2.DeleteResponse, me)
    try:
        call("Get", host_pb2.GetRequest(key="other"), host_pb2.GetResponse, me)
    except grpc.RpcError as error:
        told.append(error.code().name)
    told += [*keys, value.decode()]
    return connector_pb2.SchemaResponse(provider="BOX", name=" ".join(told))


bare.serve({"Schema": bare.unary(schema, connector_pb2.SchemaRequest)})
