"""Box's event entries as Aperio events. The README has the table of types.

Formats: "Event", "Event source" and "File" in Box's API reference
(https://developer.box.com/reference/resources/event), and Box's guide "Get Enterprise Events".
Entries are hostile input: any field may be missing, null or of another type.
"""

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from aperio_plugin import errors
from aperio_plugin.connector import Actor, Event
from aperio_plugin.records import Record

ITEM_SHARED_EXTERNALLY: Final = "box.item_shared_externally"
SHARED_LINK_CREATED: Final = "box.shared_link_created"
SHARED_LINK_UPDATED: Final = "box.shared_link_updated"
COLLABORATION_INVITED: Final = "box.collaboration_invited"
COLLABORATION_ACCEPTED: Final = "box.collaboration_accepted"
LOGIN_SUCCEEDED: Final = "box.login_succeeded"
LOGIN_FAILED: Final = "box.login_failed"
ADMIN_ROLE_CHANGED: Final = "box.admin_role_changed"
APP_AUTHORIZED: Final = "box.app_authorized"
ITEM_DOWNLOADED: Final = "box.item_downloaded"
UNKNOWN: Final = "box.unknown"

_TYPES: Final[Mapping[str, str]] = {
    "SHARE": SHARED_LINK_CREATED,
    "ITEM_SHARED": SHARED_LINK_CREATED,
    "ITEM_SHARED_CREATE": SHARED_LINK_CREATED,
    "ITEM_SHARED_UPDATE": SHARED_LINK_UPDATED,
    "COLLABORATION_INVITE": COLLABORATION_INVITED,
    "COLLAB_ADD_COLLABORATOR": COLLABORATION_INVITED,
    "COLLAB_INVITE_COLLABORATOR": COLLABORATION_INVITED,
    "COLLABORATION_ACCEPT": COLLABORATION_ACCEPTED,
    "LOGIN": LOGIN_SUCCEEDED,
    "ADMIN_LOGIN": LOGIN_SUCCEEDED,
    "FAILED_LOGIN": LOGIN_FAILED,
    "CHANGE_ADMIN_ROLE": ADMIN_ROLE_CHANGED,
    "ENTERPRISE_APP_AUTHORIZATION_UPDATE": APP_AUTHORIZED,
    "DOWNLOAD": ITEM_DOWNLOADED,
    "ITEM_DOWNLOAD": ITEM_DOWNLOADED,
    "FILE_WATERMARKED_DOWNLOAD": ITEM_DOWNLOADED,
}
EVENT_TYPES: Final = (*sorted({*_TYPES.values(), ITEM_SHARED_EXTERNALLY}), "box.*")
"""Those with a name of ours; Box has more, and the others keep Box's own."""

_OF_LINKS: Final = frozenset({SHARED_LINK_CREATED, SHARED_LINK_UPDATED})
_MAX_ID_LENGTH: Final = 128
_MAX_TYPE_LENGTH: Final = 100
_MAX_NATIVE_BYTES: Final = 128
_MAX_ACTOR_LENGTH: Final = 320  # the longest mail address (RFC 5321, 4.5.3.1); the record has all
_NOT_IN_A_TYPE: Final = re.compile(r"[^a-z0-9_]+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ZONE: Final = re.compile(r".*[+-]\d\d(:?\d\d)?")


def normalize(entry: Record, stream: str, internal_domains: frozenset[str] = frozenset()) -> Event:
    """Give the Aperio event of one entry; the record is the whole entry, as Box wrote it.

    Args:
        entry: one element of `entries`.
        stream: Box's stream type, the event's `source`.
        internal_domains: the enterprise's mail domains in lower case; with them, an invitation to
            anyone else counts as sharing externally. Empty: nobody is judged by domain.

    Raises:
        errors.InvalidRecord: the entry has no time.
    """
    fields = entry.fields
    return Event(
        source_event_id=source_event_id(entry),
        event_type=event_type(fields, internal_domains),
        occurred_at=occurred_at(fields),
        actor=actor(fields),
        origin=stream,
        native_event_type=native_event_type(fields),
        record=entry.json,
    )


def source_event_id(entry: Record) -> str:
    """Give Box's `event_id`, or for an entry without one a digest of its content."""
    given = _text(entry.fields.get("event_id"))
    if given and len(given) <= _MAX_ID_LENGTH:
        return given
    # Numbers as Box wrote them: two that differ in the last of many digits are two.
    fields = json.loads(entry.json, parse_int=_digits, parse_float=_digits)
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def _digits(number: str) -> str:
    return f"\0{number}"


def event_type(entry: Mapping[str, Any], internal_domains: frozenset[str] = frozenset()) -> str:
    """Give the Aperio event type; a type without a name here becomes `box.<lower-case type>`."""
    box_type = _text(entry.get("event_type"))
    name = _TYPES.get(box_type)
    if name in _OF_LINKS and _is_open_link(entry):
        return ITEM_SHARED_EXTERNALLY
    if name == COLLABORATION_INVITED and _is_outsider(_collaborator(entry), internal_domains):
        return ITEM_SHARED_EXTERNALLY
    if name is not None:
        return name
    suffix = _NOT_IN_A_TYPE.sub("_", box_type.lower())[:_MAX_TYPE_LENGTH].strip("_")
    return f"box.{suffix}" if suffix else UNKNOWN


def native_event_type(entry: Mapping[str, Any]) -> str:
    """Give Box's own `event_type`; what is too long for an event is cut, the record has all."""
    box_type = _text(entry.get("event_type"))
    if len(box_type) <= _MAX_TYPE_LENGTH and box_type.isascii():
        return box_type
    return box_type.encode()[:_MAX_NATIVE_BYTES].decode(errors="ignore")


def occurred_at(entry: Mapping[str, Any]) -> str:
    """Give `created_at`, or where Box leaves it out `recorded_at`; in UTC unless it says otherwise.

    Raises:
        errors.InvalidRecord: there is neither, or it is not text.
    """
    for key in ("created_at", "recorded_at"):
        time = entry.get(key)
        if isinstance(time, str) and time:
            # Box writes `-08:00`; the rest costs more to see.
            is_usual = time[-3:-2] == ":" and time[-6:-5] == "-"
            has_zone = is_usual or time[-1] in "Zz" or _ZONE.fullmatch(time[-6:])
            return time if has_zone else f"{time}Z"
        if time:
            raise errors.InvalidRecord(f"{key}: expected text, received {time!r:.40}")
    raise errors.InvalidRecord("created_at: expected text, and recorded_at is missing, too")


def actor(entry: Mapping[str, Any]) -> Actor | None:
    """Give who did it (`created_by`) and from where, or None when Box says neither.

    Box's id `2` stands for people who are not logged in; it is passed on as it is.
    """
    user = _object(entry.get("created_by")).get
    told = (user("id"), user("login"), user("name"), user("type"), entry.get("ip_address"))
    try:
        return _actor(*told)
    except TypeError:  # a list or an object, which is no key of a cache
        return _actor.__wrapped__(*told)


@functools.lru_cache(maxsize=4096, typed=True)  # whoever does something often does much
def _actor(identity: Any, login: Any, name: Any, kind: Any, address: Any) -> Actor | None:
    texts = [_text(value)[:_MAX_ACTOR_LENGTH] for value in (identity, login, name, kind, address)]
    if not any(texts):
        return None
    identity, login, name, kind, address = texts
    return Actor(id=identity, email=login, display_name=name, type=kind, ip_address=address)


def _is_open_link(entry: Mapping[str, Any]) -> bool:
    """Tell whether the source is an item whose link anyone may open.

    Only file and folder resources carry their link; the short item source does not.
    """
    link = _object(_object(entry.get("source")).get("shared_link"))
    return _text(link.get("effective_access") or link.get("access")) == "open"


def _collaborator(entry: Mapping[str, Any]) -> str:
    """Give the login of whoever was invited: `accessible_by`, else a source that is a user."""
    invited = _object(entry.get("accessible_by")) or _object(entry.get("source"))
    return _text(invited.get("login"))


def _is_outsider(login: str, internal_domains: frozenset[str]) -> bool:
    """Tell whether a mail address is in none of the domains, nor in one below them."""
    _, at, domain = login.rpartition("@")
    domain = domain.lower().rstrip(".")
    inside = any(domain == own or domain.endswith(f".{own}") for own in internal_domains)
    return bool(internal_domains and at) and not inside


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """Give text, and whole numbers as text (Box's own examples have ids of both kinds).

    JSON can escape half a surrogate pair, which no UTF-8 text can hold: it becomes U+FFFD.
    """
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
