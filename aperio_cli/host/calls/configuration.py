"""The operator's settings for a plugin, checked against the fields that it declares.

Settings come as text (`--set key=value`) or with JSON types (a file). Text becomes what the field's
type says. Values are never shown: any of them may be a secret that was given for the wrong key.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aperio_plugin.wire import fitting

from aperio_cli.errors.running import PluginConfigInvalid
from aperio_cli.models.reading import Bounds, read_json
from aperio_cli.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aperio_plugin.wire import common_pb2

_MOST_NAMED: Final = 20
_MOST_COMPARED: Final = 200
_LONGEST_COMPARED: Final = 80
_DEFAULT_BOUNDS: Final = Bounds(6 * fitting.LONGEST_TEXT + 2)  # all of it escapes


@dataclass(frozen=True, slots=True)
class CheckedConfig:
    """Settings that fit the plugin's fields.

    Attributes:
        values: every setting by key, defaults included; for the host only. May hold secrets.
        plugin_json: the settings that the plugin gets, as a compact JSON object with sorted keys,
            which is the form that approvals are bound to.
        given: keys that the operator gave a value; the others have the plugin's defaults. An empty
            text is no value.
    """

    values: Mapping[str, Any] = field(repr=False)
    plugin_json: bytes = field(repr=False)
    given: frozenset[str]


def check_config(
    fields: Iterable[common_pb2.ConfigField],
    settings: Mapping[str, object],
    *,
    subject: str,
    option: str = "--set",
    declaring: str = "schema",
) -> CheckedConfig:
    """Return the settings, converted and completed with defaults.

    Args:
        fields: what the plugin declares.
        settings: values by key; text, or what JSON has.
        subject: what to call the plugin in messages.
        option: how a setting is given on the command line, or the field of a call that has it.
        declaring: the operation that shows what the plugin declares.

    Raises:
        PluginConfigInvalid: a key is unknown, missing, or of a wrong type; names twenty of each.
    """
    declared = {declaration.key: declaration for declaration in fields}
    checked = fitting.check(declared.values(), settings, _read)
    if checked.problems or checked.unknown:
        problems = [
            f"{clean(key, limit=80)}: {one_line(problem)}"
            for key, problem in list(checked.problems.items())[:_MOST_NAMED]
        ]
        unknown = [_unknown(key, declared) for key in list(checked.unknown)[:_MOST_NAMED]]
        more = len(checked.problems) + len(checked.unknown) - len(problems) - len(unknown)
        unknown += [f"and {more} more"] if more else []
        raise _invalid(problems, unknown, subject, (option, declaring))
    shared = {key: value for key, value in checked.values.items() if not declared[key].host_only}
    plugin_json = json.dumps(
        shared, ensure_ascii=False, separators=(",", ":"), sort_keys=True
    ).encode()
    given = frozenset(key for key, value in settings.items() if fitting.is_given(value))
    return CheckedConfig(checked.values, plugin_json, given)


def _invalid(
    problems: list[str], unknown: list[str], subject: str, words: tuple[str, str]
) -> PluginConfigInvalid:
    option, declaring = words
    key = (problems + unknown)[0].partition(":")[0]
    step = f"`{option} {key}=VALUE`, where VALUE may be env:NAME or file:PATH"
    if option.endswith("_json"):  # a field of the control API
        step = f"give `{key}` a value in `{option}`"
    return PluginConfigInvalid(
        f"`{key}` of {subject} is not configured well; nothing was done",
        why="\n".join(problems + unknown),
        next=[
            step if problems else f"leave `{key}` out, or write the key that was meant",
            f"the operation `{declaring}` shows every key with its type",
        ],
    )


def _unknown(key: str, declared: Mapping[str, common_pb2.ConfigField]) -> str:
    # Both a plugin and a caller may have as many as they like, of any length.
    near = list(declared)[:_MOST_COMPARED] if len(key) <= _LONGEST_COMPARED else []
    close = difflib.get_close_matches(key, near, n=1)
    known = f"known: {clean(', '.join(declared))}" if declared else "it has none"
    hint = f"did you mean {clean(close[0])}?" if close else known
    return f"{clean(key, limit=80)}: the plugin has no such key; {hint}"


def read_default(declaration: common_pb2.ConfigField) -> Any:
    """Return the default that a plugin declares for a field; None when it has none.

    Raises:
        ValueError: it is no strict JSON, or not of the field's type; the text says which.
    """
    return fitting.default_of(declaration, _read)


def _read(data: bytes) -> Any:
    return read_json(data, _DEFAULT_BOUNDS)
