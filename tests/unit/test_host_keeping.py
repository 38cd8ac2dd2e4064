"""Checkpoints that a destination keeps: what it is told of a sync, and what its word is worth."""

from __future__ import annotations

import pytest
from aperio_plugin.wire import destination_pb2, limits

from aperio_cli.data.state import Checkpoint
from aperio_cli.host.calls.keeping import CheckpointToStore, Position, SyncSource, position_of

OWNER = 'acme/box ["folder", "/home/alice/box"]'


def test_a_source_names_the_connector_and_nothing_of_the_machine() -> None:
    source = SyncSource.of(OWNER, "logs")
    assert source.connector.startswith("acme/box ")
    assert "alice" not in source.connector
    assert source == SyncSource.of(OWNER, "logs")
    assert source.connector != SyncSource.of('acme/box ["folder", "/home/bob/box"]', "").connector


def test_the_longest_source_fits_and_each_choice_is_told_apart() -> None:
    name = f"{'n' * 39}/{'m' * 63}"
    long, longer = ("x" * 256, "x" * 257)
    assert SyncSource.of(f"{name} []", long).choice == long
    choices = {
        SyncSource.of(f"{name} []", each).choice for each in (longer, f"{longer}x", "ü" * 200)
    }
    assert len(choices) == 3
    assert all(len(each) <= limits.MAX_SOURCE_BYTES for each in choices)
    assert len(SyncSource.of(f"{name} []", "").connector) <= limits.MAX_SOURCE_BYTES


def answer(**parts: object) -> destination_pb2.PositionResponse:
    made = destination_pb2.PositionResponse(kept=True)
    made.checkpoint.cursor = b"1"
    made.checkpoint.connector_version = str(parts.pop("version", "1.0.0"))
    for name, seconds in parts.items():
        made.checkpoint.covered[name].seconds = int(str(seconds))
    return made


def test_what_a_destination_says_is_read_within_bounds() -> None:
    assert position_of(destination_pb2.PositionResponse()) == Position(kept=False)
    lying = answer()
    lying.kept = False
    assert position_of(lying) == Position(kept=False)
    assert position_of(destination_pb2.PositionResponse(kept=True)) == Position(kept=True)
    found = position_of(answer(logs=1_700_000_000, never=10**15, version="1\x1b[2J" + "0" * 500))
    assert found.checkpoint
    assert found.checkpoint.covered == {"logs": "2023-11-14T22:13:20Z"}
    assert "\x1b" not in found.checkpoint.version
    assert len(found.checkpoint.version) <= 128
    assert (found.cursor, found.checkpoint.stored_at) == (b"1", "")


@pytest.mark.parametrize("over", [0, 1])
def test_a_cursor_has_64_kib_at_most(over: int) -> None:
    made = answer()
    made.checkpoint.cursor = b"x" * (limits.MAX_CURSOR_BYTES + over)
    if over:
        with pytest.raises(ValueError, match="received 65537"):
            position_of(made)
    else:
        assert len(position_of(made).cursor) == limits.MAX_CURSOR_BYTES


def test_what_is_to_be_stored_comes_back_as_it_was() -> None:
    covered = {"": "2026-01-05T09:00:00Z", "logs": "2026-01-05T09:00:00.123456789Z"}
    source = SyncSource("acme/box 1f", "logs")
    message = CheckpointToStore(source, b"2", b"1", covered, "1.2.3").to_message()
    assert (message.replaces, message.source) == (b"1", source.to_message())
    kept = destination_pb2.PositionResponse(kept=True, checkpoint=message.checkpoint)
    assert position_of(kept).checkpoint == Checkpoint(b"2", "1.2.3", "", covered)
    many = {f"s{number}": covered[""] for number in range(2 * limits.MAX_COVERED)}
    message = CheckpointToStore(source, b"2", covered=many).to_message()
    assert len(message.checkpoint.covered) == limits.MAX_COVERED
