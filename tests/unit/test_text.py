"""Text from outside, made fit to be shown."""

from __future__ import annotations

import json

from aperio_cli.text import clean, escape_unshown


def test_json_for_people_has_nothing_that_is_not_shown_and_the_same_value() -> None:
    value = {"n": "a\x9b1m\u202egnp\u200b\x85\U000e0041\ud800 Grüße 😀\u2028", "x": 1}
    text = escape_unshown(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == value
    assert clean(text, limit=1000) == text
    assert "Grüße 😀" in text
    assert escape_unshown('{"a": "b"}') == '{"a": "b"}'
