"""Learning: from what a plugin was seen to use, the permissions and limits for its manifest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.host.egress import Reason, Verdict
from aperio_cli.host.sandbox.interface import Counters
from aperio_cli.models.egress import is_for_operators
from aperio_cli.models.limits import LEAST, Limits, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.host.egress import Decision
    from aperio_cli.models.manifest import Manifest

MOST_PLACES: Final = 1000
_MEMORY_STEP: Final = 16 * 1024**2
_TMP_STEP: Final = 1024**2
_ROOM: Final = 1.5  # what was seen was one run


class Learned:
    """What was seen of one run.

    Attributes:
        counters: of its sandbox, once it has ended.
    """

    def __init__(self) -> None:
        self._covered: Counter[str] = Counter()
        self._new: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self.counters = Counters()

    @property
    def has_seen(self) -> bool:
        """Whether it connected, or tried to connect, to anybody."""
        return bool(self._covered or self._new or self._others)

    def record(self, decision: Decision) -> None:
        """Take what was decided about a connection."""
        is_known = decision.verdict is Verdict.ALLOWED
        if is_known and decision.rule.endswith("(manifest)"):
            self._note(self._covered, decision.place)
        elif not is_known and is_for_operators(decision.place):
            self._note(self._others, f"{decision.place}: only an operator opens it, no manifest")
        elif decision.reason is Reason.NOT_GRANTED and decision.verdict is Verdict.REPORTED:
            self._note(self._new, decision.place)
        elif not is_known and decision.reason:
            self._note(self._others, f"{decision.place}: {decision.reason.words}")

    def count(self, counters: Counters) -> None:
        """Take what was counted of its processes."""
        self.counters = counters

    def proposal(self, manifest: Manifest) -> Proposal:
        """Return what the manifest of that plugin should state, going by this run alone."""
        hosts = dict.fromkeys([*self._covered, *self._new])
        evidence = {place: _connections(self._covered[place] + self._new[place]) for place in hosts}
        for place in self._new:
            evidence[place] += ", not in the manifest"
        unused = [rule for rule in manifest.egress if not self._uses(rule)]
        counted = self.counters
        return Proposal(
            tuple(evidence.items()),
            tuple(_limits(manifest, counted)),
            (
                *(f"{rule}: asked for, and not used" for rule in unused),
                *(f"{text} ({_connections(times)})" for text, times in self._others.items()),
            ),
        )

    def _uses(self, rule: str) -> bool:
        from aperio_cli.models.grant import covers_rule

        return any(covers_rule(rule, place) for place in self._covered)

    @staticmethod
    def _note(counter: Counter[str], place: str) -> None:
        if place in counter or len(counter) < MOST_PLACES:
            counter[place] += 1


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a manifest should state, with evidence.

    Attributes:
        egress: rules, and what was seen of each.
        limits: names, values as the manifest writes them, and what was seen.
        notes: what else is to be known.
    """

    egress: tuple[tuple[str, str], ...]
    limits: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as a line of a stream carries it."""
        return {
            "permissions": {"egress": [rule for rule, _ in self.egress]},
            "limits": {name: value for name, value, _ in self.limits},
            "evidence": [
                *(f"{rule}: {seen}" for rule, seen in self.egress),
                *(f"{name}: {seen}" for name, _, seen in self.limits),
                *self.notes,
            ],
        }

    def lines(self) -> Iterator[str]:
        """Yield it as YAML for manifest.yaml, with the evidence as comments."""
        yield "permissions:"
        yield "  egress:" if self.egress else "  egress: []  # it connected to nothing"
        for rule, seen in self.egress:
            yield f'    - "{rule}"  # {seen}'
        if self.limits:
            yield "limits:"
        for name, value, seen in self.limits:
            yield f"  {name}: {value}  # {seen}"
        for note in self.notes:
            yield f"# {note}"


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"


def _limits(manifest: Manifest, counted: Counters) -> Iterator[tuple[str, str, str]]:
    least = LEAST[manifest.runtime.language]
    if (peak := counted.memory_peak_bytes) is not None:
        asked = _rounded(peak, _MEMORY_STEP, least.memory_bytes)
        yield "memory", _written(replace(least, memory_bytes=asked), "memory"), _used(peak)
    if (used := counted.tmp_used_bytes) is not None:
        asked = _rounded(used, _TMP_STEP, least.tmp_bytes)
        yield "tmp", _written(replace(least, tmp_bytes=asked), "tmp"), _used(used)


def _rounded(used_bytes: int, step_bytes: int, least_bytes: int) -> int:
    steps = -(-int(used_bytes * _ROOM) // step_bytes)
    return max(steps * step_bytes, least_bytes)


def _written(limits: Limits, name: str) -> str:
    return str(limits.to_json()[name])


def _used(size_bytes: int) -> str:
    return f"{format_size(-(-size_bytes // 1024) * 1024)} were used at most"
