"""Downloads that are cut, gone on with, and led astray."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.files import (
    DigestMismatch,
    InsecureUrl,
    NetworkUnavailable,
    ResponseTooLarge,
)
from aperio_cli.models.digest import Digest
from aperio_cli.net.fetch import Fetched, FetchRequest, fetch_bytes, fetch_into
from aperio_cli.net.part import Part
from tests.unit.test_net_fetch import (
    BODY,
    Server,
    certificate,
    here,
    registry_url,
    reply,
    secure_server,
    server,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from tests.unit.test_net_fetch import Answer

__all__ = ["certificate", "here", "registry_url", "secure_server", "server"]

DIGEST = Digest.of(BODY)
TAG = '"one"'


def ranged(body: bytes = BODY, *, cut: int | None = None, tag: str = TAG, **headers: str) -> Answer:
    """An answer of a server that knows ranges; after `cut` bytes of the body it hangs up."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        asked, condition = handler.headers.get("Range", ""), handler.headers.get("If-Range", tag)
        start = int(asked[len("bytes=") : -1]) if asked and condition == tag else 0
        handler.send_response(206 if start else 200)
        stated = {"Content-Length": str(len(body) - start), **({"ETag": tag} if tag else {})}
        if start:
            stated["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        for key, value in (stated | headers).items():
            handler.send_header(key.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body[start:cut])

    return send


def get(url: str, **changes: object) -> tuple[bytes, Fetched]:
    settings: dict[str, object] = {"limit_bytes": len(BODY), "timeout_s": 20.0} | changes
    return fetch_bytes(FetchRequest(url, **settings), sleep=lambda _: None)  # type: ignore[arg-type] # a test names its fields


def asked_ranges(server: Server) -> list[str]:
    return [headers.get("range", "") for _, headers in server.requests]


# ── within one process ────────────────────────────────────────────────────────────────────────────


def test_download_cut_at_any_percent_ends_with_the_right_bytes(server: Server) -> None:
    for percent in range(1, 100):
        cut = len(BODY) * percent // 100
        server.requests.clear()
        server.answers["/a"] = [ranged(cut=cut), ranged()]
        body, fetched = get(server.url())
        assert (body, fetched.digest) == (BODY, DIGEST)
        assert asked_ranges(server) == ["", f"bytes={cut}-"]
        assert server.requests[1][1]["if-range"] == TAG


def test_tries_that_bring_something_are_not_counted_against_a_bad_line(server: Server) -> None:
    step = len(BODY) // 20
    server.answers["/a"] = [ranged(cut=step * n) for n in range(1, 20)] + [ranged()]

    assert get(server.url())[0] == BODY
    assert len(server.requests) == 20


def test_server_without_ranges_is_asked_for_all_of_it_again(server: Server) -> None:
    cut = reply(body=BODY[:100], Content_Length=str(len(BODY)), ETag=TAG)
    server.answers["/a"] = [cut, reply(ETag=TAG)]

    assert get(server.url())[0] == BODY


def test_body_that_changed_meanwhile_is_taken_from_its_beginning(server: Server) -> None:
    other = BODY[::-1]
    server.answers["/a"] = [ranged(cut=500), ranged(other, tag='"two"')]

    assert get(server.url())[0] == other


@pytest.mark.parametrize("tag", ['W/"one"', ""])
def test_without_a_strong_tag_or_a_digest_nothing_is_gone_on_with(server: Server, tag: str) -> None:
    moment = "Sat, 06 Jun 2026 00:00:00 GMT"
    server.answers["/a"] = [ranged(cut=500, tag=tag, Last_Modified=moment), ranged(tag=tag)]

    assert get(server.url())[0] == BODY
    assert asked_ranges(server) == ["", ""]


def test_with_a_digest_it_is_gone_on_with_by_the_moment_of_the_change(server: Server) -> None:
    moment = "Sat, 06 Jun 2026 00:00:00 GMT"
    server.answers["/a"] = [
        ranged(cut=500, tag="", Last_Modified=moment),
        reply(206, BODY[500:], Content_Range=f"bytes 500-{len(BODY) - 1}/{len(BODY)}"),
    ]

    assert get(server.url(), expected_digest=DIGEST)[0] == BODY
    assert server.requests[1][1]["if-range"] == moment


@pytest.mark.parametrize(
    "stated",
    [
        "bytes 0-13999/14000",
        "bytes 499-13999/14000",
        "bytes 501-13999/14000",
        "bytes */14000",
        "items 500-13999/14000",
        "",
        "bytes 500-",
        "bytes " + "9" * 400 + "-1/2",
    ],
)
def test_another_range_than_was_asked_for_is_not_taken(server: Server, stated: str) -> None:
    lying = reply(206, BODY[500:], Content_Range=stated, ETag=TAG)
    server.answers["/a"] = [ranged(cut=500), lying, ranged()]

    assert get(server.url())[0] == BODY
    assert asked_ranges(server) == ["", "bytes=500-", ""]


def test_range_of_another_body_is_not_taken(server: Server) -> None:
    stated = f"bytes 500-{len(BODY) - 1}/{len(BODY)}"
    foreign = reply(206, b"x" * (len(BODY) - 500), Content_Range=stated, ETag='"two"')
    server.answers["/a"] = [ranged(cut=500), foreign, ranged()]

    assert get(server.url())[0] == BODY


def test_range_that_nobody_asked_for_is_refused(server: Server) -> None:
    server.answers["/a"] = [reply(206, BODY, Content_Range=f"bytes 0-9/{len(BODY)}")]

    with pytest.raises(NetworkUnavailable):
        get(server.url())


def test_rest_that_ends_before_its_whole_is_gone_on_with(server: Server) -> None:
    """RFC 9110, section 15.3.7: a part may be less than was asked for."""

    def half(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers["Range"][len("bytes=") : -1])
        end = (start + len(BODY)) // 2
        handler.send_response(206)
        handler.send_header("ETag", TAG)
        handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(BODY)}")
        handler.send_header("Content-Length", str(end - start))
        handler.end_headers()
        handler.wfile.write(BODY[start:end])

    server.answers["/a"] = [ranged(cut=10), half, ranged()]
    assert get(server.url())[0] == BODY
    beyond = ranged(Content_Range=f"bytes 10-{len(BODY) - 1}/20")
    server.answers["/a"] = [ranged(cut=10), beyond, ranged()]
    assert get(server.url())[0] == BODY


def test_rest_that_goes_beyond_the_limit_is_thrown_away(server: Server) -> None:
    for total in ("*", str(len(BODY))):
        longer = reply(206, BODY, Content_Range=f"bytes 500-14499/{total}", ETag=TAG)
        server.answers["/a"] = [ranged(cut=500), longer]
        with pytest.raises(ResponseTooLarge):
            get(server.url())


def test_whole_that_is_announced_as_too_long_is_not_read(server: Server) -> None:
    longer = reply(206, b"", Content_Range="bytes 500-99999/100000", ETag=TAG)
    server.answers["/a"] = [ranged(cut=500), longer]
    with pytest.raises(ResponseTooLarge, match="too long"):
        get(server.url())


def test_server_that_has_no_such_range_is_asked_for_all_of_it(server: Server) -> None:
    server.answers["/a"] = [ranged(cut=500), reply(416, b""), ranged()]

    assert get(server.url())[0] == BODY


def test_rest_that_makes_another_whole_is_fetched_once_more_from_the_beginning(
    server: Server,
) -> None:
    stated = f"bytes 500-{len(BODY) - 1}/{len(BODY)}"
    foreign = reply(206, b"x" * (len(BODY) - 500), Content_Range=stated, ETag=TAG)
    server.answers["/a"] = [ranged(cut=500), foreign, ranged()]

    assert get(server.url(), expected_digest=DIGEST)[0] == BODY
    server.answers["/a"] = [ranged(cut=500), foreign, reply(body=b"x" * len(BODY))]
    with pytest.raises(DigestMismatch):
        get(server.url(), expected_digest=DIGEST)


# ── between processes ─────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def into(url: str, path: Path, digest: Digest = DIGEST) -> Iterator[tuple[FetchRequest, Part]]:
    with Part.opened(path, digest) as part:
        assert part
        yield FetchRequest(url, len(BODY), part=part, timeout_s=20.0), part


def fetched(request: FetchRequest) -> bytes:
    with tempfile.TemporaryFile() as sink:
        fetch_into(request, sink, sleep=lambda _: None)
        sink.seek(0)
        return sink.read()


def test_next_process_goes_on_where_the_last_one_was_cut(server: Server, here: Path) -> None:
    server.answers["/a"] = [ranged(cut=500), reply(403, b"")]
    with into(server.url(), here / "part") as (request, _), pytest.raises(NetworkUnavailable):
        fetched(request)
    assert (here / "part").read_bytes() == BODY[:500]

    server.answers["/a"] = [ranged()]
    with into(server.url(), here / "part") as (request, part):
        assert fetched(request) == BODY
        part.finish(here / "whole")
    assert asked_ranges(server)[-1] == "bytes=500-"
    assert [path.name for path in here.iterdir()] == ["whole"]
    assert (here / "whole").read_bytes() == BODY


def test_part_that_is_whole_already_is_not_asked_for(server: Server, here: Path) -> None:
    (here / "part").write_bytes(BODY)
    with into(server.url(), here / "part") as (request, _):
        assert fetched(request) == BODY
    assert server.requests == []


@pytest.mark.parametrize("found", [b"x" * 500, b"x" * len(BODY), b"x" * (len(BODY) + 1)])
def test_part_that_somebody_put_there_is_found_out(
    server: Server, here: Path, found: bytes
) -> None:
    (here / "part").write_bytes(found)
    server.answers["/a"] = [ranged()]
    with into(server.url(), here / "part") as (request, _):
        assert fetched(request) == BODY
    assert (here / "part").read_bytes() == BODY


def test_part_is_held_by_one_process_at_a_time(here: Path) -> None:
    with Part.opened(here / "part", DIGEST) as first:
        assert first
        with Part.opened(here / "part", DIGEST) as second:
            assert second is None
    with Part.opened(here / "part", DIGEST) as third:
        assert third


def test_link_in_the_place_of_a_part_is_not_followed(here: Path) -> None:
    (here / "elsewhere").write_bytes(b"mine")
    (here / "part").symlink_to(here / "elsewhere")
    with Part.opened(here / "part", DIGEST) as part:
        assert part is None
    assert (here / "elsewhere").read_bytes() == b"mine"


# ── conditions ────────────────────────────────────────────────────────────────────────────────────


def test_answer_is_confirmed_by_the_moment_of_its_change(server: Server) -> None:
    moment = "Sat, 06 Jun 2026 00:00:00 GMT"
    server.answers["/a"] = [reply(Last_Modified=moment), reply(304, b"")]
    first = get(server.url())[1]
    second = get(server.url(), last_modified=first.last_modified)[1]

    assert server.requests[1][1]["if-modified-since"] == moment
    assert (second.is_modified, second.last_modified) == (False, moment)


@pytest.mark.parametrize("stated", [{"ETag": '"two"'}, {"Last_Modified": "yesterday"}])
def test_confirmation_of_another_answer_is_not_believed(
    server: Server, stated: dict[str, str]
) -> None:
    server.answers["/a"] = [reply(304, b"", **stated), reply()]

    body, fetched = get(server.url(), etag=TAG, last_modified="today")

    assert (body, fetched.is_modified) == (BODY, True)
    assert "if-none-match" not in server.requests[1][1]


def test_weak_tag_confirms_the_strong_one(server: Server) -> None:
    server.answers["/a"] = [reply(304, b"", ETag=f"W/{TAG}")]

    assert not get(server.url(), etag=TAG)[1].is_modified


def test_body_behind_a_confirmation_is_not_read(server: Server) -> None:
    server.answers["/a"] = [reply(304, BODY, ETag=TAG)]

    body, fetched = get(server.url(), etag=TAG)
    assert (body, fetched.size_bytes, fetched.is_modified) == (b"", 0, False)


def test_fresh_answer_is_asked_of_the_server_itself(server: Server) -> None:
    server.answers["/a"] = [reply()]
    get(server.url(), is_fresh=True)
    assert server.requests[0][1]["cache-control"] == "no-cache"


def test_arrival_is_told_with_what_there_will_be(server: Server) -> None:
    told: list[tuple[int, int | None]] = []
    server.answers["/a"] = [ranged()]
    get(server.url(), on_arrival=lambda arrived, total: told.append((arrived, total)))
    assert told[-1] == (len(BODY), len(BODY))
    assert hashlib.sha256(BODY).hexdigest() == DIGEST.hex


# ── redirects ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("https://10.0.0.5/b", "private network"),
        ("https://169.254.169.254/latest", "private network"),
        ("https://[fd00::1]/b", "private network"),
        ("https://user:hunter2@registry.example/b", "a user or a password"),
        ("https://hunter2@cdn.example/b", "a user or a password"),
    ],
)
def test_redirect_inwards_or_with_a_password_is_refused(
    secure_server: Server, registry_url: str, target: str, why: str
) -> None:
    secure_server.answers["/a"] = [reply(302, b"", Location=target)]

    with pytest.raises(InsecureUrl, match="redirects somewhere unsafe") as caught:
        get(f"{registry_url}/a")

    assert why in caught.value.why
    assert "hunter2" not in caught.value.why
    assert len(secure_server.requests) == 1


def test_redirect_off_https_is_refused_on_this_machine_too(
    secure_server: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    port = secure_server.port
    secure_server.answers["/a"] = [reply(302, b"", Location=f"http://localhost:{port}/b")]

    with pytest.raises(InsecureUrl) as caught:
        get(f"https://localhost:{port}/a")
    assert "leave https" in caught.value.why


def test_password_of_an_address_is_not_carried_to_another_server(
    secure_server: Server, registry_url: str
) -> None:
    named = registry_url.replace("https://", "https://user:hunter2@")
    secure_server.answers["/a"] = [reply(302, b"", Location=f"{registry_url}/b")]
    secure_server.answers["/b"] = [reply()]

    assert get(f"{named}/a")[0] == BODY
    assert "authorization" in secure_server.requests[0][1]
    assert "authorization" not in secure_server.requests[1][1]
