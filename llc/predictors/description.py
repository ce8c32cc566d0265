"""How long a reference is, written down: what a prior that likes short programs would charge for it."""

import functools
import inspect
import lzma
from typing import Any

from torch import Tensor

from llc.errors import InvalidInput
from llc.predictors.predictor import Predictor


def description_bits(predictor: Predictor) -> int:
    """Bits of a predictor's source code and of the numbers that it holds, each compressed by LZMA.

    So ridge costs its code, and dMMSE_M its code and M task vectors of D single-precision numbers. What the code calls
    is not counted, of neither. Compressors differ by a constant; the growth with M does not depend on it.

    Args:
        predictor: a function, or one with arguments filled in (`functools.partial`).
    Raises:
        InvalidInput: its source cannot be read.
    Source: Wurgaft et al. (2025), arXiv 2506.17859, who measure a strategy's complexity so.
    """
    numbers: list[bytes] = []
    while True:
        if isinstance(predictor, functools.partial):
            for value in (*predictor.args, *predictor.keywords.values()):
                numbers += _numbers(value)
            predictor = predictor.func
        elif hasattr(predictor, "__wrapped__"):
            predictor = predictor.__wrapped__
        else:
            break
    numbers += [number for value in getattr(predictor, "__dict__", {}).values() for number in _numbers(value)]
    try:
        source = inspect.getsource(predictor if inspect.isroutine(predictor) else type(predictor))
    except (OSError, TypeError) as error:
        raise InvalidInput(f"the source of {predictor!r} cannot be read ({error}); its length is not known") from None
    return 8 * (_compressed(source.encode()) + sum(map(_compressed, numbers)))


def _numbers(value: Any) -> list[bytes]:
    if isinstance(value, Tensor):
        return [value.detach().cpu().contiguous().numpy().tobytes()]
    return [repr(value).encode()] if isinstance(value, float | int) and not isinstance(value, bool) else []


def _compressed(data: bytes) -> int:
    """Bytes of the data alone: without the container's header and checks."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))
