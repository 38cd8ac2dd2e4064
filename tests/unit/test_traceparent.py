"""The header `traceparent`: what is one, and what is passed on."""

from __future__ import annotations

from aperio_cli.models.traceparent import (
    below,
    read_traceparent,
    read_tracestate,
    span_id,
    trace_id,
)
from tests.rows import each_row, for_rows

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ONE = f"00-{TRACE}-{SPAN}-01"


@for_rows(
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
    ]
)
def test_what_is_none_counts_as_absent(text: str, read: str) -> None:
    assert read_traceparent(text) == read


def test_what_is_passed_on_is_the_runs_own_span_in_the_same_trace() -> None:
    told = below(ONE, "run_1")
    assert read_traceparent(told) == told
    assert (trace_id(told), told[36:52]) == (TRACE, f"{span_id('run_1'):016x}")
    assert told != below(ONE, "run_2")
    assert below("", "run_1") == trace_id("") == ""


@each_row(
    "text",
    [
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "tenant@system=1",
        "0a_-*/@b=!~",
        "a=1, b=2\t,,c= spaced out",
        ",".join(f"k{number}=v" for number in range(32)),
        "k=" + "v" * 256,
        f"{'k' * 256}=v",
    ],
)
def test_a_state_is_passed_on_as_it_is(text: str) -> None:
    assert read_tracestate(text) == text


@each_row(
    "text",
    [
        "",
        " , ,",
        "no pair",
        "=v",
        "k=",
        "K=v",
        "k =v",
        "k=a=b",
        "k=v\n",
        "k=v\x00",
        "k=\u00e9",
        "\u0661=v",
        "a=1,a=2",
        "a=1,b",
        f"{'k' * 257}=v",
        "k=" + "v" * 257,
        ",".join(f"k{number}=v" for number in range(33)),
        "," * 100_000 + "k=v",
    ],
)
def test_a_state_that_cannot_be_read_is_dropped(text: str) -> None:
    assert read_tracestate(text) == ""


def test_of_a_long_state_large_entries_are_left_out_first_and_then_the_last() -> None:
    small = [f"k{number}={'v' * 60}" for number in range(10)]
    large = f"large={'v' * 200}"
    kept = ",".join(small[:8])
    assert len(kept) <= 512 < len(f"{kept},{small[8]}")

    assert read_tracestate(",".join([large, *small])) == kept
    assert read_tracestate(",".join([*small[:4], large, *small[4:7]])) == ",".join(small[:7])
    both = f"first={'v' * 200},second={'v' * 200},third={'v' * 200}"
    assert read_tracestate(both) == both.rpartition(",")[0]
