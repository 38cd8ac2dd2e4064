"""Which edition a registry's source is at: `aperio-registry.json`.

    {"schema": "aperio.registry.source/v1", "serial": 7, "updated_at": "2026-11-01T00:00:00Z",
     "name": "main", "epoch": 1, "valid_days": 30, "private": false,
     "signed": [{"serial": 5, "sha256": "..."},
                {"serial": 6, "sha256": "...", "log": {"origin": "...", "size": 9, "root": "..."}}]}

All times of what is built come from here and from the records, so that the same source gives the
same bytes whenever it is built.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.errors.registries import RegistrySourceInvalid
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.digest import Digest
from aperio_cli.models.reading import MAX_SAFE_INTEGER
from aperio_cli.models.registry.root import Predecessor, log_of
from aperio_cli.publishing.record import dump

if TYPE_CHECKING:
    from aperio_cli.models.reading import Table
    from aperio_cli.models.tlog.note import Checkpoint

SCHEMA: Final = "aperio.registry.source/v1"
VALID_DAYS: Final = 30
"""How long an edition counts unless its source says otherwise."""

_MOST_DAYS: Final = 400
_REMEMBERED: Final = 2  # the one before has to be named when the newest is built again
_NAME_CHARACTERS: Final = 120
_EPOCH_VARIABLE: Final = "SOURCE_DATE_EPOCH"
_LATEST: Final = 253_402_300_799  # the end of the year 9999


@dataclass(frozen=True, slots=True)
class SignedEdition:
    """An edition that was signed.

    Attributes:
        serial: its number.
        digest: of its root.
        log: the checkpoint that its root states; None for none, and in notes of before.
    """

    serial: int
    digest: Digest
    log: Checkpoint | None = None

    def to_json(self) -> dict[str, object]:
        """Return it as the source notes it."""
        document: dict[str, object] = {"serial": self.serial, "sha256": self.digest.hex}
        return document | ({"log": self.log.to_json()} if self.log else {})


@dataclass(frozen=True, slots=True)
class Edition:
    """One edition of a registry.

    Attributes:
        serial: grows by one with each change.
        updated_at: when it changed last, RFC 3339 in UTC.
        name: which of its signer's registries it is; empty: the only one.
        epoch: counts up when serials start anew.
        valid_days: for how many days it counts.
        is_private: whether it may point to addresses that only some networks reach.
        signed: the newest editions that were signed, oldest first.
    """

    serial: int
    updated_at: str
    name: str = ""
    epoch: int = 1
    valid_days: int = VALID_DAYS
    is_private: bool = False
    signed: tuple[SignedEdition, ...] = ()

    @property
    def expires_at(self) -> str:
        """Its last moment, RFC 3339 in UTC."""
        end = datetime.fromisoformat(self.updated_at) + timedelta(days=self.valid_days)
        return clock.format_timestamp(end)

    @property
    def previous(self) -> Predecessor | None:
        """The edition that was signed before this one."""
        earlier = (each for each in reversed(self.signed) if each.serial < self.serial)
        found = next(earlier, None)
        return Predecessor(found.serial, found.digest) if found else None

    @property
    def signed_log(self) -> Checkpoint | None:
        """The checkpoint of the log in the newest root that was signed; None when nobody knows."""
        return next((each.log for each in reversed(self.signed) if each.log), None)

    @property
    def as_signed(self) -> Digest | None:
        """What registry.json was when this very edition was signed; None when it was not."""
        return next((each.digest for each in self.signed if each.serial == self.serial), None)

    def next(self) -> Edition:
        """Return the edition after this one, made now.

        Raises:
            RegistrySourceInvalid: there is no higher number.
        """
        if self.serial >= MAX_SAFE_INTEGER:
            raise RegistrySourceInvalid(
                "the registry was not changed: its serial is the highest that there is",
                why=f"serial {self.serial}",
                next=["in its aperio-registry.json, make `epoch` one more and `serial` 0"],
            )
        # Never earlier than the one before, whatever the clock says.
        return replace(self, serial=self.serial + 1, updated_at=max(stamp(), self.updated_at))

    def signed_as(self, digest: Digest, serial: int, log: Checkpoint | None = None) -> Edition:
        """Return the edition with a note that registry.json of a serial was signed as this."""
        earlier = [each for each in self.signed if each.serial < serial]
        later = [each for each in self.signed if each.serial > serial]
        signed = (*earlier, SignedEdition(serial, digest, log), *later)[-_REMEMBERED:]
        return replace(self, signed=signed)

    def to_bytes(self) -> bytes:
        """Return the contents of its file; what is as usual is left out."""
        usual = Edition(0, "")
        document: dict[str, object] = {
            "schema": SCHEMA,
            "serial": self.serial,
            "updated_at": self.updated_at,
        }
        optional = {
            "name": (self.name, usual.name),
            "epoch": (self.epoch, usual.epoch),
            "valid_days": (self.valid_days, usual.valid_days),
            "private": (self.is_private, usual.is_private),
            "signed": ([each.to_json() for each in self.signed], []),
        }
        return dump(
            document
            | {key: value for key, (value, default) in optional.items() if value != default}
        )

    @classmethod
    def first(cls, name: str = "") -> Edition:
        """Return the edition of a new registry, made now."""
        return cls(0, stamp(), name)

    @classmethod
    def from_json(cls, table: Table) -> Edition:
        """Return the edition that the source is at; `table.fail` raises what is wrong with it."""
        serial, valid_days = table.integer("serial"), _valid_days(table)
        signed = tuple(
            SignedEdition(
                each.integer("serial", most=serial), each.converted("sha256", Digest), log_of(each)
            )
            for each in table.optional_tables("signed")
        )
        return cls(
            serial=serial,
            updated_at=_updated_at(table, valid_days),
            name=table.text("name", limit=_NAME_CHARACTERS) if "name" in table else "",
            epoch=table.integer("epoch", least=1) if "epoch" in table else 1,
            valid_days=valid_days,
            is_private=table.flag("private"),
            signed=tuple(sorted(signed, key=lambda each: each.serial)),
        )


def _valid_days(table: Table) -> int:
    if "valid_days" not in table:
        return VALID_DAYS
    return table.integer("valid_days", least=1, most=_MOST_DAYS)


def _updated_at(table: Table, valid_days: int) -> str:
    found = table.moment("updated_at")
    latest = datetime.max.replace(tzinfo=UTC) - timedelta(days=valid_days)
    if datetime.fromisoformat(found) > latest:
        table.fail("updated_at", f"it leaves no {valid_days} days for the edition to count")
    return found


def check_name(name: str) -> None:
    """Check the name of a registry; empty is none.

    Raises:
        UsageError: it is blank, too long, or does not fit on a line.
    """
    if not name or (name.strip() and name.isprintable() and len(name) <= _NAME_CHARACTERS):
        return
    raise UsageError(
        "no registry was made: its name cannot be used",
        why=f"expected at most {_NAME_CHARACTERS} printable characters on one line",
        next=["give it a short name, such as `main`"],
    )


def stamp() -> str:
    """Return the time of a change: SOURCE_DATE_EPOCH when it is set, else now.

    Raises:
        UsageError: SOURCE_DATE_EPOCH is not a whole number of seconds.
    """
    stated = os.environ.get(_EPOCH_VARIABLE, "")
    if not stated:
        return clock.timestamp()
    if not (stated.isascii() and stated.isdigit() and int(stated[:20]) <= _LATEST):
        raise UsageError(
            "the registry was not changed: SOURCE_DATE_EPOCH is no time",
            why=f"expected whole seconds since 1970\nfound    {stated}",
            next=["set it to the time of the commit, or unset it"],
        )
    return clock.format_timestamp(datetime.fromtimestamp(int(stated), tz=UTC))
