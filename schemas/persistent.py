"""An immutable sequence that appends in constant time. Nothing else."""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar, overload

T = TypeVar("T", covariant=True)


class PersistentList(Generic[T]):
    """A view on the first `n` items of a shared list.

    Appending to the longest view extends the shared list in place; appending to a shorter one copies. So every view
    keeps what it shows, and a fold that appends once a record costs the same at its end as at its beginning.
    """

    __slots__ = ("_items", "_size")

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items: list[T] = list(items)
        self._size = len(self._items)

    def append(self, *items: T) -> "PersistentList[T]":  # type: ignore[misc]  # immutable, so covariance is safe
        """The sequence with these items after it."""
        view: PersistentList[T] = PersistentList.__new__(PersistentList)
        shared = self._items
        view._items = shared if self._size and len(shared) == self._size else shared[: self._size]
        view._items.extend(items)
        view._size = self._size + len(items)
        return view

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        for index in range(self._size):
            yield self._items[index]

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._items[place] for place in range(*index.indices(self._size))]
        if not -self._size <= index < self._size:
            raise IndexError(index)
        return self._items[index if index >= 0 else self._size + index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PersistentList):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"PersistentList({self._items[: self._size]!r})"
