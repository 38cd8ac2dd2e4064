"""managed.toml: what commands state, in a file of their own beside config.toml.

Commands own it. It is written whole, from entries with types, under a lock, and is read by the
reader of config.toml; so nothing of what a person wrote is ever touched.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.config import places
from aperio_cli.config.reading import MANAGED_SCHEMA, MAX_BYTES, parse_managed
from aperio_cli.errors.usage import ConfigurationInvalid, StatedByHand
from aperio_cli.files import locking, writing
from aperio_cli.text import page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.config.model import Config, ConfigFile
    from aperio_cli.models.policy import PolicyException
    from aperio_cli.paths import Paths

    Change = Callable[[Config], ConfigFile]

# No word of it may be the name of a table: `store.listing` looks for one without reading TOML.
_HEAD: Final = (
    "Written by aperio's commands, which own this file: they replace it whole, comments included.",
    "What you state by hand belongs in config.toml beside it; the two count together.",
)


def change(paths: Paths, wanted: Change) -> bool:
    """Write what a change makes of managed.toml; return whether that is something else.

    Nothing is written, and no folder made, when nothing changes. The file is readable by its owner
    only; missing folders are made.

    Args:
        paths: where the files are.
        wanted: gives what managed.toml is to state, from the configuration as it is. It is asked
            again under the lock.

    Raises:
        StatedByHand: the configuration is the site's, which people write; or as `wanted` raises.
        ConfigurationInvalid: a file cannot be read, or could not be read as it would be written;
            all stay as they are.
        LockHeld: another command is changing it.
        FolderNotPrivate: the folder is a link or somebody else's.
        DiskFull: there is no space; the file stays as it is.
        OSError: the folder cannot be written.
    """
    config = places.load_config(paths)
    if wanted(config) == config.managed:
        return False
    _refuse_site(paths)
    file = paths.managed_file
    if not file.parent.exists():
        writing.ensure_own(file.parent)
    with locking.FileLock(paths.managed_lock, what=f"`{file}` was left as it is"):
        config = places.load_config(paths)
        statements = wanted(config)
        if statements == config.managed:
            return False
        # Through a link, because people keep configuration files elsewhere and link to them.
        writing.write_atomic(file.resolve(), to_bytes(file, statements), mode=0o600)
    return True


def to_bytes(path: Path, statements: ConfigFile) -> bytes:
    """Return the contents of managed.toml that state this and nothing else.

    Args:
        path: the file, which is the `source` of every entry.
        statements: what it is to state.

    Raises:
        ConfigurationInvalid: there is no such text: a value would be read as another, or not be
            accepted.
    """
    import tomlkit

    document = tomlkit.document()
    for line in _HEAD:
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    document.add("schema", tomlkit.item(MANAGED_SCHEMA))
    for section, value in _sections(statements).items():
        if value:
            document.add(tomlkit.nl())
            document.add(section, tomlkit.item(value))
    try:
        text = tomlkit.dumps(document)
        data = text.encode()
        is_same = parse_managed(path, text) == statements
    except (ConfigurationInvalid, ValueError) as error:
        why = error.why if isinstance(error, ConfigurationInvalid) else str(error)
        raise _unfit(path, why) from error
    if not is_same:
        raise _unfit(path, "it would be read as something else than was wanted")
    if len(data) > MAX_BYTES:
        raise _unfit(path, f"expected at most {MAX_BYTES} bytes, found {len(data)}")
    return data


def _sections(statements: ConfigFile) -> dict[str, Any]:
    """Return the tables of the file, with the keys of config.toml."""
    policy = {
        "require": statements.require,
        "require_provenance": statements.require_provenance,
        "cool_down_days": statements.cool_down_days,
        "organizations": dict(statements.organizations),
    }
    sandbox = {
        "require": list(statements.sandbox_require),
        "mode": statements.sandbox_mode,
        "plugin_uid": statements.plugin_uid,
        "plugins": {name: {"egress": "report"} for name in statements.reported},
    }
    host = {
        "mtls": statements.mtls,
        "handshake_timeout_s": statements.handshake_timeout_s,
        "metrics": statements.metrics,
        "traces": statements.traces,
        "refresh_hours": statements.refresh_hours,
    }
    return {
        "publishers": [rule.to_json() for rule in statements.publishers],
        "publisher_files": [file.to_json() for file in statements.publisher_files],
        "domains": [domain.to_json() for domain in statements.domains],
        "policy": {key: value for key, value in policy.items() if value},
        "exceptions": [_exception(each) for each in statements.exceptions],
        "registries": [each.to_json() for each in statements.registries],
        "sandbox": {key: value for key, value in sandbox.items() if value},
        "host": {
            key: value
            for key, value in host.items()
            if value or (key == "refresh_hours" and value is not None)  # 0 says something
        },
    }


def _exception(stated: PolicyException) -> dict[str, object]:
    return stated.to_json() | {"until": date.fromisoformat(stated.until)}


def _refuse_site(paths: Paths) -> None:
    """Refuse to state anything beside the site's file, where the floor would not count it.

    Raises:
        StatedByHand: the configuration named is the site's.
    """
    if paths.config_file.resolve() == places.site_config_file().resolve():
        raise StatedByHand(
            f"`{paths.config_file}` was left as it is: people write the site's configuration",
            why="commands write to a file of their own, which is no part of the site's floor",
            next=[f"state it in that file: {page('docs/reference/configuration.md')}"],
        )


def _unfit(path: Path, why: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        f"`{path}` was left as it is: it cannot state what was asked",
        why=why,
        next=["leave out what no configuration can hold, such as control characters"],
    )
