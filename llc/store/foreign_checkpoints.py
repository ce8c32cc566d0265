"""Checkpoints that other programs wrote: which step each is of, and the weights in it."""

import json
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from llc.errors import InvalidInput, StoreError
from llc.store.atomic import check_readable

SUFFIXES = (".safetensors", ".ckpt", ".bin", ".pth", ".pt", ".pth.tar", ".pt.tar", ".tar")
# The weights in a folder that is one checkpoint, and lists of the files that they are spread over.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.safetensors", "model.pt", "model.pth", "model.bin")
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# Where training scripts put the weights in a checkpoint that holds more.
_NESTED = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params")
# Of NumPy, beside the weights: losses and steps that somebody kept.
_NUMBERS: list[Any] = [np.dtype, np.ndarray, np._core.multiarray.scalar, np._core.multiarray._reconstruct,
                       *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "b1"))]  # fmt: skip
# What lies beside weights and is none.
_BESIDE = re.compile(r"(?:^|[._-])(?:optim|sched|rng_state|training_args|scaler|zero_pp_rank)", re.IGNORECASE)
# What stands before a number that is a step; where several do, the first of these is meant.
_WORDS = ("steps?", "iter(?:ation)?s?", "it", "checkpoint|ckpt|chkpt", "epochs?|ep")
_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
# No part of another number, 0.43 or 3e-4, and no 10k.
_ALONE = rf"(?<![\d.])(?<![=_-]-)(?:{_NUMBER})(?![\dA-Za-z])"
# 1,000 or 1_000, which may be one number or two.
_GROUPED = re.compile(
    rf"(?<![\d.,])(\d{{1,3}}(?:,\d{{3}})+)(?!\d)|(?:{'|'.join(_WORDS)})[=_\-. ]?(\d{{1,3}}(?:_\d{{3}})+)(?![\d_])",
    re.IGNORECASE,
)
# A file of several that hold the weights of one model.
_SHARD = re.compile(r"\d+-of-\d+")


def checkpoints_in(folder: Path) -> tuple[dict[int, Path], list[Path]]:
    """The checkpoints of a folder by step, ascending, and the weights whose name has no step.

    A step is the number after `step`, `iter`, `checkpoint` or `epoch`, in this order, or the only whole number in a
    name (`1e+03` is one, `0.43` is none), or the only one of several that differs from name to name. A folder in it
    that holds weights, alone or in shards, is a checkpoint too.

    Args:
        folder: of files, or of a folder for each checkpoint.
    Raises:
        InvalidInput: no folder, none in it, two of one step, or a name of which the step cannot be told.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder; expected one with a checkpoint for each step")
    places = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and _holds_weights(path)]
    shard = next((path.name for path in places if path.is_file() and _SHARD.search(path.name)), None)
    if shard or _is_one(folder, places):
        raise InvalidInput(
            f"{folder} is one checkpoint, with {shard or 'its weights'} in it; give the folder that it lies in, where "
            "each has its step in its name, such as checkpoint-1000"
        )
    if not places and (seen := [path.name for path in sorted(folder.iterdir()) if path.is_dir()]):
        raise InvalidInput(f"{folder} has no checkpoints: of its folders, such as {seen[0]}, none holds one file of "
                           f"weights such as {', '.join(_WEIGHTS[:2])}")  # fmt: skip
    steps = _steps([_stem(path) for path in places], folder)
    found: dict[int, Path] = {}
    for path, step in zip(places, steps, strict=True):
        if step is None:
            continue
        if step in found:
            raise InvalidInput(f"{found[step]} and {path} are both of step {step}; move one of them away")
        found[step] = path
    if not found:
        why = f": no step can be told from the name {places[0].name}" if places else ""
        raise InvalidInput(f"{folder} has no checkpoints{why}; expected files such as step_1000.pt, of "
                           f"{', '.join(SUFFIXES)}, or folders such as checkpoint-1000")  # fmt: skip
    without = [path for path, step in zip(places, steps, strict=True) if step is None]
    return dict(sorted(found.items())), without


def without_steps(without: Sequence[Path]) -> str:
    """What to say of weights whose name has no step.

    Args:
        without: as `checkpoints_in` gives them; at most four are named.
    """
    names = ", ".join(path.name for path in without[:4]) + (", …" if len(without) > 4 else "")
    return f"passed over, for their names hold no step: {names}"


def _is_one(folder: Path, places: list[Path]) -> bool:
    """Whether a folder holds the weights of one model under the names that these have, and nothing by steps."""
    named = [name for name in (*_INDICES, *_WEIGHTS) if (folder / name).is_file()]
    return bool(named) and all(path.name in named for path in places)


def _steps(stems: list[str], folder: Path) -> list[int | None]:
    """The step that each name says."""
    found: list[int | None] = []
    unclear: dict[int, list[int]] = {}
    for stem in stems:
        if grouped := _GROUPED.search(stem):
            first, *rest = re.split("[,_]", grouped[1] or grouped[2])
            raise InvalidInput(
                f"{folder / stem}… may be of step {int(first + ''.join(rest))} or {int(first)}; rename it"
            )
    said = [_after_a_word(stem, folder) for stem in stems]
    for stem, named in zip(stems, said, strict=True):
        whole = [number for text in re.findall(_ALONE, stem) if (number := _whole(text)) is not None]
        if named is None and len(whole) > 1:
            unclear[len(found)] = whole
        found.append(named if named is not None else whole[0] if len(whole) == 1 else None)
    counts = {len(whole) for whole in unclear.values()}
    differing = [place for place in range(min(counts, default=0))
                 if len({whole[place] for whole in unclear.values()}) > 1]  # fmt: skip
    if differing and differing[0] > 0:  # the only number of a shorter name is one that is the same in all
        for number in {number for number, named in enumerate(said) if named is None} - unclear.keys():
            found[number] = None
    for number, whole in unclear.items():
        if len(counts) > 1 or len(differing) != 1:
            raise InvalidInput(
                f"{folder / stems[number]}… may be of step {' or '.join(map(str, whole))}; write step= before the "
                "step, as in step=1000-loss=0.4.pt"
            )
        found[number] = whole[differing[0]]
    return found


def _after_a_word(stem: str, folder: Path) -> int | None:
    for word in _WORDS:
        texts = re.findall(
            rf"(?<![a-z])(?:global[_-]?)?(?:{word})[=_\-. ]?({_NUMBER})(?![\dA-Za-z])", stem, re.IGNORECASE
        )
        numbers = {number for text in texts if (number := _whole(text)) is not None}
        if len(numbers) > 1:
            raise InvalidInput(f"{folder / stem}… may be of step {' or '.join(map(str, sorted(numbers)))}; rename it")
        if numbers:
            return numbers.pop()
    return None


def _whole(text: str) -> int | None:
    """1000 of `1000` and `1e+03`; None for what is written with a point and no exponent, or is no whole number."""
    if text.isdecimal():
        return int(text)
    value = float(text)
    return int(value) if "e" in text.lower() and value.is_integer() else None


def _stem(path: Path) -> str:
    if path.is_dir():
        return path.name
    return path.name[: -len(next(suffix for suffix in sorted(SUFFIXES, key=len)[::-1] if path.name.endswith(suffix)))]


def _holds_weights(path: Path) -> bool:
    if _BESIDE.search(path.name):
        return False
    return _inside(path) is not None if path.is_dir() else path.name.endswith(SUFFIXES)


def _inside(folder: Path) -> Path | None:
    """The file of a checkpoint that is a folder: its list of shards, its weights, or the only one of a known suffix."""
    for name in (*_INDICES, *_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name.endswith(SUFFIXES)]
    files = [path for path in files if not _BESIDE.search(path.name)]
    return files[0] if len(files) == 1 else None


def read_foreign(path: Path) -> dict[str, Tensor]:
    """The `state_dict` in a checkpoint, alone or under one of the names that training scripts give it.

    Args:
        path: a file, the index of shards, or a folder with one of these.
    Raises:
        StoreError: a file that cannot be read, or that holds what could run code.
        InvalidInput: what is in it is no `state_dict`, or there are several.
    """
    file = _inside(path) if path.is_dir() else path
    if file is None:
        raise StoreError(f"{path} holds no weights, or several files of them, such as {', '.join(_WEIGHTS[:2])}")
    check_readable(file)
    if file.name.endswith(".json"):
        return _from_shards(file)
    return state_in(_loaded(file), str(path))


def state_in(found: Any, of: str) -> dict[str, Tensor]:
    """The `state_dict` in what a checkpoint holds, alone or under one of the usual names.

    Args:
        found: what was loaded.
        of: where it comes from, for errors.
    Raises:
        InvalidInput: there is none, or there are several.
    """
    for _ in range(4):
        if not isinstance(found, Mapping) or _is_state(found):
            break
        inside = [name for name in _NESTED if _leads_to_state(found.get(name))]
        if len(inside) > 1 and not all(found[name] is found[inside[0]] for name in inside):
            raise InvalidInput(f"{of} holds weights under {' and '.join(inside)}; save the one that is meant alone")
        if not inside:
            break
        found = found[inside[0]]
    if not _is_state(found):
        keys = f" with {', '.join(map(str, list(found)[:4]))}" if isinstance(found, Mapping) else ""
        raise InvalidInput(f"{of} holds a {type(found).__name__}{keys}, expected a state_dict")
    return {name: torch.tensor(value) if _is_numbers(value) else value for name, value in found.items()}


def _is_state(found: Any) -> bool:
    if not isinstance(found, Mapping) or not found:
        return False
    return all(isinstance(value, Tensor) or _is_numbers(value) for value in found.values())


def _is_numbers(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def _leads_to_state(found: Any) -> bool:
    """Whether a dict is a state, or holds one under one of the usual names."""
    if _is_state(found):
        return True
    return isinstance(found, Mapping) and any(_leads_to_state(found.get(name)) for name in _NESTED)


def _from_shards(index: Path) -> dict[str, Tensor]:
    try:
        names: Iterable[str] = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise StoreError(f"{index} is no list of shards ({type(error).__name__}: {error})") from None
    if not names:
        raise StoreError(f"{index} lists no shards, and so no weights")
    weights: dict[str, Tensor] = {}
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise StoreError(f"{index} names the shard {name}, which is not beside it")
        weights |= read_foreign(index.parent / name)
    return weights


def _loaded(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_NUMBERS), warnings.catch_warnings():
            # Of what others pickled PyTorch asks for a report; what can be read of it is said here.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, EOFError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({_why(path, error)})") from None
    except Exception as error:  # pickle's own, for files that hold more than tensors
        named = re.search(r"(?:GLOBAL|class)\s+'?([\w.]+)", str(error))
        if named is None:
            raise StoreError(f"{path} cannot be read ({_why(path, error)})") from None
        raise StoreError(
            f"{path} holds a {named[1]} beside tensors, which is not read, for that could run code; where you trust "
            "it, load it with torch.load(path, weights_only=False) and save its state_dict alone"
        ) from None


# How a file begins that was saved by something else, and what that is.
_BEGINNINGS = {
    b"": "it is empty",
    b"version https://git-lfs": "it is a pointer of Git LFS, not the weights; run git lfs pull",
    b"\x1f\x8b": "it is compressed by gzip; unpack it",
    b"BZh": "it is compressed by bzip2; unpack it",
    b"\xfd7zXZ": "it is compressed by xz; unpack it",
    b"\x93NUMPY": "it is an array of NumPy",
    b"\x89HDF": "it is of HDF5, as Keras writes it",
}


def _why(path: Path, error: Exception) -> str:
    """What is the matter with a file, where that can be told."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    with suppress(OSError):
        with path.open("rb") as file:
            begins = file.read(32)
        for beginning, said in _BEGINNINGS.items():
            if begins.startswith(beginning) if beginning else not begins:
                return said
    with suppress(OSError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError):
        if zipfile.is_zipfile(path) and any("/code/" in name for name in zipfile.ZipFile(path).namelist()):
            return "it is a TorchScript archive; save torch.jit.load(path).state_dict()"
    if path.suffix == ".safetensors":
        return f"it is damaged, or no file of safetensors: {_first_line(error)}"
    return f"it is damaged, or no file of torch.save: {type(error).__name__}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
