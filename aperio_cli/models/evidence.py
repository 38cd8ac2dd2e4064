"""Why a version was admitted: a proof and the rule that takes it, or an exception; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Self

from aperio_cli.errors.usage import UsageError
from aperio_cli.models.policy import LONGEST_EXCEPTION, MAX_REASON_CHARACTERS, UNSIGNED
from aperio_cli.models.proof import Proof
from aperio_cli.models.publisher import PublisherRule, Signer
from aperio_cli.text import clean

if TYPE_CHECKING:
    from aperio_cli.models.policy import PolicyException
    from aperio_cli.models.reading import Table

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Verified:
    """A bundle proves who signed, and a rule of the operator says that they may."""

    proof: Proof
    rule: PublisherRule

    @property
    def signer(self) -> Signer:
        """Who signed."""
        return self.proof.signer


@dataclass(frozen=True, slots=True)
class ExceptionGranted:
    """The operator takes one artifact without proof, for a time and for a reason.

    Attributes:
        rule: what is not asked for; `unsigned` is the only one.
        until: the last day on which it holds, `YYYY-MM-DD`.
        reason: in the operator's words.
        stated_in: the configuration file that states it; empty when it was granted on the command
            line, and then the receipt is where it is kept.
    """

    rule: str
    until: str
    reason: str
    stated_in: str = ""

    @classmethod
    def unsigned(cls, *, until: str, reason: str, today: date) -> Self:
        """Return the exception that `--allow-unsigned --until DATE --reason TEXT` asks for.

        Raises:
            UsageError: the date is none, is not in the future or is more than a year away, or
                the reason is blank, too long or not printable.
        """
        return cls(UNSIGNED, *exception_terms(until, reason, today))

    @classmethod
    def stated(cls, exception: PolicyException) -> Self:
        """Return an exception that the configuration states, as evidence."""
        source = exception.stated_in or "config.toml"
        return cls(exception.rule, exception.until, exception.reason, source)

    def holds(self, today: date) -> bool:
        """Return whether it has not ended; what is no date has."""
        try:
            return bool(_DATE.fullmatch(self.until)) and today <= date.fromisoformat(self.until)
        except ValueError:
            return False

    def to_json(self) -> dict[str, str]:
        """Return the exception as receipts and reports carry it."""
        document = {"rule": self.rule, "until": self.until, "reason": self.reason}
        return document | ({"source": self.stated_in} if self.stated_in else {})

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Return the exception that a record carries; of its terms only `holds` judges."""
        rule, until, reason = (table.recorded(key) for key in ("rule", "until", "reason"))
        return cls(rule, until, reason, table.recorded("source", ""))


def exception_terms(until: str, reason: str, today: date) -> tuple[str, str]:
    """Date and reason of a new exception, when they are what an exception needs.

    Raises:
        UsageError: the date is none, is not in the future or is more than a year away, or the
            reason is blank, too long or not printable.
    """
    try:
        # date.fromisoformat also reads week dates and dates without hyphens.
        day = date.fromisoformat(until if _DATE.fullmatch(until) else "")
    except ValueError as error:
        raise _bad_terms("--until", until, "a date such as 2031-12-31") from error
    if not today < day <= today + LONGEST_EXCEPTION:
        raise _bad_terms("--until", until, "a day in the future, at most a year away")
    reason = reason.strip()
    if not reason or len(reason) > MAX_REASON_CHARACTERS or not reason.isprintable():
        raise _bad_terms("--reason", reason, f"1 to {MAX_REASON_CHARACTERS} characters")
    return until, reason


def _bad_terms(option: str, found: str, expected: str) -> UsageError:
    return UsageError(
        f"`{option}` of an exception was not accepted, and nothing was changed",
        why=f"expected {expected}\nfound    {clean(found, limit=80) or 'nothing'}",
        next=["say until when and why: `--until DATE --reason TEXT`"],
    )


Evidence = Verified | ExceptionGranted


def proof_of(evidence: Evidence) -> Proof | None:
    """Return what a bundle proved; None for an exception."""
    return evidence.proof if isinstance(evidence, Verified) else None


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """Return the evidence as receipts and reports carry it, under four keys of theirs."""
    if isinstance(evidence, ExceptionGranted):
        return {"signer": None, "rule": None, "proof": None, "exception": evidence.to_json()}
    return {
        "signer": evidence.signer.to_json(),
        "rule": evidence.rule.to_json(),
        "proof": evidence.proof.to_json(),
        "exception": None,
    }


def evidence_from_json(table: Table) -> Evidence:
    """Return the evidence that a record carries under those four keys.

    There is a signer with its rule, or an exception; the proof may be missing.
    """
    exception, signed = table.optional_table("exception"), table.optional_table("signer")
    if bool(exception) == bool(signed):
        table.fail("signer", "expected a signer or an exception, and not both")
    if exception:
        return ExceptionGranted.from_json(exception)
    signer = Signer.from_json(table.table("signer"))
    proof = table.optional_table("proof") or table.inner("proof")
    return Verified(Proof.from_json(proof, signer), PublisherRule.from_json(table.table("rule")))
