"""Answers of plugins: words of a newer minor version, and whatever nobody foresaw.

A newer minor version of the interface may add values to an enum (common.proto, rules): a reader
that does not know one says so, and keeps the rest of the answer.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.errors import AperioError
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aperio_cli.errors.running import PluginContractBroken

_INNER_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def word(enum: Any, number: int) -> str:
    """Return an enum's value as a word in lower case, without the enum's own name before it.

    Args:
        enum: what protobuf makes of an enum, such as `ExecuteResponse.Outcome`.
        number: the value; of one that this version does not know, the word is `unknown_` and it.
    """
    value = enum.DESCRIPTOR.values_by_number.get(number)
    if value is None:
        return f"unknown_{number}"
    prefix = _INNER_CAPITAL.sub("_", enum.DESCRIPTOR.name).upper()
    return str(value.name).removeprefix(f"{prefix}_").lower()


def is_known(enum: Any, number: int) -> bool:
    """Return whether this version of the interface has a name for a value of an enum."""
    return number in enum.DESCRIPTOR.values_by_number


@contextlib.contextmanager
def understood(broken: Callable[[str, str], PluginContractBroken], method: str) -> Iterator[None]:
    """Count it as the plugin's fault when its answer is one that we cannot deal with.

    Args:
        broken: makes the error of the method's name and what is wrong with its answer.
        method: that the plugin answered.

    Raises:
        PluginContractBroken: anything but an error for people was raised inside.
    """
    try:
        yield
    except AperioError:
        raise
    except Exception as error:
        why = f"its answer cannot be read\n{type(error).__name__}: {one_line(error)}"
        raise broken(method, why) from error
