"""Where a project will live: the repository that people name, as a Go module path.

People paste what their code host shows: an address, with `.git` or without, or what git clones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from aperio_cli.errors.building import ModuleInvalid
from aperio_cli.models.address import has_user, shown
from aperio_cli.text import clean

EXAMPLE: Final = "`aperio plugin init github.com/acme/aperio-plugin-box`"
_MAX_STEM: Final = 40
_MAX_GROUPS: Final = 20  # GitLab's own limit on subgroups
_ADDRESS: Final = re.compile(r"(?:git\+)?(?:https?|ssh|git)://", re.ASCII | re.IGNORECASE)
# `git@host:owner/repository`, as git reads it (git-clone, "GIT URLS": the scp-like syntax).
_SCP: Final = re.compile(r"(?:[\w.-]+@)?(?P<host>[^/:@]+):(?P<path>(?!\d+/|//).+)", re.ASCII)
_HOST_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST: Final = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})+", re.ASCII)
_GROUP: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", re.ASCII)
# It begins with a letter, because a class and a provider are named after it.
_REPOSITORY: Final = re.compile(
    r"(?:aperio-plugin-)?(?!aperio-plugin)(?P<stem>[a-z][a-z0-9]*(?:-[a-z0-9]+)*)", re.ASCII
)
# Elsewhere, as on GitLab, groups may be in groups.
_FLAT_HOSTS: Final = frozenset({"github.com", "bitbucket.org", "codeberg.org"})


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository that a project can be made for.

    Attributes:
        module: host, groups and name, as Go names a module.
        owner: the first of the groups.
        name: its last part.
        stem: the name without `aperio-plugin-`.
    """

    module: str
    owner: str
    name: str
    stem: str


def parse_repository(text: str) -> Repository:
    """Return the repository that a word names: a module path, an address, or what git clones.

    Raises:
        ModuleInvalid: it names none, or one whose name nothing can be called after; says which.
    """
    host, *parts = _parts(text)
    if not _HOST.fullmatch(host):
        raise _invalid(
            text, f"`{clean(host, limit=80)}` is not the name of a host such as github.com"
        )
    is_flat = host in _FLAT_HOSTS
    if len(parts) < 2 or (is_flat and len(parts) > 2) or len(parts) > _MAX_GROUPS + 2:  # noqa: PLR2004 - owner, repository
        wanted = "owner/repository" if is_flat else "owner/repository, or groups/repository"
        raise _invalid(text, f"expected {wanted} behind {host}, found {_counted(parts)}")
    *groups, name = parts
    for group in groups:
        if not _GROUP.fullmatch(group):
            raise _invalid(text, f"`{clean(group, limit=80)}` is no name of an owner or a group")
    match = _REPOSITORY.fullmatch(name)
    if not match or len(match["stem"]) > _MAX_STEM:
        raise _invalid(
            text,
            f"`{clean(name, limit=80)}` is no name for a plugin's repository: expected lower-case"
            " letters, digits and single hyphens, beginning with a letter,"
            f" at most {_MAX_STEM} characters behind aperio-plugin-",
        )
    return Repository("/".join((host, *parts)), groups[0], name, match["stem"])


def _parts(text: str) -> list[str]:
    """Return host and path, part by part; of an address nothing else may be stated.

    Raises:
        ModuleInvalid: it says more than where the repository is.
    """
    scp = _SCP.fullmatch(text) if "://" not in text else None
    rest = f"{scp['host']}/{scp['path']}" if scp else text
    if match := _ADDRESS.match(text):
        is_of_git = text[: match.end()].lower() == "ssh://"
        if has_user(text) and not is_of_git:
            raise _invalid(text, "it has a user or a password in it, which a module path has not")
        rest = text[match.end() :]
        rest = rest.partition("@")[2] if is_of_git and has_user(text) else rest
    elif "://" in text:
        raise _invalid(text, "expected an https address, or none: only its host and path are used")
    if mark := next((mark for mark in "?#" if mark in rest), ""):
        raise _invalid(text, f"a module path has nothing behind `{mark}`")
    host, *parts = rest.removesuffix("/").split("/")
    if ":" in host:
        raise _invalid(text, f"a module path has no port, and `{clean(host, limit=80)}` states one")
    if parts:
        parts[-1] = parts[-1].removesuffix(".git") or parts[-1]
    return [host.lower(), *parts]


def _counted(parts: list[str]) -> str:
    return f"{len(parts)} part{'' if len(parts) == 1 else 's'}"


def _invalid(text: str, why: str) -> ModuleInvalid:
    named = shown(text) if "://" in text else clean(text, limit=200)
    return ModuleInvalid(
        f"`{named}` is not a module path; nothing was made",
        why=why,
        next=[f"name it like {EXAMPLE}"],
    )
