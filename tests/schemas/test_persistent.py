"""The immutable sequence: every view keeps what it shows, whatever is appended to the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledgent.schemas.persistent import PersistentList


@given(st.lists(st.tuples(st.integers(0, 100), st.lists(st.integers(), max_size=3)), max_size=40))
def test_every_view_stays_as_it_was(appends: list[tuple[int, list[int]]]) -> None:
    """Appends to any of the views made so far, and compares all with plain tuples."""
    views: list[PersistentList[int]] = [PersistentList()]
    plain: list[tuple[int, ...]] = [()]
    for which, items in appends:
        index = which % len(views)
        views.append(views[index].append(*items))
        plain.append((*plain[index], *items))
    assert [tuple(view) for view in views] == plain
    assert [len(view) for view in views] == [len(items) for items in plain]


@given(st.lists(st.integers(), max_size=8), st.slices(10), st.lists(st.integers(), max_size=3))
def test_it_is_indexed_and_sliced_like_a_list(items: list[int], cut: slice, more: list[int]) -> None:
    view = PersistentList(items)
    view.append(*more)  # a longer view over the same items
    assert view[cut] == items[cut]
    for index in range(-len(items), len(items)):
        assert view[index] == items[index]
    for index in (len(items), -len(items) - 1):
        with pytest.raises(IndexError):
            view[index]


def test_two_branches_of_one_view_do_not_see_each_other() -> None:
    trunk = PersistentList([1]).append(2)
    left, right = trunk.append(3), trunk.append(4)
    assert (list(trunk), list(left), list(right)) == ([1, 2], [1, 2, 3], [1, 2, 4])


def test_equal_items_make_equal_lists() -> None:
    one, two = PersistentList([1, 2]), PersistentList([1]).append(2)
    assert one == two
    assert hash(one) == hash(two)
    assert one != PersistentList([1])
    assert one != PersistentList([1, 3])
    assert one != [1, 2]
    assert repr(two) == "PersistentList([1, 2])"
    assert not PersistentList()


def test_appending_does_not_copy_what_is_there() -> None:
    view: PersistentList[int] = PersistentList([0])
    first = view._items
    for number in range(1, 100):
        view = view.append(number)
    assert view._items is first


def test_what_it_was_made_from_may_change_later() -> None:
    items = [1, 2]
    view = PersistentList(items)
    items.append(3)
    assert list(view) == [1, 2]
