"""Envelopes as the product delivers them, written from what is known of it.

Eight keys in this order and no id, records with sorted keys, `<`, `>` and `&` escaped, times with
nine digits. Beside each stands its delivery key for the destination that it names.
"""

from __future__ import annotations

from typing import Final

ORGANIZATION: Final = "org_1"
DESTINATION: Final = "siem_1"


def _envelope(kind: str, occurred_at: str, record: str) -> str:
    return (
        f'{{"schema_version":"aperio.{kind}.v1","source":"aperio","producer":"aperio.sspm",'
        f'"destination_id":"{DESTINATION}","organization_id":"{ORGANIZATION}","kind":"{kind}",'
        f'"occurred_at":"{occurred_at}","record":{record}}}'
    )


def finding(status: str = "OPEN", occurrence: str = "evt_1") -> str:
    """A finding's envelope."""
    return _envelope(
        "finding",
        "2026-06-06T00:00:00.123456789Z",
        '{"actor":"ada@example.com","dedupeKey":"29cdd706521d07aa91b1a68d52f459c8",'
        '"description":"\\u003cb\\u003eadmin\\u003c/b\\u003e \\u0026 more, Grüße\\u2028",'
        '"eventType":"user.account.privilege.grant","findingId":"fnd_1","integrationId":"int_1",'
        '"provider":"OKTA","remediationSteps":null,"riskScore":93,'
        '"ruleId":"okta.admin_role_assigned","schemaVersion":"aperio.finding.v1",'
        f'"severity":"CRITICAL","source":"okta.system_log","sourceEventId":"{occurrence}",'
        f'"status":"{status}","target":"user@example.com","title":"Admin role assigned"}}',
    )


EVENT: Final = _envelope(
    "event",
    "2026-06-06T00:00:00Z",
    '{"eventType":"user.session.start","id":"src_1","provider":"OKTA","ratio":0.10}',
)
AUDIT_LOG: Final = _envelope(
    "audit_log", "2026-06-06T00:00:00.5Z", '{"action":"member.invited","actor":"a@example.com"}'
)
ALL: Final = (finding(), finding("RESOLVED"), finding(occurrence="evt_2"), EVENT, AUDIT_LOG)
KEYS: Final = (
    "541b84cbf9ef1139165999ebec44eb813d1d0468e9a23be37e663a0055e7eecf",
    "7b6349ce1941c76dcfdeb84a941f5166fb86dce4fb2873ed3d37c5a94f1dd8c5",
    "bd0fe02488bc53e9f1cd453eda46d247da262d10a584e2a65bea4173c90fe6b2",
    "4f5377f14cc0e307b1b006f79ea1534193c8ca586dbe457795da3e8827cf628a",
    "4f559fcdfa195b17b4f98208647816efbd0670fc3374db6a40b06786a60c84a4",
)
