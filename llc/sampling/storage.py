"""Arrays of what draws show: in memory while they are small, in a temporary file where they are not."""

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence

import numpy as np

from llc.errors import StoreError

# Bytes of an array from which on it lies in a file.
_MOST_IN_MEMORY = 2**26


class Storage:
    """An array (row, slot, …) that is written a place at a time, NaN where nothing was.

    A large one lies in a file without a name, which goes with the array: what is written to it takes no memory of this
    process.

    Args:
        shape: (row, slot, …).
        dtype: of the numbers, floating.
    Raises:
        StoreError: the disk of temporary files has too little room for it.
    """

    def __init__(self, shape: Sequence[int], dtype: np.dtype | type = np.float64) -> None:
        self._shape, self._dtype = tuple(shape), np.dtype(dtype)
        self._place_bytes = int(np.prod(self._shape[2:], dtype=np.int64)) * self._dtype.itemsize
        self._array: np.ndarray | None = None
        if is_large(self._shape, self._dtype):
            check_room(self._shape, self._dtype)
            self._file = tempfile.TemporaryFile(prefix="llc-draws-")  # noqa: SIM115, it goes with this object
            weakref.finalize(self, self._file.close)
            self._written = np.zeros(self._shape[:2], bool)
        else:
            self._array = np.full(self._shape, np.nan, self._dtype)

    def put(self, row: int, slot: int, values: np.ndarray) -> None:
        """Write one place, of shape (…)."""
        if self._array is not None:
            self._array[row, slot] = values
        else:
            self._write(row, slot, values)
            self._written[row, slot] = True

    def forget(self, row: int, slots: Iterable[int]) -> None:
        """NaN again."""
        for slot in slots:
            if self._array is not None:
                self._array[row, slot] = np.nan
            else:
                self._written[row, slot] = False

    def array(self) -> np.ndarray:
        """All of it, to be read. A file is read as it is looked at."""
        if self._array is not None:
            return self._array
        nothing = np.full(self._shape[2:], np.nan, self._dtype)
        for row, slot in np.argwhere(~self._written):
            self._write(row, slot, nothing)
        self._written[:] = True
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r", shape=self._shape)

    def _write(self, row: int, slot: int, values: np.ndarray) -> None:
        self._file.seek((int(row) * self._shape[1] + int(slot)) * self._place_bytes)
        try:
            self._file.write(np.asarray(values, self._dtype).tobytes())
        except OSError as error:
            raise StoreError(_no_room(self._shape, self._dtype, str(error))) from error


def check_room(shape: Sequence[int], dtype: np.dtype | type) -> None:
    """Raise StoreError where a large array of this shape has no place."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if is_large(shape, dtype) and _bytes(shape, dtype) > free:
        raise StoreError(_no_room(shape, dtype, f"{free / 2**30:.1f} GiB are free"))


def _no_room(shape: Sequence[int], dtype: np.dtype | type, why: str) -> str:
    place, size = tempfile.gettempdir(), f"{_bytes(shape, dtype) / 2**30:.1f} GiB"
    return (
        f"what draws show takes {size}, and {place} has no room for that ({why}); set TMPDIR to a folder with room, or "
        "look at fewer samples, at fewer draws (`every=`) or at means (`mean=`)"
    )


def _bytes(shape: Sequence[int], dtype: np.dtype | type) -> int:
    return int(np.prod(tuple(shape), dtype=np.int64)) * np.dtype(dtype).itemsize


def is_large(shape: Sequence[int], dtype: np.dtype | type) -> bool:
    """Whether an array of this shape lies in a file.

    Args:
        shape: of the array.
        dtype: of its elements.
    """
    return _bytes(shape, dtype) > _MOST_IN_MEMORY


def chosen(arrays: Sequence[np.ndarray], rows: Sequence[int], slots: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """Some rows of arrays (row, slot, …), one array after another along the slots.

    What is large is copied place by place into a file of its own.

    Args:
        arrays: one or more, of one dtype and alike but for their slots.
        rows: which, in the order wanted.
        slots: of each array, which; None for all.
    """
    slots = [np.arange(array.shape[1]) for array in arrays] if slots is None else slots
    first, number = arrays[0], sum(map(len, slots))
    if len(arrays) == 1 and len(rows) == len(first) and number == first.shape[1]:
        return first
    shape = len(rows), number, *first.shape[2:]
    if not is_large(shape, first.dtype):
        which = np.asarray(rows, int)[:, None]
        return np.concatenate([array[which, of_array] for array, of_array in zip(arrays, slots, strict=True)], 1)
    found = Storage(shape, first.dtype)
    for place, row in enumerate(rows):
        sources = ((array, slot) for array, of_array in zip(arrays, slots, strict=True) for slot in of_array)
        for at, (array, slot) in enumerate(sources):
            found.put(place, at, array[row, slot])
    return found.array()


def stacked(rows: Sequence[np.ndarray | None], shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Rows (slot, …) of one shape side by side; NaN where there is None."""
    if not is_large((len(rows), *shape), dtype):
        return np.stack([np.full(shape, np.nan, dtype) if row is None else row for row in rows])
    found = Storage((len(rows), *shape), dtype)
    for place, row in enumerate(rows):
        if row is not None:
            for slot, values in enumerate(row):
                found.put(place, slot, values)
    return found.array()
