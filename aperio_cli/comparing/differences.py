"""Compares two versions; pure.

What an operator is asked comes first: what it may do, who stands behind it, how it was built; then
what is in it. Each part says what was before and what is after, and is the same in words and JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.models.grant import Grant, additions
from aperio_cli.models.limits import format_size
from aperio_cli.text import one_line, show_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aperio_cli.comparing.seen import Component, Seen
    from aperio_cli.models.proof import Provenance
    from aperio_cli.models.publisher import Signer

_DECLARED: Final = (
    "id", "kind", "provider", "protocol", "entrypoint", "license", "homepage", "source",
)  # fmt: skip
_SHOWN_LINES: Final = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """How a version differs from another.

    Attributes:
        before: the one.
        after: the other.
    """

    before: Seen
    after: Seen

    @property
    def more(self) -> tuple[str, ...]:
        """What is asked for beyond what was asked for before, each in words."""
        return tuple(additions(Grant(self.before.manifest), self.after.manifest))

    @property
    def less(self) -> tuple[str, ...]:
        """What is not asked for any more, each in words; limits are not among them."""
        fewer = additions(Grant(self.after.manifest), self.before.manifest)
        return tuple(line for line in fewer if not line.startswith("limit "))

    @property
    def limits(self) -> tuple[dict[str, object], ...]:
        """The limits that are asked for otherwise."""
        was, now = (seen.manifest.limits.to_json() for seen in (self.before, self.after))
        return tuple(
            {"limit": name, "before": was.get(name), "after": now.get(name)}
            for name in now
            if was.get(name) != now.get(name)
        )

    @property
    def is_same_signer(self) -> bool:
        """Whether the same publisher signed both, or nobody either."""
        before, after = self.before.signer, self.after.signer
        if before is None or after is None:
            return before is after
        return before.lineage == after.lineage

    @property
    def is_none(self) -> bool:
        """Whether the two are the same in everything that is looked at."""
        return not any(True for _ in self.lines())

    def to_json(self) -> dict[str, Any]:
        """Return the difference as reports carry it."""
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "permissions": {
                "more": list(self.more),
                "less": list(self.less),
                "limits": list(self.limits),
            },
            "signer": {
                "before": _signer_json(self.before),
                "after": _signer_json(self.after),
                "is_same": self.is_same_signer,
                "refused_as": self.after.refusal or self.before.refusal or None,
            },
            "provenance": {
                "before": [each.to_json() for each in self.before.provenance],
                "after": [each.to_json() for each in self.after.provenance],
            },
            "declared": self._declared(),
            "dependencies": _dependencies(self.before.components, self.after.components),
            "size": {"before": self.before.size_bytes, "after": self.after.size_bytes},
            "files": self._files(),
        }

    def lines(self) -> Iterator[str]:
        """Yield the difference for people, a line for each; nothing when there is none."""
        yield from (f"+ {line}" for line in self.more if not line.startswith("limit "))
        yield from (f"- {line}" for line in self.less)
        for each in self.limits:
            yield f"  limit   {each['limit']} {each['after']}, before {each['before']}"
        yield from self._signer_lines()
        yield from _provenance_lines(self.before.provenance, self.after.provenance)
        for declared in self._declared():
            yield f"  {declared['key']}  {declared['after']}, before {declared['before']}"
        yield from _bounded(_dependency_lines(self.before.components, self.after.components))
        was, now = self.before.size_bytes, self.after.size_bytes
        if was != now:
            yield f"  size    {_size(now)}, before {_size(was)}"
        yield from _bounded(self._file_lines())

    def _declared(self) -> list[dict[str, str]]:
        was, now = self.before.manifest.to_json(), self.after.manifest.to_json()
        found = [(key, str(was[key]), str(now[key])) for key in _DECLARED]
        found.append(("runtime", _runtime(self.before), _runtime(self.after)))
        return [
            {"key": key, "before": before, "after": after}
            for key, before, after in found
            if before != after
        ]

    def _files(self) -> dict[str, list[str]]:
        was, now = self.before.files, self.after.files
        return {
            "added": sorted(now.keys() - was.keys()),
            "removed": sorted(was.keys() - now.keys()),
            "changed": sorted(path for path in was.keys() & now.keys() if was[path] != now[path]),
        }

    def _file_lines(self) -> Iterator[str]:
        marks = {"added": "+", "removed": "-", "changed": " "}
        for kind, paths in self._files().items():
            for path in paths:
                yield f"{marks[kind]} file    {show_path(path)}"

    def _signer_lines(self) -> Iterator[str]:
        if self.after.refusal:
            yield f"  signer  nobody who counts here ({self.after.refusal})"
        elif not self.is_same_signer:
            was, now = _name(self.before.signer), _name(self.after.signer)
            yield f"  signer  {now}, before {was}"


def compare(before: Seen, after: Seen) -> Difference:
    """Return how one version differs from another."""
    return Difference(before, after)


def _signer_json(seen: Seen) -> dict[str, object] | None:
    return seen.signer.to_json() if seen.signer else None


def _name(signer: Signer | None) -> str:
    return one_line(signer.name) if signer else "nobody"


def _runtime(seen: Seen) -> str:
    runtime = seen.manifest.runtime
    return " ".join([runtime.language, *runtime.tags])


def _provenance_lines(before: Sequence[Provenance], after: Sequence[Provenance]) -> Iterator[str]:
    was, now = (sorted({_built(each) for each in found}) for found in (before, after))
    if was != now:
        yield f"  built   {'; '.join(now) or 'nobody says how'}, before"
        yield f"          {'; '.join(was) or 'nobody said how'}"


def _built(stated: Provenance) -> str:
    source = f" of {one_line(stated.source_repository)}" if stated.source_repository else ""
    return f"by {one_line(stated.builder)}{source}"


def _dependencies(
    before: Mapping[str, Component] | None, after: Mapping[str, Component] | None
) -> dict[str, Any]:
    was, now = before or {}, after or {}
    changed = [name for name in sorted(was.keys() & now.keys()) if was[name] != now[name]]
    return {
        "is_known": before is not None and after is not None,
        "added": [
            {"name": n, "versions": list(now[n].versions)} for n in sorted(now.keys() - was.keys())
        ],
        "removed": [
            {"name": n, "versions": list(was[n].versions)} for n in sorted(was.keys() - now.keys())
        ],
        "changed": [
            {
                "name": name,
                "before": list(was[name].versions),
                "after": list(now[name].versions),
            }
            for name in changed
        ],
    }


def _dependency_lines(
    before: Mapping[str, Component] | None, after: Mapping[str, Component] | None
) -> Iterator[str]:
    if before is None or after is None:
        if before is not after:
            yield "  depends on what nobody knows: one of the two has no bill of materials"
        return
    found = _dependencies(before, after)
    for each in found["added"]:
        yield f"+ depends {each['name']} {', '.join(each['versions'])}"
    for each in found["removed"]:
        yield f"- depends {each['name']} {', '.join(each['versions'])}"
    for each in found["changed"]:
        was, now = ", ".join(each["before"]), ", ".join(each["after"])
        what = f"{now}, before {was}" if was != now else f"{now}, with other contents"
        yield f"  depends {each['name']} {what}"


def _size(size_bytes: int) -> str:
    exact = format_size(size_bytes)
    return exact if exact.endswith("iB") else f"{size_bytes} bytes"


def _bounded(lines: Iterator[str]) -> Iterator[str]:
    """Yield as many lines as people read, and how many more there are."""
    found = list(lines)
    yield from found[:_SHOWN_LINES]
    if len(found) > _SHOWN_LINES:
        yield f"  and {len(found) - _SHOWN_LINES} more"
