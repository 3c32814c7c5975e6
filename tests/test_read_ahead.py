"""What is read ahead comes in order, not too far ahead, and the thread that reads ends with the reading."""

from __future__ import annotations

import threading

import pytest

from custom_modules.read_ahead import read_ahead


@pytest.mark.parametrize("ahead", [0, 1, 3, 50])
def test_in_order_and_not_too_far_ahead(ahead: int) -> None:
    read: list[int] = []

    def note(item: int) -> int:
        read.append(item)
        return item * item

    for number, square in enumerate(read_ahead(note, range(20), ahead)):
        assert square == number * number
        assert len(read) <= number + ahead + 1
    assert read == list(range(20))
    assert list(read_ahead(note, [], ahead)) == []


def test_it_reads_while_the_caller_works() -> None:
    third = threading.Event()
    items = read_ahead(lambda item: third.set() if item == 2 else None, range(5), 2)
    next(items)
    assert third.wait(timeout=60)
    items.close()


def test_an_error_comes_in_its_place() -> None:
    items = read_ahead(lambda item: 6 // item, [2, 1, 0, 3], 3)
    assert [next(items), next(items)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(items)
    assert list(items) == []


@pytest.mark.parametrize("ending", ["closed", "exhausted", "failed"])
def test_no_thread_is_left(ending: str) -> None:
    begun, go_on, read = threading.Event(), threading.Event(), []

    def slow(item: int) -> int:
        read.append(item)
        if ending == "closed" and item == 1:
            begun.set()
            go_on.wait(timeout=60)
        return 1 // (item - 5)

    items = read_ahead(slow, range(5 if ending == "exhausted" else 20), 10)
    next(items)
    if ending == "closed":
        begun.wait(timeout=60)
        threading.Timer(0.05, go_on.set).start()
        items.close()
        assert read == [0, 1], "what was asked for and not begun is dropped"
    elif ending == "exhausted":
        list(items)
    else:
        with pytest.raises(ZeroDivisionError):
            list(items)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read_ahead")]
