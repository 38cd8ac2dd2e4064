"""Addressing: whose envelopes a call takes, and under which key each is handed over."""

from __future__ import annotations

import json

from aperio_cli.host.calls.addressing import Address
from aperio_cli.host.calls.envelopes import Outbound
from aperio_cli.host.calls.lines import read_line
from tests import captured
from tests.rows import each_row

ADDRESS = Address(captured.ORGANIZATION, captured.DESTINATION)


def read(text: str) -> Outbound:
    found = read_line(text.encode(), number=1)
    assert isinstance(found, Outbound), found
    return found


@each_row(("text", "key"), list(zip(captured.ALL, captured.KEYS, strict=True)))
def test_the_products_envelopes_are_read_as_they_are_and_have_its_keys(text: str, key: str) -> None:
    found = read(text)

    assert (found.id, found.json) == ("", text.encode())
    assert ADDRESS.takes(found)
    assert ADDRESS.addressed(found) == found._replace(key=key)


@each_row("organization", ["local", "org_10", "ORG_1", " org_1", "org_1\u200b"])
def test_another_organizations_envelope_is_not_taken(organization: str) -> None:
    text = json.dumps(json.loads(captured.EVENT) | {"organization_id": organization})

    assert not ADDRESS.takes(read(text))
    assert Address(organization, "siem_1").takes(read(text))


@each_row("kind", ["event", "audit_log", "finding"])
@each_row("identity", ["e1", " e1 ", "\u2003", "<e>&\u2028"])
def test_the_short_way_to_a_key_gives_the_same_as_the_whole_rule(kind: str, identity: str) -> None:
    from aperio_plugin.destination import delivery_key

    text = json.dumps(
        {"id": identity, "organization_id": "org_1", "kind": kind, "record": {"id": "r1"}}
    )
    wanted = delivery_key(text.encode(), organization_id="org_1", destination_id="siem_1")

    assert ADDRESS.addressed(read(text)).key == wanted
