"""config.toml: what the operator states beforehand about publishers, registries and this machine.

    [[publishers]]             who may sign: namespace (or "*"), domain, identity, issuer
    [[registries]]             where plugins are looked up: url, identity
    [python]
    interpreters = ["/usr/bin/python3.11"]
    [sandbox]
    require = ["memory"]       limits without which nothing is started
    [host]
    mtls = true                plugins must speak mutual TLS (go-plugin's AutoMTLS)

A site configuration, in platformdirs' site folder, is a floor. When it states publishers, a user's
rule for a namespace counts only if the site admits the same signer there, by a rule for that
namespace or else for "*"; a namespace of which the user says nothing has the site's rules. What
either requires of the sandbox, or of the host, is required. The site's registries are asked before
the user's, and its interpreters are used by whoever states none.
"""

from __future__ import annotations

import difflib
import re
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from aperio_cli import files
from aperio_cli.errors import AperioError, ConfigurationInvalid, clean
from aperio_cli.models.policy import Policy
from aperio_cli.models.publisher import ANY_NAMESPACE, LOCAL_DOMAIN, LOCAL_ISSUER, PublisherRule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aperio_cli.paths import Paths

MAX_BYTES = 1024 * 1024
REQUIRABLE = ("memory", "cpu", "processes", "open_files", "tmp", "egress")

_SECTIONS = ("publishers", "registries", "python", "sandbox", "host")
_PUBLISHER_KEYS = ("namespace", "domain", "identity", "issuer")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38})", re.ASCII)


@dataclass(frozen=True, slots=True)
class RegistryRule:
    """One `[[registries]]` entry.

    Attributes:
        url: a folder, or an address.
        identity: who has to have signed its index; empty for an unsigned one.
    """

    url: str
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """What the configuration files say together.

    Attributes:
        policy: who may sign what.
        registries: in the order in which they are asked.
        python_interpreters: what to choose from, in this order; empty means "find one".
        sandbox_require: names of limits without which nothing is started.
        mtls: whether plugins must speak mutual TLS.
        file: the user's config.toml, whether it exists or not; for messages.
    """

    policy: Policy = field(default_factory=Policy)
    registries: tuple[RegistryRule, ...] = ()
    python_interpreters: tuple[str, ...] = ()
    sandbox_require: tuple[str, ...] = ()
    mtls: bool = False
    file: Path = Path("config.toml")


def load_config(paths: Paths, *, site_file: Path | None = None) -> Config:
    """The user's configuration held to the site's; files that do not exist say nothing.

    Args:
        paths: gives the user's config.toml.
        site_file: the site's config.toml; by default the one in platformdirs' site folder.

    Raises:
        ConfigurationInvalid: a file cannot be read, is not TOML, or has a key that is unknown,
            missing, blank or of another type; names file and line.
    """
    user = _read(paths.config_file)
    site = _read(_site_file() if site_file is None else site_file)
    required = {*user.sandbox_require, *site.sandbox_require}
    return Config(
        policy=_held_to_site(user.policy.publishers, site.policy.publishers),
        registries=(*site.registries, *(r for r in user.registries if r not in site.registries)),
        python_interpreters=user.python_interpreters or site.python_interpreters,
        sandbox_require=tuple(name for name in REQUIRABLE if name in required),
        mtls=user.mtls or site.mtls,
        file=paths.config_file,
    )


def add_publisher_rule(path: Path, rule: PublisherRule) -> bool:
    """Adds a rule to config.toml, keeping its comments and its order; says whether it was missing.

    The file is replaced at once and is readable by its owner only; missing folders are made.

    Args:
        path: config.toml; made when missing.
        rule: the rule; its `source` is not written.

    Raises:
        ConfigurationInvalid: the file that is there cannot be read, or lists its publishers in
            another form; it stays as it is.
        FolderNotPrivate: the folder is a link or somebody else's.
        DiskFull: there is no space; the file stays as it is.
        OSError: the folder cannot be written.
    """
    if any(known.to_json() == rule.to_json() for known in _read(path).policy.publishers):
        return False
    text = files.read_capped(path, MAX_BYTES).decode() if path.exists() else ""
    separator = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    # Appended as text, so that nothing of what a person wrote can move.
    updated = f"{text}{separator}{rule.to_toml()}\n"
    try:
        tomllib.loads(updated)
    except ValueError as error:
        raise ConfigurationInvalid(
            f"`{path}` was left as it is: a rule cannot be added to it",
            why=f"{error}\nto add:\n{rule.to_toml()}",
            next=["write its publishers as `[[publishers]]` tables"],
        ) from error
    if not path.parent.exists():
        files.make_private(path.parent)
    # Through a link, because people keep configuration files elsewhere and link to them.
    files.write_atomic(path.resolve(), updated.encode(), mode=0o600)
    return True


def _site_file() -> Path:
    import platform as machine

    if machine.system() == "Linux":
        # platformdirs follows XDG_CONFIG_DIRS here: desktops set it, and any user could lift the
        # floor with it.
        return Path("/etc/xdg/aperio/config.toml")
    import platformdirs

    return platformdirs.site_config_path("aperio") / "config.toml"


def _held_to_site(user: tuple[PublisherRule, ...], site: tuple[PublisherRule, ...]) -> Policy:
    """The rules that count, namespace by namespace: the user's narrow the site's, never widen them.

    A namespace of which the user says nothing keeps the site's rules. One for which the user names
    only signers that the site does not admit is closed.
    """
    if not site:
        return Policy(user)
    kept: list[PublisherRule] = []
    closed = set()
    for namespace in dict.fromkeys(rule.namespace for rule in (*site, *user)):
        floor = _stated(site, namespace) or _stated(site, ANY_NAMESPACE)
        wanted = _stated(user, namespace)
        admitted = [_who(rule) for rule in floor]
        narrowed = [rule for rule in wanted if _who(rule) in admitted] if wanted else list(floor)
        kept += narrowed
        if not narrowed:
            closed.add(namespace)
    return Policy(tuple(kept), frozenset(closed))


def _stated(rules: tuple[PublisherRule, ...], namespace: str) -> tuple[PublisherRule, ...]:
    return tuple(rule for rule in rules if rule.namespace == namespace)


def _who(rule: PublisherRule) -> tuple[str, str, str]:
    return rule.domain, rule.identity, rule.issuer


# ── reading one file ──────────────────────────────────────────────────────────────────────────────


def _read(path: Path) -> Config:
    try:
        _refuse_shared(path)
        text = files.read_capped(path, MAX_BYTES).decode("utf-8")
        document = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return Config(file=path)
    except ConfigurationInvalid:
        raise
    except (AperioError, OSError, ValueError, RecursionError) as error:
        raise ConfigurationInvalid(
            f"`{path}` was not read", why=str(error), next=["correct the file, or move it away"]
        ) from error
    return _Reader(path, text).config(document)


def _refuse_shared(path: Path) -> None:
    """Nothing, when not everybody may write into the file or put another one in its place.

    Raises:
        ConfigurationInvalid: everybody may, so the rules in it are nobody's.
        OSError: it is not there, or may not be looked at.
    """
    for place in (path, path.resolve().parent):
        mode = place.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise ConfigurationInvalid(
                f"`{path}` was not read: everybody may change it",
                why=f"{place} has mode {stat.S_IMODE(mode):04o}",
                next=[f"see that it says what you want, then `chmod o-w {place}`"],
            )


class _Reader:
    """Turns the parsed file into a Config, naming file and line when something is wrong."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()

    def config(self, document: dict[str, Any]) -> Config:
        self._check_keys(document, _SECTIONS, "")
        python = self._table(document, "python", ("interpreters",))
        sandbox = self._table(document, "sandbox", ("require",))
        required = self._texts(sandbox, "require")
        for name in required:
            if name not in REQUIRABLE:
                self._fail("require", _unknown(name, REQUIRABLE))
        return Config(
            policy=Policy(tuple(self._publishers(document))),
            registries=tuple(self._registries(document)),
            python_interpreters=self._texts(python, "interpreters"),
            sandbox_require=required,
            mtls=self._flag(self._table(document, "host", ("mtls",)), "mtls"),
            file=self._path,
        )

    def _publishers(self, document: dict[str, Any]) -> Iterable[PublisherRule]:
        for table in self._tables(document, "publishers"):
            self._check_keys(table, _PUBLISHER_KEYS, "publishers.")
            domain = self._text(table, "domain", "publishers")
            namespace = self._text(table, "namespace", "publishers")
            if namespace != ANY_NAMESPACE and not _NAMESPACE.fullmatch(namespace):
                self._fail("namespace", f"expected a namespace or `{ANY_NAMESPACE}`")
            is_known = domain == LOCAL_DOMAIN and "issuer" not in table
            yield PublisherRule(
                namespace=namespace,
                domain=domain,
                identity=self._text(table, "identity", "publishers"),
                issuer=LOCAL_ISSUER if is_known else self._text(table, "issuer", "publishers"),
                source=str(self._path),
            )

    def _registries(self, document: dict[str, Any]) -> Iterable[RegistryRule]:
        for table in self._tables(document, "registries"):
            self._check_keys(table, ("url", "identity"), "registries.")
            url = self._text(table, "url", "registries")
            if "://" not in url and not url.startswith(("/", "~")):
                # Which registry is asked must not depend on the folder a command is run in.
                self._fail("url", "expected an address, or a folder that starts with / or ~")
            identity = self._text(table, "identity", "registries") if "identity" in table else ""
            yield RegistryRule(url, identity)

    def _tables(self, document: dict[str, Any], key: str) -> list[dict[str, Any]]:
        value = document.get(key, [])
        if not isinstance(value, list) or any(not isinstance(table, dict) for table in value):
            self._fail(key, f"expected `[[{key}]]`, with two brackets")
        return value

    def _table(self, document: dict[str, Any], key: str, known: Sequence[str]) -> dict[str, Any]:
        value = document.get(key, {})
        if not isinstance(value, dict):
            self._fail(key, f"expected a table `[{key}]`")
        self._check_keys(value, known, f"{key}.")
        return value

    def _text(self, table: dict[str, Any], key: str, section: str) -> str:
        if key not in table:
            self._fail(section, f"`{key}` is missing in one of them", shown=f"{section}.{key}")
        value = table[key]
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            self._fail(key, "expected text that is not blank")
        return value

    def _texts(self, table: dict[str, Any], key: str) -> tuple[str, ...]:
        value = table.get(key, [])
        if not isinstance(value, list) or any(
            not isinstance(text, str) or not text.strip() for text in value
        ):
            self._fail(key, "expected a list of texts that are not blank")
        return tuple(value)

    def _flag(self, table: dict[str, Any], key: str) -> bool:
        value = table.get(key, False)
        if not isinstance(value, bool):
            self._fail(key, "expected true or false")
        return value

    def _check_keys(self, table: dict[str, Any], known: Sequence[str], prefix: str) -> None:
        for key in table:
            if key not in known:
                self._fail(key, _unknown(key, known), shown=prefix + key)

    def _fail(self, key: str, why: str, *, shown: str = "") -> NoReturn:
        line = self._line_of(key)
        place = f"{self._path}:{line}" if line else str(self._path)
        raise ConfigurationInvalid(
            f"`{self._path}` was not accepted: `{clean(shown or key, limit=80)}`",
            why=f"{place}: {why}",
            next=["correct the line", "compare it with docs/reference/configuration.md"],
        )

    def _line_of(self, key: str) -> int | None:
        """The first line that sets the key or opens its table, counted from 1."""
        name = rf"[\"']?{re.escape(key)}[\"']?"
        pattern = re.compile(rf"\s*(?:{name}\s*[=.]|\[\[?\s*{name}\s*[\].])")
        return next((n for n, line in enumerate(self._lines, 1) if pattern.match(line)), None)


def _unknown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(known)}"
    return f"unknown: {clean(name, limit=80)}{hint}"
