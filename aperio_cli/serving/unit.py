"""The systemd unit of a host: started again when it dies or hangs, hardened as plugins allow.

What is left out is left out for the plugins' sandbox: bubblewrap makes namespaces, mounts a /proc
of its own, names its host, and the host moves plugins into control groups below this unit's.
Settings of systemd.exec(5) that would take that away: RestrictNamespaces=, ProtectProc=,
ProtectKernelTunables=, ProtectKernelLogs=, ProtectControlGroups=, ProtectHostname=, PrivateUsers=,
SystemCallFilter=. Whatever works by a filter of system calls implies NoNewPrivileges= for everybody
but root, and with it a bubblewrap that is setuid would not start: only root's unit has those.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME: Final = "aperio-host.service"
_USERS_FOLDER: Final = "~/.config/systemd/user"
WATCHDOG_S: Final = 90
"""Longer than the minute for which somebody may have stopped the host, which harms no plugin."""
STOP_S: Final = 60
"""How long a host has to end its plugins before systemd kills it and them."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a unit is made of.

    Attributes:
        command: what starts the host, its arguments one by one.
        home: whose plugins it runs.
        config_file: the configuration that it reads.
        user: as whom a unit of the system runs it; empty: as root, or it is a user's own unit.
        is_users: whether it is for the user's service manager, not the system's.
        options: of the command that printed it, for whoever types it again.
    """

    command: Sequence[str]
    home: Path
    config_file: Path
    user: str = ""
    is_users: bool = False
    options: Sequence[str] = ()

    @property
    def place(self) -> str:
        """Where such a unit stands."""
        return f"{_USERS_FOLDER if self.is_users else '/etc/systemd/system'}/{NAME}"

    @property
    def steps(self) -> tuple[str, ...]:
        """Commands that put it there and start it."""
        printing = shlex.join(["aperio", "host", "unit", *self.options])
        if self.is_users:
            return (
                f"mkdir -p {_USERS_FOLDER}",
                f"{printing} > {self.place}",
                "systemctl --user daemon-reload",
                f"systemctl --user enable --now {NAME}",
                "loginctl enable-linger",
            )
        if self.user:  # who prints it may not write it
            sudo, written = "sudo ", f"{printing} | sudo tee {self.place} > /dev/null"
        else:
            sudo, written = "", f"{printing} > {self.place}"
        return written, f"{sudo}systemctl daemon-reload", f"{sudo}systemctl enable --now {NAME}"

    def text(self) -> str:
        """Return the unit file."""
        user = [f"User={self.user}"] if self.user else []
        target = "default.target" if self.is_users else "multi-user.target"
        network = [] if self.is_users else ["Wants=network-online.target", _AFTER]
        return "\n".join(
            [
                f"# {self.place}, as `aperio host unit` prints it",
                "[Unit]",
                "Description=aperio: keeps plugins running",
                "Documentation=man:aperio(1)",
                *network,
                "StartLimitIntervalSec=0",
                "",
                "[Service]",
                "Type=notify",
                "NotifyAccess=main",
                f"ExecStart={' '.join(_argument(each) for each in self.command)}",
                "ExecReload=kill -HUP $MAINPID",
                f"Environment={_word(f'APERIO_HOME={self.home}')}",
                *user,
                *_LIFE,
                "",
                *_LIMITS,
                "",
                *([] if self.is_users else _HARDENED),
                *([] if self.is_users or self.user else _OF_ROOT),
                "[Install]",
                f"WantedBy={target}",
                "",
            ]
        )


_AFTER: Final = "After=network-online.target"
_LIFE: Final = (
    f"WatchdogSec={WATCHDOG_S}",
    "Restart=always",
    "RestartSec=5",
    "# Wrong usage, or a machine that cannot run plugins: another start heals neither.",
    "RestartPreventExitStatus=2 6",
    f"TimeoutStopSec={STOP_S}",
    "# The host ends its plugins; what is left after that is killed.",
    "KillMode=mixed",
    "# A plugin that is killed for memory is the host's to restart, no reason to end the host.",
    "OOMPolicy=continue",
)
_LIMITS: Final = (
    "# Plugins have control groups of their own below this unit's.",
    "Delegate=yes",
    "TasksMax=infinity",
    "LimitNOFILE=65536",
    "# Sockets and folders of plugins: short paths, and nobody else's.",
    "RuntimeDirectory=aperio",
    "RuntimeDirectoryMode=0700",
    "Environment=XDG_RUNTIME_DIR=%t/aperio",
    "UMask=0077",
)
_HARDENED: Final = (
    "# No more than this: what else there is would take from plugins their sandbox.",
    "ProtectSystem=full",
    "",
)
_OF_ROOT: Final = (
    "ProtectClock=yes",
    "ProtectKernelModules=yes",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "",
)


def _argument(text: str) -> str:
    """Return an argument of a command line, where `$` begins a variable."""
    return _word(text.replace("$", "$$"))


def _word(text: str) -> str:
    """Return a word as systemd reads it (systemd.syntax(7); systemd.unit(5), Specifiers)."""
    escaped = "".join(_ESCAPED.get(each) or _printable(each) for each in text)
    is_plain = escaped == text and text and not set(text) & set(" ';")
    return text if is_plain else f'"{escaped}"'


_ESCAPED: Final = {"\\": "\\\\", '"': '\\"', "%": "%%"}


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
