from box_connector.recent import RecentIds


def test_an_id_is_new_once() -> None:
    recent = RecentIds()
    assert recent.is_new("a")
    assert recent.is_new("b")
    assert not recent.is_new("a")


def test_an_id_is_forgotten_when_the_window_is_full_and_memory_stays_bounded() -> None:
    recent = RecentIds(window=2)
    for event_id in ("a", "b", "c"):
        assert recent.is_new(event_id)
    assert not recent.is_new("c")
    assert recent.is_new("a")
    assert len(recent._known) == 2  # noqa: SLF001 - memory is what is tested
