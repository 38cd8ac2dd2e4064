import copy
import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.simulators import box

from box_connector import normalization
from box_connector.normalization import NotAnEvent, normalize

CREATED_AT = datetime.fromisoformat("2026-03-01T23:30:05-08:00")
DOMAINS = frozenset({"example.com"})


def entry_of(shape: str, /, **changes: Any) -> box.Entry:
    return box.make_event(shape, random.Random(4), CREATED_AT) | changes  # noqa: S311 - test data


def file_with_link(access: str) -> box.Entry:
    return {
        "type": "file",
        "id": "1204500301",
        "name": "Payroll 2026.xlsx",
        "shared_link": {"url": "https://example.app.box.com/s/k3", "effective_access": access},
    }


@pytest.mark.parametrize(
    ("box_type", "aperio_type"),
    [
        ("SHARE", "box.shared_link_created"),
        ("COLLABORATION_INVITE", "box.collaboration_invited"),
        ("COLLABORATION_ACCEPT", "box.collaboration_accepted"),
        ("LOGIN", "box.login_succeeded"),
        ("FAILED_LOGIN", "box.login_failed"),
        ("CHANGE_ADMIN_ROLE", "box.admin_role_changed"),
        ("ENTERPRISE_APP_AUTHORIZATION_UPDATE", "box.app_authorized"),
        ("DOWNLOAD", "box.item_downloaded"),
        ("FILE_WATERMARKED_DOWNLOAD", "box.item_downloaded"),
    ],
)
def test_a_box_type_becomes_its_aperio_type(box_type: str, aperio_type: str) -> None:
    event = normalize(entry_of(box_type), "admin_logs")
    assert event.event_type == aperio_type
    assert aperio_type in normalization.EVENT_TYPES


@pytest.mark.parametrize(
    ("box_type", "aperio_type"),
    [
        ("ITEM_SHARED", "box.shared_link_created"),
        ("ITEM_SHARED_CREATE", "box.shared_link_created"),
        ("ITEM_DOWNLOAD", "box.item_downloaded"),
    ],
)
def test_a_second_name_of_a_box_type_becomes_the_same(box_type: str, aperio_type: str) -> None:
    entry = entry_of("DOWNLOAD", event_type=box_type)
    assert normalize(entry, "admin_logs").event_type == aperio_type


@pytest.mark.parametrize("box_type", ["SHARE", "ITEM_SHARED_CREATE", "ITEM_SHARED_UPDATE"])
def test_a_link_that_anyone_may_open_is_sharing_externally(box_type: str) -> None:
    entry = entry_of("SHARE", event_type=box_type, source=file_with_link("open"))
    assert normalize(entry, "admin_logs").event_type == "box.item_shared_externally"


@pytest.mark.parametrize("access", ["company", "collaborators", "", None, ["open"]])
def test_a_link_for_insiders_is_not_sharing_externally(access: Any) -> None:
    entry = entry_of("ITEM_SHARED_UPDATE", source=file_with_link(access))
    assert normalize(entry, "admin_logs").event_type == "box.shared_link_updated"


def test_an_invitation_to_another_domain_is_sharing_externally() -> None:
    entry = entry_of("COLLABORATION_INVITE")
    assert entry["accessible_by"]["login"] == "sam@partner.test"
    assert normalize(entry, "admin_logs", DOMAINS).event_type == "box.item_shared_externally"


@pytest.mark.parametrize("login", ["ada@example.com", "ada@EXAMPLE.com", "", "nobody", None, 7])
def test_an_invitation_to_an_insider_or_to_nobody_known_stays_one(login: Any) -> None:
    entry = entry_of("COLLABORATION_INVITE", accessible_by={"type": "user", "login": login})
    assert normalize(entry, "admin_logs", DOMAINS).event_type == "box.collaboration_invited"


def test_an_invited_user_may_stand_in_the_source() -> None:
    user = {"type": "user", "id": "9", "login": "sam@partner.test"}
    entry = entry_of("COLLABORATION_INVITE", accessible_by=None, source=user)
    assert normalize(entry, "admin_logs", DOMAINS).event_type == "box.item_shared_externally"


@pytest.mark.parametrize(
    ("box_type", "aperio_type"),
    [
        ("PREVIEW", "box.preview"),
        ("SHIELD_ALERT", "box.shield_alert"),
        ("ANNOTATIONV2_CREATE", "box.annotationv2_create"),
        ("Brand-new / type", "box.brand_new_type"),
        ("X" * 500, "box." + "x" * 100),
        ("", "box.unknown"),
        ("é", "box.unknown"),
        (None, "box.unknown"),
        ({}, "box.unknown"),
    ],
)
def test_an_unknown_type_passes_under_its_own_name(box_type: Any, aperio_type: str) -> None:
    entry = entry_of("LOGIN", event_type=box_type)
    assert normalize(entry, "admin_logs").event_type == aperio_type


def test_the_record_is_the_whole_entry_and_the_entry_is_left_as_it_was() -> None:
    entry = entry_of("DOWNLOAD", brand_new_field={"a": [1, 2.5, None]})
    before = copy.deepcopy(entry)
    record = normalize(entry, "admin_logs").record
    assert isinstance(record, bytes)
    assert json.loads(record) == before
    assert entry == before


def test_an_event_says_who_when_and_where() -> None:
    entry = entry_of("DOWNLOAD")
    event = normalize(entry, "admin_logs_streaming")
    assert event.source_event_id == entry["event_id"]
    assert event.occurred_at == datetime(2026, 3, 2, 7, 30, 5, tzinfo=UTC)
    assert event.source == "admin_logs_streaming"
    assert event.actor is not None
    assert event.actor.id == entry["created_by"]["id"]
    assert event.actor.email == entry["created_by"]["login"]
    assert event.actor.display_name == entry["created_by"]["name"]
    assert event.actor.type == "user"
    assert event.actor.ip_address == entry["ip_address"]


def test_somebody_who_is_not_logged_in_keeps_boxs_id() -> None:
    event = normalize(entry_of("FAILED_LOGIN"), "admin_logs")
    assert event.actor is not None
    assert (event.actor.id, event.actor.email) == ("2", "")


@pytest.mark.parametrize(
    ("created_at", "expected"),
    [
        ("2026-07-01T00:00:00-07:00", datetime(2026, 7, 1, 7, tzinfo=UTC)),
        ("2026-07-01T00:00:00Z", datetime(2026, 7, 1, tzinfo=UTC)),
        ("2026-07-01T00:00:00.250+05:30", datetime(2026, 6, 30, 18, 30, 0, 250000, tzinfo=UTC)),
        ("2026-07-01T00:00:00", datetime(2026, 7, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", datetime(1970, 1, 1, tzinfo=UTC)),
        ("yesterday", datetime(1970, 1, 1, tzinfo=UTC)),
        (None, datetime(1970, 1, 1, tzinfo=UTC)),
        (12, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_given_in_utc(created_at: Any, expected: datetime) -> None:
    time = normalization.occurred_at(entry_of("LOGIN", created_at=created_at))
    assert time == expected
    assert time.tzinfo is UTC


def test_the_time_of_recording_stands_in_for_a_missing_time() -> None:
    entry = entry_of("LOGIN", created_at=None, recorded_at="2026-03-02T08:00:00+01:00")
    assert normalize(entry, "admin_logs").occurred_at == datetime(2026, 3, 2, 7, tzinfo=UTC)


@pytest.mark.parametrize("missing", list(entry_of("COLLABORATION_INVITE")))
@pytest.mark.parametrize("value", [None, 3, "text", [], {}, "absent"])
def test_a_malformed_entry_still_becomes_an_event(missing: str, value: Any) -> None:
    entry = entry_of("COLLABORATION_INVITE", **{missing: value})
    if value == "absent":
        del entry[missing]
    event = normalize(entry, "admin_logs", DOMAINS)
    assert event.source_event_id
    assert event.event_type.startswith("box.")


def test_an_entry_without_anybody_has_no_actor() -> None:
    entry = entry_of("LOGIN", created_by=None, ip_address=None)
    assert normalize(entry, "admin_logs").actor is None


def test_an_absurdly_long_name_is_cut_in_the_actor_only() -> None:
    entry = entry_of("LOGIN", created_by={"id": "1", "name": "n" * 100_000})
    event = normalize(entry, "admin_logs")
    assert event.actor is not None
    assert event.actor.display_name == "n" * 320
    assert len(event.record) > 100_000


@pytest.mark.parametrize("event_id", [None, "", "x" * 129, {"a": 1}])
def test_an_entry_without_a_usable_id_gets_the_same_one_each_time(event_id: Any) -> None:
    entry = entry_of("LOGIN", event_id=event_id)
    first = normalize(entry, "admin_logs").source_event_id
    again = json.loads(json.dumps(dict(reversed(entry.items()))))
    assert first.startswith("sha256:")
    assert normalize(again, "admin_logs_streaming").source_event_id == first
    other = entry | {"ip_address": "198.51.100.9"}
    assert normalize(other, "admin_logs").source_event_id != first


def test_half_a_surrogate_pair_does_not_reach_the_wire() -> None:
    entry = entry_of("LOGIN", created_by={"id": "1", "name": "\ud83d", "login": "a@example.com"})
    event = normalize(entry, "admin_logs")
    assert event.actor is not None
    assert event.actor.display_name == "?"


def test_an_entry_that_is_larger_than_a_record_may_be_is_not_an_event() -> None:
    with pytest.raises(NotAnEvent, match="evt-7"):
        normalize(entry_of("LOGIN", event_id="evt-7", note="x" * 1024 * 1024), "admin_logs")


@pytest.mark.parametrize("entry", [None, "text", 3, [], True])
def test_what_is_not_an_object_is_not_an_event(entry: Any) -> None:
    with pytest.raises(NotAnEvent):
        normalize(entry, "admin_logs")
