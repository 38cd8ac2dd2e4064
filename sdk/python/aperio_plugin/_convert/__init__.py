"""The only place where author-facing types and protobuf messages meet.

`objects` (JSON), `events` (a sync's hot path), `calls` (every call), `declaring` and `answering`.
"""
