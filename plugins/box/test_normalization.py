import copy
import json
import random
from datetime import datetime
from typing import Any

import pytest
from aperio_plugin import errors, records
from aperio_plugin.connector import Event
from aperio_plugin.records import Record
from tests.simulators import box

from box_connector import normalization
from box_connector.normalization import normalize as normalize_record

CREATED_AT = datetime.fromisoformat("2026-03-01T23:30:05-08:00")
DOMAINS = frozenset({"example.com"})


def record_of(entry: Any) -> Record:
    """An entry as the connector gets it, between others in a reply."""
    body = json.dumps({"entries": [{}, entry, {}]}).encode()
    return records.split(body, "entries").records[1]


def normalize(entry: Any, stream: str, domains: frozenset[str] = frozenset()) -> Event:
    return normalize_record(record_of(entry), stream, domains)


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
        ("COLLAB_ADD_COLLABORATOR", "box.collaboration_invited"),
        ("COLLAB_INVITE_COLLABORATOR", "box.collaboration_invited"),
        ("ADMIN_LOGIN", "box.login_succeeded"),
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


@pytest.mark.parametrize(
    "box_type", ["COLLABORATION_INVITE", "COLLAB_ADD_COLLABORATOR", "COLLAB_INVITE_COLLABORATOR"]
)
@pytest.mark.parametrize(
    "login", ["sam@partner.test", "sam@notexample.com", "sam@example.com.evil.test", "sam@com"]
)
def test_an_invitation_to_another_domain_is_sharing_externally(box_type: str, login: str) -> None:
    entry = entry_of("COLLABORATION_INVITE", event_type=box_type)
    entry["accessible_by"]["login"] = login
    assert normalize(entry, "admin_logs", DOMAINS).event_type == "box.item_shared_externally"


@pytest.mark.parametrize(
    "login",
    [
        "ada@example.com",
        "ada@EXAMPLE.com",
        "ada@eu.example.com",
        "ada@a.EU.example.com.",
        "",
        "nobody",
        None,
        7,
    ],
)
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
    assert event.occurred_at == "2026-03-01T23:30:05-08:00"
    assert event.origin == "admin_logs_streaming"
    assert event.native_event_type == "DOWNLOAD"
    assert event.actor is not None
    assert event.actor.id == entry["created_by"]["id"]
    assert event.actor.email == entry["created_by"]["login"]
    assert event.actor.display_name == entry["created_by"]["name"]
    assert event.actor.type == "user"
    assert event.actor.ip_address == entry["ip_address"]


@pytest.mark.parametrize(
    ("box_type", "expected"),
    [("SOMETHING_NEW", "SOMETHING_NEW"), ("é" * 65, "é" * 64), ("X" * 129, "X" * 128), (None, "")],
)
def test_the_word_of_box_goes_along_and_fits(box_type: str | None, expected: str) -> None:
    entry = {**entry_of("DOWNLOAD"), "event_type": box_type}
    assert normalize(entry, "admin_logs").native_event_type == expected


def test_somebody_who_is_not_logged_in_keeps_boxs_id() -> None:
    event = normalize(entry_of("FAILED_LOGIN"), "admin_logs")
    assert event.actor is not None
    assert (event.actor.id, event.actor.email) == ("2", "")


@pytest.mark.parametrize(
    ("created_at", "expected"),
    [
        ("2026-07-01T00:00:00-07:00", "2026-07-01T00:00:00-07:00"),
        ("2026-07-01t00:00:00.123456789z", "2026-07-01t00:00:00.123456789z"),
        ("2026-07-01T00:00:00", "2026-07-01T00:00:00Z"),
        ("yesterday", "yesterdayZ"),
    ],
)
def test_a_time_is_given_as_box_wrote_it_in_utc_unless_said(created_at: str, expected: str) -> None:
    assert normalize(entry_of("LOGIN", created_at=created_at), "admin_logs").occurred_at == expected


@pytest.mark.parametrize("missing", [None, ""])
def test_the_time_of_recording_stands_in_for_a_missing_time(missing: str | None) -> None:
    entry = entry_of("LOGIN", created_at=missing, recorded_at="2026-03-02T08:00:00+01:00")
    assert normalize(entry, "admin_logs").occurred_at == "2026-03-02T08:00:00+01:00"


@pytest.mark.parametrize("created_at", [1772356297000, {"at": 1}, ["x"], True])
def test_a_time_that_is_not_text_is_named(created_at: Any) -> None:
    entry = entry_of("LOGIN", created_at=created_at, recorded_at="2026-03-02T08:00:00+01:00")
    with pytest.raises(errors.InvalidRecord, match="created_at: expected text"):
        normalize(entry, "admin_logs")


@pytest.mark.parametrize("missing", sorted({*entry_of("COLLABORATION_INVITE")} - {"created_at"}))
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
    assert event.actor.display_name == "\ufffd"


def test_an_entry_without_an_id_is_told_apart_by_the_last_digit_of_a_long_number() -> None:
    def identity(number: str) -> str:
        body = '{"entries":[{"created_at":"2026-03-01T00:00:00Z","n":' + number + "}]}"
        (record,) = records.split(body.encode(), "entries").records
        return normalize_record(record, "admin_logs").source_event_id

    assert identity("9" * 5000) == identity("9" * 5000) != identity("9" * 4999 + "8")
    assert identity("0.10") != identity("1e400")
