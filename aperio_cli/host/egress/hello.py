"""What a TLS client says in clear: for which host it asks (RFC 8446, 4.1.2; RFC 6066, 3).

Nothing is decrypted. A hello may come in pieces, over several records and segments, and there may
be a second one, after the server's retry request (RFC 8446, 4.1.4), which could ask for another
host than the first. So everything is read until the client says something else than a hello.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aperio_cli.host.egress.decisions import Denied, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aperio_cli.host.egress.targets import Target

ALERT: Final = b"\x15\x03\x01\x00\x02\x02\x31"
"""A fatal `access_denied` (RFC 8446, 6.2), by which a client knows that it was refused."""

_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA = 20, 21, 22, 23
_RECORD_HEADER_BYTES: Final = 5
_HANDSHAKE_HEADER_BYTES: Final = 4
_LONGEST_RECORD_BYTES: Final = 2**14
_LONGEST_HELLO_BYTES: Final = 64 * 1024
_LONGEST_ANYWHERE_BYTES: Final = 256 * 1024  # more than any server reads as a hello
_VERSION_MAJOR: Final = 3
_CLIENT_HELLO: Final = 1
_SERVER_NAME, _ENCRYPTED_CLIENT_HELLO = 0, 0xFE0D  # IANA's registry; RFC 9849 for the second
_HOST_NAME: Final = 0


def begins_like_tls(data: bytes) -> bool:
    """Return whether the first byte is that of a handshake's record; no text begins so."""
    return data[:1] == bytes((_HANDSHAKE,))


class Hellos:
    """Passes on what a TLS client sends, each piece once it was judged.

    Args:
        target: for which host it may ask.
        judge: takes why it may not; what it raises ends the connection.
    """

    def __init__(self, target: Target, judge: Callable[[Denied], None]) -> None:
        self._expected = "" if target.is_address else target.host  # RFC 6066: no address is named
        self._judge = judge
        self._held = bytearray()  # what was not passed on
        self._seen = 0  # of it, bytes in records that were read
        self._message = bytearray()  # of the handshake, what is not whole yet
        self._may_be_encrypted = False
        self.has_hello = False
        self.is_done = False

    def feed(self, data: bytes) -> bytes:
        """Take what the client sent; return what may be passed on now.

        Raises:
            Denied: it asks for another host, or it is no TLS.
        """
        self._held += data
        while not self.is_done and (record := self._next_record()):
            self._take(*record)
        return self._released()

    def _released(self) -> bytes:
        """Return what is judged: whole records, with no hello begun and not ended in them."""
        if self.is_done:
            end = len(self._held)
        elif self._message or not self.has_hello:
            return b""
        else:
            end = self._seen
        released = bytes(self._held[:end])
        del self._held[:end]
        self._seen = 0
        return released

    def _next_record(self) -> tuple[int, bytes] | None:
        """Return type and fragment of the next whole record (RFC 8446, 5.1)."""
        header = self._held[self._seen : self._seen + _RECORD_HEADER_BYTES]
        if len(header) < _RECORD_HEADER_BYTES:
            return None
        length = int.from_bytes(header[3:])
        if header[1] != _VERSION_MAJOR or (header[0] == _HANDSHAKE and length == 0):
            raise Denied(Reason.MALFORMED, "no TLS record")
        if header[0] in {_APPLICATION_DATA, _ALERT} and self.has_hello:
            return header[0], b""
        if length > _LONGEST_RECORD_BYTES:
            raise Denied(Reason.MALFORMED, "a TLS record of more than 16 KiB")
        begin = self._seen + _RECORD_HEADER_BYTES
        if len(self._held) < begin + length:
            return None
        self._seen = begin + length
        return header[0], bytes(self._held[begin : self._seen])

    def _take(self, kind: int, fragment: bytes) -> None:
        if kind == _CHANGE_CIPHER_SPEC and self.has_hello and not self._message:
            self._may_be_encrypted = True
            return
        if kind != _HANDSHAKE:
            if not self.has_hello or self._message:
                raise Denied(Reason.MALFORMED, "a TLS record within a hello")
            self.is_done = True
            return
        self._message += fragment
        self._read_messages()

    def _read_messages(self) -> None:
        while len(self._message) > _HANDSHAKE_HEADER_BYTES:
            length = int.from_bytes(self._message[1:4])
            if not self._is_hello(length):
                if not self.has_hello:
                    raise Denied(Reason.MALFORMED, "TLS begins with a client's hello")
                self.is_done = True
                return
            if length > _LONGEST_HELLO_BYTES:
                raise Denied(Reason.TOO_LONG, "a client's hello of more than 64 KiB")
            end = _HANDSHAKE_HEADER_BYTES + length
            if len(self._message) < end:
                return
            self._check(bytes(self._message[_HANDSHAKE_HEADER_BYTES:end]))
            del self._message[:end]
            self.has_hello = True

    def _is_hello(self, length: int) -> bool:
        """Return whether the message is one, or may be.

        After a change of the cipher comes an encrypted message (TLS 1.2), or a second hello (1.3).
        """
        is_hello = self._message[0] == _CLIENT_HELLO
        if not self._may_be_encrypted:
            return is_hello
        has_version = self._message[_HANDSHAKE_HEADER_BYTES] == _VERSION_MAJOR
        return is_hello and has_version and length <= _LONGEST_ANYWHERE_BYTES

    def _check(self, hello: bytes) -> None:
        names, is_encrypted = read_hello(hello)
        if is_encrypted:
            self._judge(Denied(Reason.SNI_ENCRYPTED))
        elif not names and self._expected:
            self._judge(Denied(Reason.SNI_MISSING))
        elif names and names != [self._expected.encode()]:
            self._judge(Denied(Reason.SNI_DIFFERS, b" ".join(names)))


def read_hello(hello: bytes) -> tuple[list[bytes], bool]:
    """Return the host names of a client's hello, in lower case, and whether ECH hides another.

    Args:
        hello: the message without its header.

    Raises:
        Denied: it cannot be read, or in two ways.
    """
    try:
        return _read_hello(_Reader(hello))
    except IndexError:
        raise Denied(Reason.MALFORMED, "a client's hello that breaks off") from None


def _read_hello(reader: _Reader) -> tuple[list[bytes], bool]:
    reader.take(2 + 32)  # legacy_version, random
    for width in (1, 2, 1):  # legacy_session_id, cipher_suites, legacy_compression_methods
        reader.vector(width)
    names: list[bytes] = []
    seen: set[int] = set()
    if reader.is_empty():  # before TLS 1.2 there need not be extensions
        return names, False
    extensions = _Reader(reader.vector(2))
    if not reader.is_empty():
        raise Denied(Reason.MALFORMED, "a client's hello with more behind it")
    while not extensions.is_empty():
        kind, body = extensions.number(2), extensions.vector(2)
        if kind in seen:
            raise Denied(Reason.MALFORMED, f"a client's hello with extension {kind} twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            names = list(_names(body))
    return names, _ENCRYPTED_CLIENT_HELLO in seen


def _names(body: bytes) -> Iterator[bytes]:
    reader = _Reader(body)
    listed = _Reader(reader.vector(2))
    while not listed.is_empty():
        kind, name = listed.number(1), listed.vector(2)
        if kind != _HOST_NAME:
            raise Denied(Reason.MALFORMED, "a server name that is no host's")
        yield name.lower()
    if not reader.is_empty():
        raise Denied(Reason.MALFORMED, "a list of server names with more behind it")


class _Reader:
    """Reads numbers and vectors of TLS (RFC 8446, 3.3, 3.4); IndexError: there is too little."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def is_empty(self) -> bool:
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise IndexError(count)
        taken, self._at = self._data[self._at : end], end
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def vector(self, width: int) -> bytes:
        return self.take(self.number(width))
