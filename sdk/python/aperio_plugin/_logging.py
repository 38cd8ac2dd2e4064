"""Log records as hashicorp/go-hclog's JSON lines on descriptor 2, where go-plugin hosts read them.

A host crashes on an `@` key that is not text, and takes a record for debugging output when its
timestamp has not exactly six fraction digits or its level is unknown (go-plugin, `log_entry.go`).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from types import TracebackType

LEVEL_VARIABLE: Final = "APERIO_PLUGIN_LOG_LEVEL"
"""Environment variable: `trace`, `debug`, `info` (default), `warn` or `error`."""

MAX_LINE_BYTES: Final = 60 * 1024
"""go-plugin breaks longer lines than 64 KiB into pieces without level or keys."""

_MAX_TEXT = 16 * 1024
_TRACE = 5
_LEVELS = {
    "trace": _TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class HclogHandler(logging.Handler):
    """Writes each record as one line; whatever goes wrong with that stays in here."""

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            rest = line(record)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except Exception:  # noqa: BLE001, S110 - logging must never fail the caller, and there is nowhere left to tell
            pass


class InvocationLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the ids of a call to each record, beside what `extra` gives."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Give the message and the arguments with both sets of keys."""
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


def line(record: logging.LogRecord) -> bytes:
    """Give a record as one line, ASCII, at most `MAX_LINE_BYTES`."""
    base = {
        "@level": _level(record.levelno),
        "@message": _shortened(_message(record)),
        "@module": _shortened(record.name),
        "@timestamp": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    keys = {
        name if not name.startswith("@") else f"_{name}": _plain(value)
        for name, value in vars(record).items()
        if name not in _STANDARD
    }
    if record.exc_info and record.exc_info[1] is not None:
        keys["error"] = _shortened(repr(record.exc_info[1]))
        keys["traceback"] = _shortened(_traceback(record.exc_info[1]))
    full = json.dumps({**base, **keys}).encode()
    if len(full) >= MAX_LINE_BYTES:
        message = base["@message"][: _MAX_TEXT // 4]  # escaped, a character has at most 12 bytes
        full = json.dumps({**base, "@message": message, "keys_dropped": len(keys)}).encode()
    return full + b"\n"


def set_up() -> None:
    """Send all records, and errors that nobody caught, to the host."""
    root = logging.getLogger()
    root.handlers = [HclogHandler()]
    root.setLevel(_LEVELS.get(os.environ.get(LEVEL_VARIABLE, "info").lower(), logging.INFO))
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("aperio_plugin").error("the plugin failed", exc_info=(kind, error, trace))


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value
    name = arguments.thread.name if arguments.thread else "?"
    logging.getLogger("aperio_plugin").error("thread %s failed", name, exc_info=error)


def _level(number: int) -> str:
    """Give hclog's name of a level."""
    for name, lowest in reversed(_LEVELS.items()):
        if number >= lowest:
            return name
    return "trace"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - arguments that do not fit, or whose text form fails
        return f"{record.msg!r} (its arguments do not fit: {type(error).__name__})"


def _traceback(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))


def _plain(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and value - value == 0:  # neither infinite nor NaN
        return value
    try:
        return _shortened(str(value))
    except Exception as error:  # noqa: BLE001 - the text form of a foreign object may do anything
        return f"<{type(value).__name__}, no text: {type(error).__name__}>"


def _shortened(text: str) -> str:
    """Give the text, without its middle when it is long: a traceback's end says most."""
    if len(text) <= _MAX_TEXT:
        return text
    half = _MAX_TEXT // 2
    return f"{text[:half]} [{len(text) - 2 * half} characters left out] {text[-half:]}"
