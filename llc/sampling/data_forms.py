"""The forms in which people have data: tensors, arrays, lists, dicts, datasets, loaders."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from llc.errors import InvalidInput
from llc.sampling.data import Columns, Data, Items
from llc.sampling.loaders import of_loader
from llc.sampling.structure import leaves_of, mapped, with_children

# Datasets whose samples take no more than so many bytes are asked for each of them once and kept.
_KEPT_BYTES = 2**29
# Samples that are asked for twice, to see whether they are the same.
_ASKED_TWICE = 16

_EXPECTED = (
    "expected tensors or arrays of n samples each (one, or a tuple or dict of them), a list of samples, a map-style "
    "dataset or a DataLoader"
)


def check_data(data: Data, collate_fn: Callable[[list], Any] | None = None, *, least: int = 2) -> Columns | Items:
    """Data in the form that is sampled on; a batch of it has the data's own structure.

    - A tensor or array (n, …), or a tuple or dict of those, nested if need be: samples lie along the first dimension.
    - A list of samples, a dataset or anything else with `len(data)` and `data[i]`: batches are made as DataLoader does,
      by `torch.utils.data.default_collate`, or by `collate_fn`.
    - A DataLoader: its dataset, and its `collate_fn`.

    Args:
        data: n samples in one of these forms, or what this returned of them.
        collate_fn: makes a batch of a list of samples, such as one that pads them to one length.
        least: samples that there have to be.

    Raises:
        InvalidInput: something else, fewer than `least` samples, columns of several lengths, samples that cannot be
            made a batch or that are others at every look.
    """
    if isinstance(data, Columns | Items):
        return data
    if collate_fn is not None and not callable(collate_fn):
        raise InvalidInput(f"collate_fn = {collate_fn!r} given, expected a function of a list of samples")
    if isinstance(data, DataLoader):
        data, collate_fn = of_loader(data, collate_fn)
        found: Columns | Items | None = None if isinstance(data, list | tuple) else _columns(data)
    else:
        found = None if isinstance(data, list) and collate_fn is not None else _columns(data)
    if isinstance(found, Columns) and collate_fn is not None:
        data, found = _Rows(found), None
    if found is None:
        found = _items(data, collate_fn)
    try:
        number = len(found)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"data, a {type(data).__name__}, does not know its length ({error})") from error
    if number < least:
        raise InvalidInput(f"data has {number} sample{'s' * (number != 1)}, expected at least {least}")
    return _kept(found, keep_samples=collate_fn is not None) if isinstance(found, Items) else found


class _Rows:
    """The samples of columns, one by one."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    def __getitem__(self, number: int) -> Any:
        return self._columns.structured([leaf[number] for leaf in self._columns.leaves])


def _columns(data: Data) -> Columns | None:
    """What is no list of samples and no dataset; None where it is one."""
    if isinstance(data, TensorDataset):  # in the structure that DataLoader gives
        return _column_leaves(list(data.tensors))
    if isinstance(data, Tensor | np.ndarray | Mapping) or (isinstance(data, tuple) and data):
        return _column_leaves(data)
    if not isinstance(data, list) or not data:
        return None
    if all(isinstance(one, Number) for one in data):
        return _column_leaves(data)
    if all(isinstance(one, Tensor | np.ndarray) for one in data):
        return _column_leaves(data) if _are_columns(data) else None
    alike = len({type(one) for one in data}) == 1 and isinstance(data[0], tuple | list | Mapping)
    return None if alike else _column_leaves(data)


def _are_columns(tensors: Sequence[Tensor | np.ndarray]) -> bool:
    """Whether the tensors of a list are columns, not samples.

    Raises:
        InvalidInput: they may be either.
    """
    shapes = {tuple(one.shape) for one in tensors}
    lengths = {shape[0] if shape else 0 for shape in shapes}
    if len(lengths) > 1 or 0 in lengths:
        return False
    if len(shapes) == 1 and len(tensors) > max(lengths):
        return False
    if len(shapes) > 1:
        return True
    shape = next(iter(shapes))
    raise InvalidInput(
        f"data is a list of {len(tensors)} tensors of shape {shape}, which may be {len(tensors)} samples or "
        f"{len(tensors)} columns of {shape[0]} samples; pass torch.stack(data) for samples, tuple(data) for columns"
    )


def _column_leaves(data: Any) -> Columns:
    """Tensors in a structure, each of n samples.

    Raises:
        InvalidInput: a leaf that is no tensor of n samples.
    """
    leaves: list[Tensor] = []
    of_numpy: list[int] = []

    def place(leaf: Any) -> int | None:
        if leaf is None:  # a field that is not there
            return None
        if isinstance(leaf, np.ndarray | _Rectangle):
            of_numpy.append(len(leaves))
        leaves.append(_tensor(leaf, data))
        return len(leaves) - 1

    template = mapped(place, _with_rectangles(data))
    if not leaves:
        raise InvalidInput(f"data is {_described(data)}, {_EXPECTED}")
    lengths = {len(leaf) for leaf in leaves}
    if len(lengths) > 1:
        raise InvalidInput(f"the tensors in data have {sorted(lengths)} samples, expected one number")
    return Columns(leaves, template, of_numpy)


class _Rectangle:
    """A list of numbers, or of lists of as many each: a column that is written out."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


def _with_rectangles(tree: Any, *, top: bool = True) -> Any:
    """The structure with lists of numbers as leaves."""
    if isinstance(tree, list) and (not top or all(isinstance(one, Number) for one in tree)):
        array = _rectangle(tree)
        if array is not None:
            return _Rectangle(array)
    if isinstance(tree, Mapping | tuple | list):
        return with_children(lambda child: _with_rectangles(child, top=False), tree)
    return tree


def _rectangle(numbers: list) -> np.ndarray | None:
    try:
        array = np.asarray(numbers)
    except ValueError:  # ragged
        return None
    return array if array.dtype.kind in "biuf" else None


def _tensor(leaf: Any, data: Any) -> Tensor:
    """A column as a tensor that gradients can be taken through, whatever mode it was made in."""
    if isinstance(leaf, _Rectangle):
        leaf = leaf.array
    if isinstance(leaf, np.ma.MaskedArray):
        raise InvalidInput("an array in data is masked; give its data, and sample_weights for what counts")
    if isinstance(leaf, np.ndarray) and leaf.ndim:
        try:
            native = leaf.astype(leaf.dtype.newbyteorder("="), copy=False)
            leaf = torch.from_numpy(np.ascontiguousarray(native) if native.flags.writeable else native.copy())
        except (TypeError, ValueError) as error:  # strings, objects
            raise InvalidInput(f"an array in data has dtype {leaf.dtype}, expected numbers") from error
    if isinstance(leaf, Tensor) and (leaf.layout != torch.strided or leaf.is_nested):
        raise InvalidInput("a tensor in data is sparse or nested; give it dense, or a list of samples and collate_fn=")
    if not isinstance(leaf, Tensor) or not leaf.ndim:
        raise InvalidInput(f"data is {_described(data)}, {_EXPECTED}")
    return leaf.detach().clone() if leaf.is_inference() else leaf.detach()


def _items(data: Any, collate_fn: Callable | None) -> Items:
    """What is asked for its samples one by one."""
    if isinstance(data, IterableDataset):
        raise InvalidInput(
            f"data is a {type(data).__name__}, expected a map-style dataset with a length; collect as many of its "
            "samples as are wanted into a list"
        )
    if hasattr(data, "iloc"):  # a data frame: its [0] is a column
        raise InvalidInput(
            f"data is a {type(data).__name__} of pandas, {_EXPECTED}; give its columns as arrays, such as "
            "(frame[inputs].to_numpy(), frame[target].to_numpy())"
        )
    asked_by_number = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if not asked_by_number or isinstance(data, str | bytes) or (isinstance(data, tuple | list) and not data):
        raise InvalidInput(f"data is {_described(data)}, {_EXPECTED}")
    kind = "a list" if isinstance(data, list) else f"a {type(data).__name__}"
    return Items(data, _collate if collate_fn is None else _wrapped(collate_fn), kind)


def _wrapped(collate_fn: Callable[[list], Any]) -> Callable[[list], Any]:
    """A user's function, whose errors are said to be its own."""

    def collate(samples: list) -> Any:
        try:
            return collate_fn(samples)
        except Exception as error:
            raise InvalidInput(
                f"collate_fn failed on {len(samples)} samples ({type(error).__name__}: {error})"
            ) from error

    return collate


def _collate(samples: list) -> Any:
    """A batch as DataLoader makes it; but a list of numbers is one vector, not a batch of each."""
    try:
        return default_collate([mapped(_leaf, _with_rectangles(sample, top=False)) for sample in samples])
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        shapes = {tuple(leaf.shape) for sample in samples for leaf in leaves_of(sample) if isinstance(leaf, Tensor)}
        ragged = f", of shapes such as {', '.join(map(str, sorted(shapes)[:3]))}" if len(shapes) > 1 else ""
        raise InvalidInput(
            f"the samples in data cannot be made one batch{ragged}: give collate_fn=, a function that makes a batch of "
            f"a list of samples, such as one that pads them to one length ({str(error).splitlines()[0][:120]})"
        ) from error


def _leaf(leaf: Any) -> Any:
    """A field of a sample; of arrays and lists, floats in the type that PyTorch makes them in."""
    leaf = leaf.array if isinstance(leaf, _Rectangle) else leaf
    if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biuf":
        leaf = torch.from_numpy(np.array(leaf, leaf.dtype.newbyteorder("=")))
        return leaf.to(torch.get_default_dtype()) if leaf.is_floating_point() else leaf
    return leaf


def _kept(items: Items, *, keep_samples: bool) -> Columns | Items:
    """A small dataset as columns, or as a list of samples, after these were seen to be the same at another look.

    Raises:
        InvalidInput: they are not.
    """
    few = torch.unique(torch.linspace(0, len(items) - 1, _ASKED_TWICE).long())
    if keep_samples:
        some, again = ([items.item(number) for number in few.tolist()] for _ in range(2))
        check_same_samples(some, again, f"data, {items.of},")
        return _with_samples_kept(items, few)
    one, other = items.batch(few), items.batch(few)
    check_same_samples(one, other, f"data, {items.of},")
    leaves = leaves_of(one)
    if not all(isinstance(leaf, Tensor) and len(leaf) == len(few) for leaf in leaves):
        return _with_samples_kept(items, few)
    bytes_a_sample = sum(leaf.numel() * leaf.element_size() for leaf in leaves) / len(few)
    return _column_leaves(items.batch(None)) if bytes_a_sample * len(items) <= _KEPT_BYTES else items


def _with_samples_kept(items: Items, few: Tensor) -> Items:
    """The samples as a list, where they are small: asking for one may take long."""
    held = sum(_bytes_of(leaf) for number in few.tolist() for leaf in leaves_of(items.item(number))) / len(few)
    if held * len(items) > _KEPT_BYTES or isinstance(items.items, list):
        return items
    return Items([items.item(number) for number in range(len(items))], items.collate, items.of)


def _bytes_of(leaf: Any) -> int:
    """Of a sample's field, as far as can be told; of what is no tensor, array or number, more than are kept."""
    if isinstance(leaf, Tensor | np.ndarray):
        return int(leaf.nbytes)
    if isinstance(leaf, str | bytes):
        return len(leaf)
    return 32 if leaf is None or isinstance(leaf, Number) else _KEPT_BYTES


def check_same_samples(one: Any, other: Any, of: str) -> None:
    """Two looks at the same samples, or InvalidInput where they differ."""
    pairs = zip(leaves_of(one), leaves_of(other), strict=True)
    if all(_equal(ours, theirs) for ours, theirs in pairs):
        return
    raise InvalidInput(
        f"{of} gives another sample at every look, as random augmentation does, and the loss at w* is not a function "
        "of the weights; keep one look at each, as data = [data[i] for i in range(len(data))], or several"
    )


def _equal(one: Any, other: Any) -> bool:
    """Of fields of samples; those of a class of its own are alike where their attributes are."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool(torch.equal(one.nan_to_num(), other.nan_to_num()))
    if one is other:
        return True
    if type(one) is type(other) and hasattr(one, "__dict__") and not isinstance(one, type):
        ours, theirs = vars(one), vars(other)
        return ours.keys() == theirs.keys() and all(
            _equal(*pair) for name in ours for pair in zip(leaves_of(ours[name]), leaves_of(theirs[name]), strict=False)
        )
    return bool(np.all(one == other))


def _described(given: object) -> str:
    """What somebody gave as data, as far as its type says, and what to do with that."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        kinds = ", ".join(dict.fromkeys(f"0-d {type(one).__name__}" if isinstance(one, Tensor) and not one.ndim
                                        else type(one).__name__ for one in given))  # fmt: skip
        said = f"a {type(given).__name__} of {kinds}" if kinds else f"an empty {type(given).__name__}"
        return said + (" (take .to_numpy() of each)" if any(hasattr(one, "to_numpy") for one in given) else "")
    if isinstance(given, Mapping):
        kinds = ", ".join(f"{name}: {type(one).__name__}" for name, one in list(given.items())[:8])
        said = f"a {type(given).__name__} of {kinds}" if kinds else f"an empty {type(given).__name__}"
        parts = [name for name, one in given.items() if isinstance(one, Dataset) or hasattr(one, "column_names")]
        return said + (f" (take one of them, such as data[{parts[0]!r}])" if parts else "")
    return f"of type {type(given).__name__}"
