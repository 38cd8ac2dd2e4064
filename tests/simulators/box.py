"""A stub of Box's API, as far as an enterprise event connector needs it.

Written by hand from Box's published description, which each endpoint's docstring cites by page
title and path below https://developer.box.com. `BoxApi` is the behaviour (a request in, a reply
out, no sockets); `BoxSimulator` serves it on a free port of 127.0.0.1 in a thread.

As a program it prints its URL on the first line of stdout and ends when its stdin closes:

    python tests/simulators/box.py --port 0 --events 200 --token-life 3
"""

import argparse
import json
import random
import sys
import threading
import time
import uuid
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from operator import itemgetter
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import parse_qsl, urlsplit

Entry = dict[str, Any]

CLIENT_ID: Final = "stub-client-id"
CLIENT_SECRET: Final = "stub-client-secret"
ENTERPRISE_ID: Final = "8675309"
NEWEST: Final = datetime(2026, 3, 2, 17, 30, tzinfo=timezone(-timedelta(hours=8)))
EVENTS_PATH: Final = "/2.0/events"
USERS_ME_PATH: Final = "/2.0/users/me"
TOKEN_PATH: Final = "/oauth2/token"
_HELP_URL: Final = (
    "https://developer.box.com/guides/api-calls/permissions-and-errors/common-errors/"
)
_POSITION_BASE: Final = 30_401_068_076_000_000  # past 2**53, as Box's are: a float would lose it
_MAX_BODY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived: header names in lower case, form and query decoded."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back; status 0 closes the connection without a word."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BoxOptions:
    """How this Box behaves; the defaults are those of a well configured enterprise."""

    client_id: str = CLIENT_ID
    client_secret: str = CLIENT_SECRET
    enterprise_id: str = ENTERPRISE_ID
    token_life_s: float = 3600.0
    max_chunk: int = 500  # entries of one reply, at most; Box may give fewer than `limit`
    duplicate_every: int = 0  # streaming repeats each n-th entry a little later; 0: never
    position_kind: Literal["string", "number"] = "string"  # Box documents both
    empty_position: Literal["same", "zero"] = "same"  # what an empty history chunk answers


@dataclass(slots=True)
class _Fault:
    reply: Reply
    path: str
    skip: int
    times: int


def json_reply(status: int, value: object, headers: Mapping[str, str] | None = None) -> Reply:
    """Give a JSON reply."""
    all_headers = {"Content-Type": "application/json", **(headers or {})}
    return Reply(status, json.dumps(value).encode(), all_headers)


def client_error(status: int, code: str, message: str) -> Reply:
    """Give Box's client error object.

    Source: "Errors", /guides/api-calls/permissions-and-errors/common-errors.
    """
    return json_reply(
        status,
        {
            "type": "error",
            "status": status,
            "code": code,
            "help_url": _HELP_URL,
            "message": message,
            "request_id": "stub0123456789",
        },
    )


def rate_limited(retry_after: str = "1") -> Reply:
    """Give 429 with a `retry-after` header in seconds.

    Source: "Rate limits", section "Rate limit error",
    /guides/api-calls/permissions-and-errors/rate-limits.
    """
    error = client_error(429, "rate_limit_exceeded", "Request rate limit exceeded")
    return Reply(error.status, error.body, {**error.headers, "Retry-After": retry_after})


def unauthorized() -> Reply:
    """Give 401 with an empty body; the reason stands in `WWW-Authenticate`.

    Source: "Errors", section "401 Unauthorized",
    /guides/api-calls/permissions-and-errors/common-errors, and RFC 6750 section 3.
    """
    reason = "The access token provided is invalid."
    challenge = f'Bearer realm="Service", error="invalid_token", error_description="{reason}"'
    return Reply(401, headers={"WWW-Authenticate": challenge})


def server_error(status: int = 500) -> Reply:
    """Give a failure on Box's side.

    Source: "Errors", sections 500 to 504, /guides/api-calls/permissions-and-errors/common-errors.
    """
    code = {500: "internal_server_error", 502: "bad_gateway", 503: "unavailable"}
    return client_error(status, code.get(status, "internal_server_error"), "Try again later")


HANG_UP: Final = Reply(0)
FORBIDDEN: Final = client_error(
    403, "access_denied_insufficient_permissions", "Access denied - insufficient permission"
)
NOT_JSON: Final = Reply(200, b"<html>maintenance</html>", {"Content-Type": "text/html"})


class BoxApi:
    """Box's behaviour over a list of entries; safe to call from several threads.

    Entries are given oldest first. `requests` records every request, also those that a fault
    answered.
    """

    def __init__(self, entries: Sequence[Entry] = (), options: BoxOptions | None = None) -> None:
        self.options = options or BoxOptions()
        self.requests: list[Request] = []
        self._history: list[Entry] = []
        self._stream: list[Entry] = []
        self._matched: dict[tuple[str, ...], list[tuple[int, Entry]]] = {}
        self._tokens: dict[str, float] = {}
        self._faults: list[_Fault] = []
        self._chunks_until_expiry: int | None = None
        self._lock = threading.RLock()
        self.add(entries)

    def add(self, entries: Sequence[Entry]) -> None:
        """Let new events happen: they appear in both streams."""
        with self._lock:
            for entry in entries:
                self._matched.clear()
                self._history.append(entry)
                self._stream.append(entry)
                every = self.options.duplicate_every
                if every and len(self._history) % every == 0:
                    self._stream.append(self._history[-1 - min(2, len(self._history) - 1)])

    def issue_token(self) -> str:
        """Give a fresh access token, as a host holds one after its own grant."""
        token = uuid.uuid4().hex
        with self._lock:
            self._tokens[token] = time.monotonic() + self.options.token_life_s
        return token

    def expire_tokens(self, *, after_chunks: int = 0) -> None:
        """Revoke every token issued so far, now or once that many event chunks were served."""
        with self._lock:
            self._chunks_until_expiry = after_chunks
            self._count_down(0)

    def fail_next(
        self, reply: Reply, *, path: str = EVENTS_PATH, times: int = 1, skip: int = 0
    ) -> None:
        """Answer `times` requests for `path` with `reply`, after letting `skip` pass."""
        with self._lock:
            self._faults.append(_Fault(reply, path, skip, times))

    def requests_for(self, path: str) -> list[Request]:
        """Give the recorded requests for one path, in order."""
        with self._lock:
            return [request for request in self.requests if request.path == path]

    def handle(self, request: Request) -> Reply:
        """Give the reply to one request."""
        endpoints: dict[tuple[str, str], Callable[[Request], Reply]] = {
            ("POST", TOKEN_PATH): self._token,
            ("GET", EVENTS_PATH): self._events,
            ("GET", USERS_ME_PATH): self._users_me,
        }
        with self._lock:
            self.requests.append(request)
            fault = self._take_fault(request.path)
            if fault is not None:
                return fault
            endpoint = endpoints.get((request.method, request.path))
            if endpoint is None:
                return client_error(404, "not_found", "Not Found")
            if request.path != TOKEN_PATH and not self._authorized(request):
                return unauthorized()
            return endpoint(request)

    def _take_fault(self, path: str) -> Reply | None:
        for fault in self._faults:
            if fault.path != path:
                continue
            if fault.skip:
                fault.skip -= 1
                return None
            fault.times -= 1
            if fault.times <= 0:
                self._faults.remove(fault)
            return fault.reply
        return None

    def _authorized(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        expires = self._tokens.get(token, 0.0)
        return scheme.lower() == "bearer" and time.monotonic() < expires

    def _token(self, request: Request) -> Reply:
        """Answer `POST /oauth2/token` for the client credentials grant.

        Source: "Request access token", /reference/post-oauth2-token; "Client Credentials Grant",
        sections "How to use" and "Common Errors", /guides/authentication/client-credentials;
        "Access Tokens", section "Server authentication", /guides/authentication/tokens.
        """
        options, form = self.options, request.form
        if form.get("grant_type") != "client_credentials":
            return _oauth_error("unsupported_grant_type", "This grant type is not supported")
        given = (form.get("client_id"), form.get("client_secret"))
        if given != (options.client_id, options.client_secret):
            return _oauth_error("invalid_client", "The client credentials are invalid")
        subject = (form.get("box_subject_type"), form.get("box_subject_id"))
        if subject != ("enterprise", options.enterprise_id):
            return _oauth_error("invalid_grant", "Grant credentials are invalid")
        return json_reply(
            200,
            {
                "access_token": self.issue_token(),
                "expires_in": max(1, int(options.token_life_s)),
                "restricted_to": [],
                "token_type": "bearer",
            },
        )

    def _users_me(self, request: Request) -> Reply:
        """Answer `GET /2.0/users/me` with the application's service account.

        Source: "Get current user", /reference/get-users-me; "User (Full)", /reference/resources/
        user--full. With `fields`, only those and the mini representation are returned.
        """
        mini = {
            "type": "user",
            "id": "33300001",
            "name": "Aperio events",
            "login": "AutomationUser_2012345_k9x@boxdevedition.com",
        }
        standard = {
            "created_at": "2025-11-03T08:12:41-08:00",
            "language": "en",
            "status": "active",
            "timezone": "America/Los_Angeles",
        }
        enterprise = {"type": "enterprise", "id": self.options.enterprise_id, "name": "Example Inc"}
        fields = [name for name in request.query.get("fields", "").split(",") if name]
        extra = standard | {"enterprise": enterprise, "role": "user"}
        chosen = {name: extra[name] for name in fields if name in extra} if fields else standard
        return json_reply(200, mini | chosen)

    def _events(self, request: Request) -> Reply:
        """Answer `GET /2.0/events` for the two enterprise streams.

        Source: "List user and enterprise events", /reference/get-events; "Get Enterprise Events",
        /guides/events/enterprise-events/for-enterprise (retention of 14 and 365 days, duplicates
        and order of `admin_logs_streaming`); "Stream Position Pagination",
        /guides/events/parameters/pagination; "Events", /reference/resources/events.
        """
        query = request.query
        stream_type = query.get("stream_type", "all")
        if stream_type not in {"admin_logs", "admin_logs_streaming"}:
            return client_error(400, "bad_request", "This stub knows the enterprise streams only")
        try:
            limit = min(int(query.get("limit", "100")), 500, self.options.max_chunk)
            start = self._offset(query.get("stream_position", "0"), stream_type)
            chosen = self._matching(stream_type, query)
        except ValueError:
            return client_error(400, "invalid_request_parameters", "Invalid input parameters")
        if limit < 1:
            return client_error(400, "invalid_limit", "Limit is not a valid number")
        first = bisect_left(chosen, start, key=itemgetter(0))
        page = chosen[first : first + limit]
        following = page[-1][0] + 1 if page else start
        self._count_down(1)
        return json_reply(
            200,
            {
                "chunk_size": len(page),
                "next_stream_position": self._position(following, stream_type, empty=not page),
                "entries": [entry for _, entry in page],
            },
        )

    def _matching(self, stream_type: str, query: Mapping[str, str]) -> list[tuple[int, Entry]]:
        """Give (offset, entry) of what a query selects; Box filters before it pages."""
        words = (query.get(name, "") for name in ("created_after", "created_before", "event_type"))
        key = (stream_type, *words)
        if key not in self._matched:
            self._matched[key] = self._found(stream_type, query)
        return self._matched[key]

    def _found(self, stream_type: str, query: Mapping[str, str]) -> list[tuple[int, Entry]]:
        streaming = stream_type == "admin_logs_streaming"
        entries = self._stream if streaming else self._history
        kept = timedelta(days=14 if streaming else 365)
        newest = max((_time_of(entry, NEWEST) for entry in entries), default=NEWEST)
        after, before = newest - kept, datetime.max.replace(tzinfo=UTC)
        if not streaming:  # the streaming feed ignores both bounds
            after = max(after, _bound(query, "created_after", after))
            before = _bound(query, "created_before", before)
        types = {name for name in query.get("event_type", "").split(",") if name}
        return [
            (index, entry)
            for index, entry in enumerate(entries)
            if after <= _time_of(entry, newest) <= before
            and (not types or entry.get("event_type") in types)
        ]

    def _offset(self, position: str, stream_type: str) -> int:
        length = len(self._stream if stream_type == "admin_logs_streaming" else self._history)
        if position == "now":
            return length
        if position in {"", "0", "null"}:
            return 0
        return max(0, int(position) - _POSITION_BASE)

    def _position(self, offset: int, stream_type: str, *, empty: bool) -> str | int:
        zero = empty and stream_type == "admin_logs" and self.options.empty_position == "zero"
        number = 0 if zero else _POSITION_BASE + offset
        return number if self.options.position_kind == "number" else str(number)

    def _count_down(self, chunks: int) -> None:
        if self._chunks_until_expiry is None:
            return
        self._chunks_until_expiry -= chunks
        if self._chunks_until_expiry <= 0:
            self._tokens.clear()
            self._chunks_until_expiry = None


def _oauth_error(error: str, description: str) -> Reply:
    return json_reply(400, {"error": error, "error_description": description})


def _bound(query: Mapping[str, str], name: str, default: datetime) -> datetime:
    text = query.get(name)
    return datetime.fromisoformat(text).astimezone(UTC) if text else default


def _time_of(entry: Entry, default: datetime) -> datetime:
    """Give when an entry happened; a malformed one counts as new, so that it is served."""
    try:
        return datetime.fromisoformat(entry["created_at"]).astimezone(UTC)
    except (KeyError, OverflowError, TypeError, ValueError):
        return default


class BoxSimulator(BoxApi):
    """`BoxApi` on a port of 127.0.0.1: a context manager, or `start()` and `stop()`."""

    def __init__(
        self, entries: Sequence[Entry] = (), options: BoxOptions | None = None, *, port: int = 0
    ) -> None:
        super().__init__(entries, options)
        self.stopping = threading.Event()
        self._server = _Server(("127.0.0.1", port), _handler_for(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and free the port; replies that are delayed are given up."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that keeps its connection open must not hold up stop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about clients that hang up."""


def _handler_for(simulator: BoxSimulator) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Keep stderr for the program under test."""

        def _serve(self) -> None:
            reply = simulator.handle(self._request())
            if reply.delay_s:
                simulator.stopping.wait(reply.delay_s)
            if reply.status == 0:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def _request(self) -> Request:
            parts = urlsplit(self.path)
            size = min(int(self.headers.get("Content-Length") or 0), _MAX_BODY_BYTES)
            return Request(
                method=self.command,
                path=parts.path,
                query=dict(parse_qsl(parts.query, keep_blank_values=True)),
                headers={name.lower(): value for name, value in self.headers.items()},
                form=dict(parse_qsl(self.rfile.read(size).decode("utf-8", "replace"))),
            )

    return Handler


_PEOPLE: Final = (
    {"type": "user", "id": "17738362", "name": "Ada Okafor", "login": "ada@example.com"},
    {"type": "user", "id": "17738363", "name": "Bruno Meier", "login": "bruno@example.com"},
    {"type": "user", "id": "17738364", "name": "Chiyo Tanaka", "login": "chiyo@example.com"},
)
_NOBODY: Final = {"type": "user", "id": "2", "name": "Unknown User", "login": ""}
_OUTSIDER: Final = {"type": "user", "id": "99120044", "name": "", "login": "sam@partner.test"}
_SERVICE: Final = {"service_id": "2012345", "service_name": "Box Web App"}
_FILES: Final = ("Board minutes.docx", "Payroll 2026.xlsx", "Roadmap.pptx", "Naïve plan v2.pdf")


def _item(rng: random.Random) -> Entry:
    """Give an item source ("Event Source", /guides/events/event-triggers/event-source)."""
    return {
        "item_type": "file",
        "item_id": str(rng.randrange(10**11, 10**12)),
        "item_name": rng.choice(_FILES),
        "parent": {"type": "folder", "name": "Finance", "id": "96306441781"},
        "owned_by": dict(rng.choice(_PEOPLE)),
    }


def _shared_file(rng: random.Random, access: str) -> Entry:
    """Give a file resource with its link ("File", /reference/resources/file)."""
    return {
        "type": "file",
        "id": str(rng.randrange(10**11, 10**12)),
        "name": rng.choice(_FILES),
        "shared_link": {
            "url": "https://example.app.box.com/s/" + f"{rng.getrandbits(160):040x}",
            "access": access,
            "effective_access": access,
        },
        "owned_by": dict(rng.choice(_PEOPLE)),
    }


def _link(rng: random.Random) -> Entry:
    return {"shared_link_id": f"{rng.getrandbits(160):040x}", **_SERVICE}


def _collaboration(rng: random.Random, collaborator: Mapping[str, str]) -> Entry:
    role = rng.choice(("Editor", "Viewer", "Co-owner"))
    return {
        "source": {"type": "folder", "id": "96306441781", "name": "Finance"},
        "accessible_by": dict(collaborator),
        "additional_details": {"collab_id": str(rng.randrange(10**9, 10**10)), "role": role},
    }


def _download(rng: random.Random) -> Entry:
    details = {"size": rng.randrange(10**4, 10**8), "version_id": str(rng.randrange(10**12))}
    return {"source": _item(rng), "additional_details": {**details, **_SERVICE}}


_App: Final = {"type": "application", "name": "Invoice exporter", "api_key": "k3y1d"}
_SHAPES: Final[tuple[tuple[str, Callable[[random.Random], Entry]], ...]] = (
    ("LOGIN", lambda rng: {"source": dict(rng.choice(_PEOPLE))}),
    ("FAILED_LOGIN", lambda rng: {"source": dict(rng.choice(_PEOPLE)), "created_by": _NOBODY}),
    ("SHARE", lambda rng: {"source": _item(rng), "additional_details": _link(rng)}),
    ("ITEM_SHARED_UPDATE", lambda rng: {"source": _shared_file(rng, "open")}),
    ("ITEM_SHARED_UPDATE", lambda rng: {"source": _shared_file(rng, "company")}),
    ("COLLABORATION_INVITE", lambda rng: _collaboration(rng, _OUTSIDER)),
    ("COLLABORATION_ACCEPT", lambda rng: _collaboration(rng, rng.choice(_PEOPLE))),
    ("CHANGE_ADMIN_ROLE", lambda rng: {"source": dict(rng.choice(_PEOPLE))}),
    ("ENTERPRISE_APP_AUTHORIZATION_UPDATE", lambda _: {"source": _App}),
    ("DOWNLOAD", _download),
    ("FILE_WATERMARKED_DOWNLOAD", _download),
    ("PREVIEW", lambda rng: {"source": _item(rng)}),
    ("SHIELD_ALERT", lambda _: {"source": None, "created_by": _NOBODY}),
)
EVENT_TYPES: Final = tuple(dict.fromkeys(name for name, _ in _SHAPES))


def make_event(event_type: str, rng: random.Random, created_at: datetime) -> Entry:
    """Give one realistic entry of a type in `EVENT_TYPES` ("Event", /reference/resources/event).

    Raises:
        KeyError: the type has no shape here.
    """
    return _make(dict(reversed(_SHAPES))[event_type], event_type, rng, created_at)


def make_events(count: int, seed: int = 0, *, spacing: timedelta | None = None) -> list[Entry]:
    """Give `count` entries, oldest first, the newest at `NEWEST`; the same for the same seed.

    The first ones go through every shape once, the rest are drawn at random.
    """
    rng = random.Random(seed)  # noqa: S311 - test data, not a secret
    step = spacing or timedelta(seconds=97)
    entries = []
    for index in range(count):
        name, shape = _SHAPES[index] if index < len(_SHAPES) else rng.choice(_SHAPES)
        entries.append(_make(shape, name, rng, NEWEST - step * (count - 1 - index)))
    return entries


def _make(
    shape: Callable[[random.Random], Entry],
    event_type: str,
    rng: random.Random,
    created_at: datetime,
) -> Entry:
    base: Entry = {
        "source": None,
        "created_by": dict(rng.choice(_PEOPLE)),
        "action_by": None,
        "created_at": created_at.isoformat(timespec="seconds"),
        "event_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "event_type": event_type,
        "ip_address": f"203.0.113.{rng.randrange(1, 255)}",
        "type": "event",
        "session_id": None,
        "additional_details": None,
    }
    return base | shape(rng)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stdin closes; the first line of stdout is the URL."""
    parser = argparse.ArgumentParser(description="A stub of Box's API on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--events", type=int, default=200, help="how many have happened")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--token-life", type=float, default=3600.0, metavar="SECONDS")
    parser.add_argument("--max-chunk", type=int, default=500, metavar="ENTRIES")
    parser.add_argument("--duplicate-every", type=int, default=0, metavar="ENTRIES")
    parser.add_argument(
        "--expire-after-chunks", type=int, metavar="CHUNKS", help="revoke the tokens issued by then"
    )
    chosen = parser.parse_args(arguments)
    options = BoxOptions(
        token_life_s=chosen.token_life,
        max_chunk=chosen.max_chunk,
        duplicate_every=chosen.duplicate_every,
    )
    entries = make_events(chosen.events, chosen.seed)
    with BoxSimulator(entries, options, port=chosen.port) as simulator:
        if chosen.expire_after_chunks is not None:
            simulator.expire_tokens(after_chunks=chosen.expire_after_chunks)
        sys.stdout.write(simulator.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
