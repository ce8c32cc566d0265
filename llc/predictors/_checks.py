"""What every predictor asks of its input."""

import math

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from llc.errors import InvalidInput, shown


def check_inputs(predictor: str, /, *, alike: bool = False, **inputs: tuple[Tensor, str]) -> None:
    """Real tensors whose sizes agree where letters do, or InvalidInput with what was given.

    Sizes alone are looked at, so that it may stand in what is traced, compiled or mapped over.

    Args:
        predictor: its name.
        alike: whether they have to be floating-point numbers of one dtype, outside of `torch.autocast`.
        inputs: a tensor by name, with its shape, a letter a dimension: `xs=(xs, "BKD")`; of two, `"BL|BLC"`. Each is 1
            at least, but for the number of sequences, B.
    """
    strange = [name for name, (given, _) in inputs.items() if not isinstance(given, Tensor) or given.is_complex()]
    if strange:
        given = inputs[strange[0]][0]
        what = given.dtype if isinstance(given, Tensor) else type(given).__name__
        raise InvalidInput(f"{predictor}: {strange[0]} of {what} given, expected a tensor of real numbers")
    dtypes = {given.dtype for given, _ in inputs.values()}
    if alike and not (len(dtypes) == 1 and next(iter(dtypes)).is_floating_point) and not torch.is_autocast_enabled():
        kinds = _listed([f"{name} of {given.dtype}" for name, (given, _) in inputs.items()])
        raise InvalidInput(f"{predictor}: {kinds} given, expected floating-point numbers of one dtype")
    sizes: dict[str, int] = {}
    if not all(_fits(given, shape, sizes) for given, shape in inputs.values()):
        shapes = _listed([f"{name} {tuple(given.shape)}" for name, (given, _) in inputs.items()])
        expected = _listed([" or ".join(map(_said, shape.split("|"))) for _, shape in inputs.values()])
        raise InvalidInput(f"{predictor}: {shapes} given, expected {expected}")


def _fits(given: Tensor, shape: str, sizes: dict[str, int]) -> bool:
    """Whether a tensor has the shape, with the sizes that letters have already; takes down those of the others."""
    letters = next((letters for letters in shape.split("|") if len(letters) == given.ndim), None)
    return letters is not None and all(
        sizes.setdefault(letter, size) == size and (size > 0 or letter == "B")
        for letter, size in zip(letters, given.shape, strict=True)
    )


def _said(letters: str) -> str:
    return f"({letters},)" if len(letters) == 1 else f"({', '.join(letters)})"


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def check_sequences(predictor: str, xs: Tensor, ys: Tensor) -> None:
    """xs (B, K, D) and ys (B, K), or InvalidInput with the shapes that were given."""
    check_inputs(predictor, xs=(xs, "BKD"), ys=(ys, "BK"))


def check_finite(predictor: str, **inputs: Tensor) -> None:
    """Numbers that are finite, or InvalidInput: for what would end in an error of a matrix's decomposition."""
    for name, given in inputs.items():
        if not torch.isfinite(given).all():
            raise InvalidInput(f"{predictor}: {name} with numbers that are not finite given, expected finite ones")


def check_positive(predictor: str, **numbers: float | Tensor) -> None:
    """Finite numbers > 0, or InvalidInput. Tensors of them are not looked into."""
    for name, value in numbers.items():
        if not isinstance(value, Tensor) and not (0 < value < math.inf and _is_held(value)):
            raise InvalidInput(f"{predictor}: {name} = {shown(value)} given, expected a finite number > 0")


def check_number(predictor: str, **numbers: float) -> None:
    """Finite numbers, or InvalidInput."""
    for name, value in numbers.items():
        if not (-math.inf < value < math.inf and _is_held(value)):
            raise InvalidInput(f"{predictor}: {name} = {shown(value)} given, expected a finite number")


def _is_held(value: float) -> bool:
    """Whether a tensor's operations take it: whole numbers of Python's have no end."""
    return not isinstance(value, int) or abs(value) < 2**63


def check_noise_variance(predictor: str, noise_variance: float) -> None:
    """A finite σ² > 0, or InvalidInput."""
    check_positive(predictor, noise_variance=noise_variance)


def solved(predictor: str, matrix: Tensor, right: Tensor) -> Tensor:
    """A⁻¹b, (…, D) from (…, D, D) and (…, D), or InvalidInput where what makes A regular is lost in rounding."""
    try:
        return torch.linalg.solve(matrix, right[..., None]).squeeze(-1)
    except LinAlgError:
        raise InvalidInput(
            f"{predictor}: what is added to squares of the inputs is so little that rounding loses it; give more, or "
            "smaller inputs"
        ) from None


def float_dtype(xs: Tensor, ys: Tensor) -> torch.dtype:
    """The dtype of predictions: that of ys; where ys are whole numbers, which predictions are not, that of xs."""
    for given in (ys, xs):
        if given.is_floating_point():
            return given.dtype
    return torch.get_default_dtype()
