"""What an event and its neighbours in a sync may measure: one place for plugins and hosts.

proto/aperio/plugin/v1/connector.proto states the same; sdk/testdata/limits.json holds both SDKs and
the host to it. Bytes are those of UTF-8.
"""

from typing import Final

MAX_BATCH: Final = 256
"""Events in a batch, or findings, or audit log entries."""
MAX_RECORD_BYTES: Final = 1024 * 1024
MAX_RECORD_DEPTH: Final = 512
"""Objects and lists inside each other, the record itself included."""
MAX_ID_BYTES: Final = 512
MAX_NAME_BYTES: Final = 128
"""Of an event's type, the service's own word for it, and its origin."""
MAX_CHECK_BYTES: Final = 160
"""Of the key of a check, and of an action."""
MAX_PRODUCT_TYPE_BYTES: Final = 120
"""Of the product's word for the type of an event."""
MAX_ACTOR_CHARACTERS: Final = 255
"""Of each text of an actor, which is cut: what the product's columns hold."""
MAX_CURSOR_BYTES: Final = 64 * 1024
MAX_SOURCE_BYTES: Final = 256
"""Of each part of what tells the checkpoints of syncs apart."""
MAX_COVERED: Final = 1024
"""Streams of which a checkpoint says how far they were read."""
MIN_SECONDS: Final = -62_135_596_800
"""0001-01-01T00:00:00Z, the first second of a Timestamp (google/protobuf/timestamp.proto)."""
MAX_SECONDS: Final = 253_402_300_799
"""9999-12-31T23:59:59Z, the last one."""
MAX_TITLE_CHARACTERS: Final = 220
"""Of a finding, as all down to the risk score."""
MAX_DESCRIPTION_BYTES: Final = 16 * 1024
MAX_STEPS: Final = 64
MAX_STEP_BYTES: Final = 1024
MAX_TARGET_CHARACTERS: Final = 255
"""Of the target, and of the dedupe target."""
MAX_TAGS: Final = 32
MAX_TAG_BYTES: Final = 64
MAX_RISK_SCORE: Final = 100
MAX_REASON_BYTES: Final = 1024
MAX_EXCERPT_BYTES: Final = 1024
MAX_POSITION_BYTES: Final = 512
MAX_CODE_BYTES: Final = 64
"""Of a dead letter, as the three above."""
