"""What a DataLoader loads: its dataset, and how it makes batches."""

from collections.abc import Callable
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    default_collate,
)
from torch.utils.data.distributed import DistributedSampler

from llc.errors import InvalidInput


def of_loader(loader: DataLoader, collate_fn: Callable | None) -> tuple[Any, Callable | None]:
    """A loader's dataset and how it makes batches.

    Raises:
        InvalidInput: it makes none, or it does not draw all samples alike.
    """
    if isinstance(loader.dataset, IterableDataset):
        raise InvalidInput("data is a DataLoader of an IterableDataset, which has no samples to come back to; collect "
                           "as many as are wanted into a list")  # fmt: skip
    if loader.batch_size is None and loader.batch_sampler is None:
        raise InvalidInput("data is a DataLoader with batch_size=None, whose samples cannot be told from its batches; "
                           "give its dataset, or one tensor of all samples")  # fmt: skip
    batches = loader.batch_sampler
    sampler = loader.sampler if batches is None else getattr(batches, "sampler", batches)
    given = None if loader.collate_fn is default_collate else loader.collate_fn
    if isinstance(sampler, SubsetRandomSampler):
        return Subset(loader.dataset, list(sampler.indices)), collate_fn or given
    of_all = isinstance(sampler, SequentialSampler | RandomSampler | DistributedSampler) and type(batches) in {
        BatchSampler,
        type(None),
    }
    source = getattr(sampler, "dataset" if isinstance(sampler, DistributedSampler) else "data_source", None)
    if not of_all or (source is not loader.dataset and len(source) != len(loader.dataset)):  # type: ignore[arg-type]
        what = type(sampler if of_all or type(batches) is BatchSampler else batches).__name__
        part = f" of {len(source)} of its {len(loader.dataset)} samples" if of_all else ""  # type: ignore[arg-type]
        raise InvalidInput(
            f"data is a DataLoader with a {what}{part}, which does not draw every sample alike, as an "
            "estimate does; give torch.utils.data.Subset(dataset, indices), or the dataset and sample_weights="
        )
    return loader.dataset, collate_fn or given
