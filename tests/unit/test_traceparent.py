"""The header `traceparent`: what is one, and what is passed on."""

from __future__ import annotations

import pytest

from aperio_cli.models.traceparent import below, read_traceparent, span_id, trace_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ONE = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (ONE, ONE),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", ONE),
        (f"01-{TRACE}-{SPAN}-01-what-comes-later", ONE),
        ("", ""),
        (f"00-{TRACE}-{SPAN}-01-more", ""),
        (f"ff-{TRACE}-{SPAN}-01", ""),
        (f"00-{'0' * 32}-{SPAN}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (ONE.upper(), ""),
        (f"{ONE}\n", ""),
        (f"01-{TRACE}-{SPAN}-01-{'x' * 1000}", ""),
        (f"00-\u0660{TRACE[1:]}-{SPAN}-01", ""),
    ],
)
def test_what_is_none_counts_as_absent(text: str, read: str) -> None:
    assert read_traceparent(text) == read


def test_what_is_passed_on_is_the_runs_own_span_in_the_same_trace() -> None:
    told = below(ONE, "run_1")
    assert read_traceparent(told) == told
    assert (trace_id(told), told[36:52]) == (TRACE, f"{span_id('run_1'):016x}")
    assert told != below(ONE, "run_2")
    assert below("", "run_1") == trace_id("") == ""
