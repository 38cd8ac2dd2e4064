"""What was decided about one connection: one record each, and the words for it."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from aperio_cli.text import one_line

LINE_BEGINS: Final = "egress {"
"""What a host's line about a decision begins with; its fields, as JSON, follow `egress `."""
_LONGEST_DETAIL: Final = 300


class Verdict(enum.Enum):
    """What became of a connection.

    Attributes:
        ALLOWED: it was let through.
        REPORTED: it was let through although no rule covers it, because that is being learned.
        REFUSED: it was not.
        FAILED: a rule covers it, and it could not be made.
    """

    ALLOWED = "allowed"
    REPORTED = "reported"
    REFUSED = "refused"
    FAILED = "failed"


class Reason(enum.Enum):
    """Why a connection was not let through, each with the words for it.

    A reason is for ever, like the code of an error.
    """

    NOT_GRANTED = "not-granted", "no rule covers this host and port"
    NOT_A_HOST = "not-a-host", "it is no host name in the notation that is read here"
    ADDRESS_AS_HOST = "address-as-host", "an address counts only where the operator's rule names it"
    ADDRESS_NOT_PUBLIC = "address-not-public", "the name leads to an address that is not public"
    SNI_DIFFERS = "sni-differs", "TLS asks for another host than the connection is for"
    SNI_MISSING = "sni-missing", "TLS does not say for which host it asks"
    SNI_ENCRYPTED = "sni-encrypted", "TLS hides for which host it asks (ECH)"
    HOST_DIFFERS = "host-differs", "the request is for another host than the connection"
    UNKNOWN_PROTOCOL = "unknown-protocol", "it is neither TLS nor HTTP, so no host can be checked"
    MALFORMED = "malformed", "what was sent cannot be read"
    TOO_LONG = "too-long", "what was sent first is longer than is read"
    LATE = "late", "nothing that can be judged came in time"
    UNRESOLVED = "unresolved", "the name has no address"
    UNREACHABLE = "unreachable", "no connection could be made"
    UPSTREAM_REFUSED = "upstream-refused", "the proxy of this machine did not lead to it"
    BROKEN = "broken", "the door itself failed"

    def __init__(self, code: str, words: str) -> None:
        self.code = code
        self.words = words

    @property
    def is_failure(self) -> bool:
        """Whether it says that something could not be done, not that it may not."""
        return self in _FAILURES

    @property
    def may_be_reported(self) -> bool:
        """Whether a plugin that is being learned from is let through all the same."""
        return self in _REPORTED


_FAILURES: Final = frozenset(
    {Reason.UNRESOLVED, Reason.UNREACHABLE, Reason.UPSTREAM_REFUSED, Reason.BROKEN}
)
_REPORTED: Final = frozenset(
    {
        Reason.NOT_GRANTED,
        Reason.ADDRESS_AS_HOST,
        Reason.SNI_DIFFERS,
        Reason.SNI_MISSING,
        Reason.SNI_ENCRYPTED,
        Reason.HOST_DIFFERS,
        Reason.UNKNOWN_PROTOCOL,
    }
)


class Denied(Exception):
    """A connection is not let through.

    Attributes:
        reason: why.
        detail: evidence, safe to show.
    """

    def __init__(self, reason: Reason, detail: object = "") -> None:
        super().__init__(reason.code)
        self.reason = reason
        self.detail = one_line(detail, limit=_LONGEST_DETAIL)

    def __str__(self) -> str:
        words = self.reason.words
        return f"{words}: {self.detail}" if self.detail else words


@dataclass(slots=True)
class Decision:
    """One connection.

    Attributes:
        plugin: whose it was.
        organization: for whom the plugin was working.
        at: when it began, RFC 3339.
        by: `proxy`, when the plugin asked for it by name; `door`, when it connected to the address
            that it finds under the name.
        host: as it asked for it; outside text, safe to show.
        port: TCP port; 0 when none could be read.
        address: to which it was connected; empty when it was not, or through another proxy.
        via: this machine's own proxy, by which it went; else empty.
        rule: that covers it, and who stated it; empty when none does.
        sent_bytes: from the plugin.
        received_bytes: to the plugin.
        verdict: what became of it.
        reason: why it was not simply let through.
        detail: evidence for the reason, safe to show.
    """

    plugin: str
    organization: str
    at: str
    by: str
    host: str = ""
    port: int = 0
    address: str = ""
    via: str = ""
    rule: str = ""
    sent_bytes: int = 0
    received_bytes: int = 0
    verdict: Verdict = Verdict.ALLOWED
    reason: Reason | None = None
    detail: str = ""

    @property
    def place(self) -> str:
        """Host and port, for people; the host alone when no port could be read."""
        return f"{self.host}:{self.port}" if self.port else self.host

    def to_json(self) -> dict[str, object]:
        """Return the record as one line of a log has it."""
        return {
            "plugin": self.plugin,
            "organization": self.organization,
            "at": self.at,
            "by": self.by,
            "host": self.host,
            "port": self.port,
            "address": self.address,
            "via": self.via,
            "rule": self.rule,
            "sent_bytes": self.sent_bytes,
            "received_bytes": self.received_bytes,
            "verdict": self.verdict.value,
            "reason": self.reason.code if self.reason else "",
            "detail": self.detail,
        }

    def note(self, denied: Denied, verdict: Verdict) -> None:
        """Take note of why it is not simply let through."""
        self.verdict, self.reason, self.detail = verdict, denied.reason, denied.detail


@dataclass(slots=True)
class Tally:
    """Counts of the connections of one run.

    Attributes:
        verdicts: how many of each.
        reasons: how many for each reason.
        refused: how often each place was refused; at most `MOST_PLACES` of them.
    """

    MOST_PLACES = 256

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, decision: Decision) -> bool:
        """Count it; return whether it is the first of its place to be refused."""
        self.verdicts[decision.verdict] += 1
        if decision.reason:
            self.reasons[decision.reason] += 1
        if decision.verdict is Verdict.ALLOWED:
            return False
        place = decision.place
        if place not in self.refused and len(self.refused) >= self.MOST_PLACES:
            return False
        self.refused[place] += 1
        return self.refused[place] == 1
