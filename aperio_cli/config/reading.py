"""Reads one config.toml: every key checked, and file and line named when one is wrong."""

from __future__ import annotations

import functools
import re
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aperio_cli import clock
from aperio_cli.config.lines import line_of
from aperio_cli.config.model import (
    EGRESS_MODES,
    REQUIRABLE,
    SANDBOX_MODES,
    ConfigFile,
    DomainRule,
    PublisherFile,
    RunRule,
)
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import PathShared, RecordNewer
from aperio_cli.errors.usage import ConfigurationInvalid, PluginIdInvalid, VersionInvalid
from aperio_cli.files import owning, reading
from aperio_cli.models.newer import is_ours, refuse_newer
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.policy import (
    LIMIT_PREFIX,
    LONGEST_EXCEPTION,
    MAX_REASON_CHARACTERS,
    REQUIREMENTS,
    REVOKED_RULE,
    UNSIGNED,
    UNVERIFIED,
    PolicyException,
)
from aperio_cli.models.publisher import RESERVED_DOMAINS
from aperio_cli.models.publisher_table import (
    parse_file_signer,
    parse_publisher,
)
from aperio_cli.models.reading import Bounds, Table, Unreadable, read_toml, unknown
from aperio_cli.models.registry.rule import KNOWN, RegistryRule, parse_registry
from aperio_cli.models.tenant import MOST_NAME_CHARACTERS, why_no_name
from aperio_cli.text import clean, page

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_BYTES: Final = 1024 * 1024
EXCEPTION_RULES: Final = (
    UNSIGNED,
    UNVERIFIED,
    REVOKED_RULE,
    *(f"{LIMIT_PREFIX}{n}" for n in REQUIRABLE),
)
"""What an `[[exceptions]]` entry can lift."""

LONGEST_COOL_DOWN_DAYS: Final = 365
_COOL_DOWN = "cool_down_days"
_POLICY_KEYS = ("require", "require_provenance", _COOL_DOWN, "organizations")
LONGEST_HANDSHAKE_S: Final = 600
_HANDSHAKE = "handshake_timeout_s"
_REFRESH: Final = "refresh_hours"
_MOST_HOURS: Final = 24 * 30
_LARGEST_UID = 2**31 - 1
_SECTIONS = (
    "publishers",
    "publisher_files",
    "domains",
    "policy",
    "exceptions",
    "registries",
    "python",
    "sandbox",
    "host",
    "run",
)
# Which program starts plugins, and which of them run for ever, no command states.
_ONLY_BY_HAND = frozenset({"python", "run"})
_SCHEMA_KEY = "schema"
_MANAGED_SECTIONS = (_SCHEMA_KEY, *(name for name in _SECTIONS if name not in _ONLY_BY_HAND))
MANAGED_SCHEMA: Final = 1
"""Number in the file of the commands; one without it was written before there was a number."""

_DOMAIN_NAME = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
_MAX_SETTINGS = 200
_PORT = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
_LARGEST_PORT = 65535
_IPV6 = 6


def read_site(path: Path) -> ConfigFile:
    """Return what the site's config.toml states; nothing when it is not there.

    Raises:
        ConfigurationInvalid: it cannot be read, or states something that cannot be.
        PathShared: somebody else may change it.
    """
    # Its paths start with /: what `~` means is up to each user, who could put a file of his own
    # in the place of a trusted root.
    if path.is_symlink() and not path.exists():
        raise _unread(path, FileNotFoundError("it is a link that leads nowhere"))
    reader = _read(path, home="")
    domains = reader.domains()
    return reader.statements(domains, _names(domains))


def read_user(path: Path, managed: Path, site: ConfigFile) -> tuple[ConfigFile, ConfigFile]:
    """Return what config.toml and the file of the commands state; nothing where one is missing.

    The rules of each may name the trust domains of both, and those of the site.

    Args:
        path: the user's config.toml.
        managed: the file beside it that commands write.
        site: what the site states.

    Raises:
        PathShared: as `read_site`.
        ConfigurationInvalid: as `read_site`; or both state a domain of one name, or `path` is the
            file of the commands itself.
    """
    if path == managed:
        raise ConfigurationInvalid(
            f"`{path}` was not read: commands write this file",
            why="expected the config.toml beside it",
            next=[f"`--config {path.with_name('config.toml')}`"],
        )
    readers = _read(path), _read(managed, sections=_MANAGED_SECTIONS)
    stated, added = (reader.domains() for reader in readers)
    _refuse_twice(readers, stated, added)
    names = _names((*site.domains, *stated, *added))
    return readers[0].statements(stated, names), readers[1].statements(added, names)


def read_alone(path: Path, *, is_managed: bool = False, is_site: bool = False) -> ConfigFile:
    """Return what one file states, whatever trust domains its rules name.

    Args:
        path: the file; one that is not there states nothing.
        is_managed: whether commands write it.
        is_site: whether it is the site's, where paths start with /.

    Raises:
        ConfigurationInvalid, PathShared: as `read_site`.
    """
    sections = _MANAGED_SECTIONS if is_managed else _SECTIONS
    reader = _read(path, sections=sections, home="" if is_site else "~")
    return reader.statements(reader.domains(), None)


def parse_managed(path: Path, text: str) -> ConfigFile:
    """Return what a file of the commands would state, whatever trust domains its rules name.

    Raises:
        ConfigurationInvalid: as `read_site`.
    """
    try:
        reader = _Reader(path, text.encode(), sections=_MANAGED_SECTIONS)
    except Unreadable as error:
        raise _unread(path, error) from error
    return reader.statements(reader.domains(), None)


def parse_exception(table: Table, *, stated_in: str) -> PolicyException:
    """Return the exception that one `[[exceptions]]` table states.

    Args:
        table: its keys; what is wrong with one is raised by `table.fail`.
        stated_in: the file, for messages.
    """
    table.check_keys(("plugin", "rule", "until", "reason"))
    try:
        plugin = PluginRef.parse(table.text("plugin"))
    except (PluginIdInvalid, VersionInvalid) as error:
        table.fail("plugin", f"{error.what}; {error.why}")
    until = table.day("until")
    latest = (clock.now().date() + LONGEST_EXCEPTION).isoformat()
    if until > latest:
        table.fail("until", f"an exception ends within a year: {latest} at the latest")
    reason = table.text("reason")
    if len(reason) > MAX_REASON_CHARACTERS:
        table.fail("reason", f"expected at most {MAX_REASON_CHARACTERS} characters")
    return PolicyException(
        plugin=plugin.id,
        version=plugin.version or "",
        rule=table.choice("rule", EXCEPTION_RULES),
        until=until,
        reason=reason,
        stated_in=stated_in,
    )


def parse_domain_rule(table: Table, *, stated_in: str, home: str = "~") -> DomainRule:
    """Return the trust domain that one `[[domains]]` table states.

    Args:
        table: its keys; what is wrong with one is raised by `table.fail`.
        stated_in: the file, for messages.
        home: `~` when its paths may start with it, else empty.
    """
    table.check_keys(("name", "file", "tuf", "tuf_root"))
    name = table.text("name")
    if name in RESERVED_DOMAINS or not _DOMAIN_NAME.fullmatch(name):
        reserved = ", ".join(RESERVED_DOMAINS)
        table.fail("name", f"expected a-z, 0-9 and -, at most 40, and none of {reserved}")
    if ("file" in table) == ("tuf" in table):
        table.fail("file", "expected `file`, or `tuf` and `tuf_root`, one of the two")
    if ("tuf" in table) != ("tuf_root" in table):
        table.fail("tuf_root", "`tuf` and `tuf_root` go together")
    is_file = "file" in table
    return DomainRule(
        name=name,
        file=_absolute(table, "file", home) if is_file else None,
        tuf="" if is_file else table.url("tuf"),
        tuf_root=None if is_file else _absolute(table, "tuf_root", home),
        stated_in=stated_in,
    )


def _listening(table: Table, key: str) -> str:
    """Return the address and port to listen at, such as `127.0.0.1:9464` or `[::1]:9464`."""
    value = table.text(key)
    host, _, port = value.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        table.fail(key, "expected an IP address and a port, such as 127.0.0.1:9464")
    is_written = host == (f"[{address}]" if address.version == _IPV6 else str(address))
    if not is_written or not _PORT.fullmatch(port) or int(port) > _LARGEST_PORT:
        table.fail(key, "expected an IP address and a port, such as 127.0.0.1:9464")
    return value


def parse_run(table: Table, *, stated_in: str, home: str = "~") -> RunRule:
    """Return the plugin that one `[[run]]` table has the host keep running.

    Args:
        table: its keys; what is wrong with one is raised by `table.fail`.
        stated_in: where it stands, for messages.
        home: `~` when its paths may start with it, else empty.
    """
    table.check_keys(("plugin", "organization", "integration", "settings"))
    try:
        plugin = PluginRef.parse(table.text("plugin"))
    except (PluginIdInvalid, VersionInvalid) as error:
        table.fail("plugin", f"{error.what}; {error.why}")
    names = (key for key in ("organization", "integration") if key in table)
    scope = {key: table.text(key, limit=MOST_NAME_CHARACTERS) for key in names}
    return RunRule(plugin, **scope, settings=_settings(table, home), stated_in=stated_in)


def _settings(table: Table, home: str) -> dict[str, object]:
    """Return a plugin's settings; what they have to be, the plugin says when it has started."""
    stated = table.values.get("settings", {})
    if not isinstance(stated, dict) or len(stated) > _MAX_SETTINGS:
        table.fail("settings", f"expected a table of at most {_MAX_SETTINGS} keys with values")
    for key, value in stated.items():
        named = clean(key, limit=80)
        if not isinstance(value, str | bool | int | float):
            table.fail("settings", f"{named}: expected a text, a number, true or false")
        if isinstance(value, str) and value.startswith("file:"):
            path = value.removeprefix("file:")
            # What it means must not depend on the folder that the host is started in.
            if not path.startswith(("/", f"{home}/") if home else "/"):
                allowed = f"/ or {home}/" if home else "/"
                table.fail("settings", f"{named}: expected a path that starts with {allowed}")
    return dict(stated)


def _absolute(table: Table, key: str, home: str) -> Path:
    """Return a path that means the same from whatever folder a command is run in."""
    value = table.text(key)
    if value.startswith("/"):
        return Path(value)
    if not home or not (value == home or value.startswith(f"{home}/")):
        table.fail(key, f"expected a path that starts with /{f' or {home}/' if home else ''}")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        table.fail(key, "there is no home folder that ~ could stand for")


def _read(path: Path, *, sections: Sequence[str] = _SECTIONS, home: str = "~") -> _Reader:
    """Return the reader of a file; one that is not there reads as an empty one."""
    try:
        owning.require_own(path)
        data = reading.read_capped(path, MAX_BYTES)
        return _Reader(path, data, sections=sections, home=home)
    except (FileNotFoundError, NotADirectoryError):
        return _Reader(path, b"", sections=sections, home=home)
    except (PathShared, RecordNewer):
        raise
    except (AperioError, OSError, Unreadable) as error:
        raise _unread(path, error) from error


def _names(domains: Iterable[DomainRule]) -> tuple[str, ...]:
    return (*RESERVED_DOMAINS, *(domain.name for domain in domains))


def _refuse_twice(
    readers: tuple[_Reader, _Reader], stated: Sequence[DomainRule], added: Sequence[DomainRule]
) -> None:
    """Refuse two trust domains of one name, one in each file.

    Raises:
        ConfigurationInvalid: there are two; names both places.
    """
    names = [domain.name for domain in stated]
    for number, domain in enumerate(added):
        if domain.name in names:
            first = readers[0].place("domains", names.index(domain.name), "name")
            second = readers[1].place("domains", number, "name")
            raise ConfigurationInvalid(
                f"two trust domains are called `{domain.name}`: nothing was read",
                why=f"{first}\n{second}",
                next=["take one of the two entries out of its file"],
            )


def _unread(path: Path, error: Exception) -> ConfigurationInvalid:
    why = error.why if isinstance(error, AperioError) else str(error)
    if isinstance(error, OSError) and error.strerror:  # the path is said already
        return ConfigurationInvalid(
            f"`{path}` was not read",
            why=error.strerror,
            next=["see that this user may read it, or name another with `--config FILE`"],
        )
    return ConfigurationInvalid(
        f"`{path}` was not read", why=why, next=["correct the file, or move it away"]
    )


class _Reader:
    """Turns a file into statements, naming file and line when something is wrong.

    Args:
        path: the file, for messages.
        data: what it holds, UTF-8.
        sections: names of the tables that may stand in it.
        home: `~` when paths may start with it, else empty.

    Raises:
        Unreadable: it is not TOML.
        ConfigurationInvalid: it has a table of another name.
        RecordNewer: a newer aperio's commands wrote it.
    """

    def __init__(
        self, path: Path, data: bytes, *, sections: Sequence[str], home: str = "~"
    ) -> None:
        self._path = path
        self._document = read_toml(data, Bounds(MAX_BYTES))
        self._lines = data.decode("utf-8-sig").split("\n")
        self._home = home
        self._check_sections(sections)

    def _check_sections(self, sections: Sequence[str]) -> None:
        table = Table(self._document, functools.partial(self._fail, "", 0))
        if _SCHEMA_KEY in sections and _SCHEMA_KEY in table:
            schema = table.values[_SCHEMA_KEY]
            refuse_newer(self._path, schema, MANAGED_SCHEMA)
            if not is_ours(schema, MANAGED_SCHEMA):
                table.fail(_SCHEMA_KEY, f"expected {MANAGED_SCHEMA}")
        table.check_keys(sections)

    def domains(self) -> tuple[DomainRule, ...]:
        """Return the trust domains that it states."""
        return tuple(self._domains(self._document))

    def statements(
        self, domains: tuple[DomainRule, ...], names: Sequence[str] | None
    ) -> ConfigFile:
        """Return all that it states.

        Args:
            domains: the trust domains that it states.
            names: those that its rules may name; None when they are not to be checked.
        """
        document = self._document
        policy = self._table(document, "policy", _POLICY_KEYS)
        sandbox = self._table(document, "sandbox", ("require", "mode", "plugin_uid", "plugins"))
        host = self._table(document, "host", ("mtls", _HANDSHAKE, "metrics", "traces", _REFRESH))
        return ConfigFile(
            publishers=tuple(
                parse_publisher(table, domains=names, stated_in=str(self._path))
                for table in self._tables(document, "publishers")
            ),
            publisher_files=tuple(self._publisher_files(document, names)),
            domains=domains,
            require=policy.choice("require", REQUIREMENTS) if "require" in policy else "",
            organizations=tuple(self._organizations(policy)),
            require_provenance=policy.flag("require_provenance"),
            cool_down_days=policy.integer(_COOL_DOWN, most=LONGEST_COOL_DOWN_DAYS)
            if _COOL_DOWN in policy
            else 0,
            exceptions=tuple(
                parse_exception(table, stated_in=str(self._path))
                for table in self._tables(document, "exceptions")
            ),
            registries=tuple(
                self._registry(table, names) for table in self._tables(document, "registries")
            ),
            python_interpreters=self._table(document, "python", ("interpreters",)).texts(
                "interpreters"
            ),
            sandbox_require=self._limits(sandbox),
            sandbox_mode=sandbox.choice("mode", SANDBOX_MODES) if "mode" in sandbox else "",
            plugin_uid=sandbox.integer("plugin_uid", least=1, most=_LARGEST_UID)
            if "plugin_uid" in sandbox
            else 0,
            reported=tuple(self._reported(sandbox)),
            mtls=host.flag("mtls"),
            handshake_timeout_s=host.integer(_HANDSHAKE, least=1, most=LONGEST_HANDSHAKE_S)
            if _HANDSHAKE in host
            else 0,
            runs=tuple(self._runs(document)),
            metrics=_listening(host, "metrics") if "metrics" in host else "",
            traces=host.url("traces") if "traces" in host else "",
            refresh_hours=host.integer(_REFRESH, most=_MOST_HOURS) if _REFRESH in host else None,
        )

    def _runs(self, document: dict[str, Any]) -> Iterable[RunRule]:
        known: set[tuple[str, str, str]] = set()
        for number, table in enumerate(self._tables(document, "run")):
            place = self.place("run", number, "plugin")
            rule = parse_run(table, stated_in=place, home=self._home)
            if rule.key in known:
                table.fail("plugin", "another entry runs it for this organization and integration")
            known.add(rule.key)
            yield rule

    def _publisher_files(
        self, document: dict[str, Any], domains: Sequence[str] | None
    ) -> Iterable[PublisherFile]:
        for table in self._tables(document, "publisher_files"):
            path = _absolute(table, "file", self._home)
            rule = parse_file_signer(table, domains=domains, stated_in=str(self._path))
            yield PublisherFile(path, rule, table.text("name") if "name" in table else "")

    def _domains(self, document: dict[str, Any]) -> Iterable[DomainRule]:
        names: set[str] = set()
        for table in self._tables(document, "domains"):
            rule = parse_domain_rule(table, stated_in=str(self._path), home=self._home)
            if rule.name in names:
                table.fail("name", "there is another domain of that name")
            names.add(rule.name)
            yield rule

    def _organizations(self, policy: Table) -> Iterable[tuple[str, str]]:
        stated = self._nested(policy, "organizations")
        for name in stated.values:
            if why := why_no_name(name):
                stated.fail(name, f"it is the id of no organization: {why}")
            yield name, stated.choice(name, REQUIREMENTS)

    def _registry(self, table: Table, domains: Sequence[str] | None) -> RegistryRule:
        rule = parse_registry(table, domains=domains, stated_in=str(self._path))
        if "://" not in rule.url and rule.url not in KNOWN and not rule.url.startswith(("/", "~")):
            # Which registry is asked must not depend on the folder a command is run in.
            table.fail("url", "expected an address, or a folder that starts with / or ~")
        return rule

    def _limits(self, sandbox: Table) -> tuple[str, ...]:
        required = sandbox.texts("require")
        for name in required:
            if name not in REQUIRABLE:
                sandbox.fail("require", unknown(name, REQUIRABLE))
        return required

    def _reported(self, sandbox: Table) -> Iterable[str]:
        """Yield the ids of the plugins whose connections are only reported."""
        stated = self._nested(sandbox, "plugins", "sandbox")
        for name in stated.values:
            try:
                PluginId.parse(name)
            except PluginIdInvalid as error:
                stated.fail(name, f"{error.what}; {error.why}")
            inner = self._nested(stated, name, "sandbox.plugins")
            inner.check_keys(("egress",), required=("egress",))
            if inner.choice("egress", EGRESS_MODES) == "report":
                yield name

    def _tables(self, document: dict[str, Any], section: str) -> list[Table]:
        value = document.get(section, [])
        if not isinstance(value, list) or any(not isinstance(table, dict) for table in value):
            self._fail("", 0, section, f"expected `[[{section}]]`, with two brackets")
        return [
            Table(table, functools.partial(self._fail, section, number))
            for number, table in enumerate(value)
        ]

    def _table(self, document: dict[str, Any], section: str, known: Sequence[str]) -> Table:
        value = document.get(section, {})
        if not isinstance(value, dict):
            self._fail("", 0, section, f"expected a table `[{section}]`")
        table = Table(value, functools.partial(self._fail, section, 0))
        table.check_keys(known)
        return table

    def _nested(self, table: Table, key: str, section: str = "policy") -> Table:
        value = table.values.get(key, {})
        if not isinstance(value, dict):
            table.fail(key, f"expected a table `[{section}.{key}]`")
        return Table(value, functools.partial(self._fail, f"{section}.{key}", 0))

    def place(self, section: str, number: int, key: str) -> str:
        """Return where a key stands: the file, and the line when it can be told."""
        line = line_of(self._lines, section, number, key)
        return f"{self._path}:{line}" if line else str(self._path)

    def _fail(self, section: str, number: int, key: str, why: str) -> NoReturn:
        place = self.place(section, number, key)
        shown = f"{section}.{key}" if section else key
        raise ConfigurationInvalid(
            f"`{self._path}` was not accepted: `{clean(shown, limit=120)}`",
            why=f"{place}: {why}",
            next=["correct the line", f"compare it with {page('docs/reference/configuration.md')}"],
        )
