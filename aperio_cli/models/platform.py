"""Platforms, named as Go names them (GOOS/GOARCH)."""

from __future__ import annotations

from dataclasses import dataclass

OPERATING_SYSTEMS = ("darwin", "linux", "windows")
ARCHITECTURES = ("amd64", "arm64")
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """An operating system and an architecture; as text `linux/amd64`."""

    os: str
    arch: str

    def __str__(self) -> str:
        return f"{self.os}/{self.arch}"

    @property
    def slug(self) -> str:
        """The form used in file names: `linux_amd64`."""
        return f"{self.os}_{self.arch}"

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return the platform written as `OS/ARCH`.

        Raises:
            ValueError: when the operating system or the architecture is unknown.
        """
        system, _, architecture = text.partition("/")
        if system not in OPERATING_SYSTEMS or architecture not in ARCHITECTURES:
            known = ", ".join(f"{o}/{a}" for o in OPERATING_SYSTEMS for a in ARCHITECTURES)
            message = f"unknown platform {text!r}; known: {known}"
            raise ValueError(message)
        return cls(system, architecture)

    @classmethod
    def of_machine(cls, system: str, machine: str) -> Platform:
        """Return the platform that `platform.system()` and `platform.machine()` describe.

        Raises:
            ValueError: when aperio knows no such platform.
        """
        return cls.parse(f"{system.lower()}/{_MACHINES.get(machine.lower(), machine.lower())}")
