"""Which version is chosen, what is said about the others, and why there is none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aperio_cli.errors import AperioError
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.policy import Policy, PolicyException
from aperio_cli.models.registry.plugin_file import VersionStatus
from aperio_cli.registry.choosing import Candidate, Situation, admits_host, choose
from tests.builders import ARM, LINUX, PLUGIN
from tests.rows import each_row

NOW = datetime(2026, 6, 10, tzinfo=UTC)


def one(version: str, **changes: Any) -> Candidate:
    stated: dict[str, Any] = {
        "platforms": (LINUX,),
        "attested": (LINUX,),
        "protocols": ((1, 0),),
        "published_at": "2026-01-01T00:00:00Z",
    }
    return Candidate(version, **stated | changes)


def status(state: str, **changes: str) -> VersionStatus:
    return VersionStatus(state, "it leaks", "2026-06-01T00:00:00Z", **changes)


def situation(policy: Policy | None = None, **changes: Any) -> Situation:
    return Situation(LINUX, policy or Policy(), NOW, "1.4.2", **changes)


def chosen(*candidates: Candidate, ref: str = PLUGIN, **changes: Any) -> list[tuple[str, str]]:
    found = choose(candidates, PluginRef.parse(ref), situation(**changes))
    assert found.considered[-1].version == found.version
    return [(each.version, each.verdict) for each in found.considered]


def refused(*candidates: Candidate, ref: str = PLUGIN, **changes: Any) -> AperioError:
    with pytest.raises(AperioError) as caught:
        choose(candidates, PluginRef.parse(ref), situation(**changes))
    return caught.value


GOOD = one("1.0.0")
COOL = Policy(cool_down_days=3)
PROVEN = Policy(require_provenance=True)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59Z", "2026-06-09T00:00:00Z"])
def test_version_of_a_time_yet_to_come_is_too_new(moment: str) -> None:
    found = refused(one("2.0.0", published_at=moment), policy=Policy(cool_down_days=365))
    assert found.code == "version-too-new"
    assert f"published {moment}" in found.why


def test_what_a_registry_says_of_hosts_is_one_line() -> None:
    forged = one("2.0.0", requires_host=">=9\nerror: `acme/box` was checked")
    found = choose((forged, GOOD), PluginRef.parse(PLUGIN), situation())
    assert [line.partition(" ")[0] for line in found.considered[0].why.splitlines()] == [
        "expected",
        "found",
    ]


@each_row(
    ("above", "policy", "verdict"),
    [
        (one("2.0.0-rc.1"), None, "pre-release"),
        (one("2.0.0", status=status("revoked")), None, "revoked"),
        (one("2.0.0", status=status("yanked")), None, "yanked"),
        (one("2.0.0", protocols=((2, 0),)), None, "interface"),
        (one("2.0.0", requires_host=">=2"), None, "host"),
        (one("2.0.0", requires_host="nonsense"), None, "host"),
        (one("2.0.0", platforms=(ARM,)), None, "platform"),
        (one("2.0.0", attested=(ARM,)), PROVEN, "provenance"),
        (one("2.0.0", published_at="2026-06-08T00:00:01Z"), COOL, "cool-down"),
    ],
)
def test_version_is_passed_over_and_says_why(
    above: Candidate, policy: Policy | None, verdict: str
) -> None:
    assert chosen(above, GOOD, policy=policy) == [
        (above.version, verdict),
        ("1.0.0", "chosen"),
    ]


@each_row(
    ("above", "policy"),
    [
        (one("2.0.0"), None),
        (one("2.0.0", status=status("deprecated")), None),
        (one("2.0.0", protocols=((2, 0), (1, 9))), None),
        (one("2.0.0", protocols=()), None),
        (one("2.0.0", requires_host=">=1.0,<2"), None),
        (one("2.0.0", platforms=(ARM, LINUX)), None),
        (one("2.0.0", attested=()), None),
        (one("2.0.0"), PROVEN),
        (one("2.0.0", published_at="2026-06-07T00:00:00Z"), COOL),
        (one("2.0.0", published_at=""), COOL),
    ],
)
def test_highest_version_that_will_do_is_chosen(above: Candidate, policy: Policy | None) -> None:
    assert chosen(above, GOOD, policy=policy) == [("2.0.0", "chosen")]


def test_deprecated_version_is_chosen_with_its_reason() -> None:
    stated = one("2.0.0", status=status("deprecated", replacement="3.0.0"))
    found = choose([stated], PluginRef.parse(PLUGIN), situation())
    assert found.status == stated.status
    assert found.considered[-1].why == "deprecated: it leaks"
    assert found.to_json() == {
        "version": "2.0.0",
        "status": {
            "state": "deprecated",
            "reason": "it leaks",
            "at": "2026-06-01T00:00:00Z",
            "replacement": "3.0.0",
        },
        "considered": [{"version": "2.0.0", "verdict": "chosen", "why": "deprecated: it leaks"}],
    }


@pytest.mark.parametrize(
    "named",
    [one("2.0.0-rc.1"), one("2.0.0", published_at="2026-06-09T00:00:00Z")],
    ids=["pre-release", "young"],
)
def test_version_that_is_named_needs_neither_age_nor_release(named: Candidate) -> None:
    ref = f"{PLUGIN}@{named.version}"
    assert chosen(named, GOOD, ref=ref, policy=COOL) == [(named.version, "chosen")]


def test_yanked_version_is_taken_by_whoever_has_locked_it() -> None:
    gone = one("2.0.0", status=status("yanked", replacement="2.0.1"))
    error = refused(gone, GOOD, ref=f"{PLUGIN}@2.0.0")
    assert (error.code, error.exit_status) == ("version-yanked", 1)
    assert error.next[0] == f"`aperio plugin install {PLUGIN}@2.0.1`"
    assert "it leaks" in error.why
    assert chosen(gone, GOOD, ref=f"{PLUGIN}@2.0.0", is_pinned=True) == [("2.0.0", "chosen")]


def test_revoked_version_is_taken_by_a_dated_exception_alone() -> None:
    gone = one("2.0.0", status=status("revoked"))
    ref = f"{PLUGIN}@2.0.0"
    assert refused(gone, GOOD, ref=ref, is_pinned=True).code == "revoked"
    error = refused(gone, GOOD, ref=ref)
    assert (error.code, error.exit_status) == ("revoked", 3)
    assert "trust exception add acme/box-connector@2.0.0 --rule revoked" in error.next[-1]

    def lifting(until: str, version: str = "") -> Policy:
        stated = PolicyException(PluginId.parse(PLUGIN), version, "revoked", until, "we know")
        return Policy(exceptions=(stated,))

    assert chosen(gone, ref=ref, policy=lifting("2026-06-10")) == [("2.0.0", "chosen")]
    assert refused(gone, ref=ref, policy=lifting("2026-06-09")).code == "revoked"
    assert refused(gone, ref=ref, policy=lifting("2026-06-10", "1.0.0")).code == "revoked"
    # Nobody gets it who has not named it.
    assert chosen(gone, GOOD, policy=lifting("2026-06-10"))[-1] == ("1.0.0", "chosen")


@each_row(
    ("candidates", "policy", "code", "status_code"),
    [
        ([], None, "plugin-not-found", 1),
        ([one("1.0.0-rc.1")], None, "plugin-not-found", 1),
        ([one("1.0.0", status=status("revoked"))], None, "revoked", 3),
        ([one("1.0.0", status=status("yanked"))], None, "version-yanked", 1),
        ([one("1.0.0", protocols=((2, 0),))], None, "protocol-incompatible", 6),
        ([one("1.0.0", requires_host=">=2")], None, "host-incompatible", 6),
        ([one("1.0.0", platforms=(ARM,))], None, "platform-incompatible", 6),
        ([one("1.0.0", attested=())], PROVEN, "provenance-missing", 3),
        ([one("1.0.0", published_at="2026-06-09T00:00:00Z")], COOL, "version-too-new", 3),
        (
            [one("2.0.0", status=status("yanked")), one("1.0.0", platforms=(ARM,))],
            None,
            "platform-incompatible",
            6,
        ),
    ],
)
def test_none_is_refused_with_what_is_said_against_the_highest(
    candidates: list[Candidate], policy: Policy | None, code: str, status_code: int
) -> None:
    error = refused(*candidates, policy=policy)
    assert (error.code, error.exit_status) == (code, status_code)
    assert error.what.startswith("`acme/box-connector")
    assert error.next


@each_row(
    ("stated", "is_admitted"),
    [
        ("", True),
        (">=1", True),
        (">=1.4.2", True),
        (">1.4.2", False),
        ("<2", True),
        ("<1.4.2", False),
        ("<=1.4.2", True),
        (">=1.0,<2", True),
        (">=1.0,<1.4", False),
        ("==1.4", True),
        ("==1.4.3", False),
        ("!=1.4", False),
        ("!=1.4.3", True),
        ("~=1.4", False),
        ("1.4", False),
        (">=1,", False),
        ("a" * 2000, False),
    ],
)
def test_requirement_of_a_host_is_read(stated: str, *, is_admitted: bool) -> None:
    assert admits_host(stated, "1.4.2") is is_admitted
    assert admits_host(stated, "1.4.2.dev0+abc") is is_admitted
