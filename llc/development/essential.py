"""Essential dynamics: the geometry of a trajectory in the plane of two components.

Hoogland et al. (2024), arXiv 2402.02364.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from scipy.signal import find_peaks

from llc.errors import InvalidInput, shown

# Of log(1 + step): the standard deviation of the kernel, by default.
DEFAULT_WIDTH = 0.25
# A curvature has an extremum, or a speed a minimum, where it stands out by this factor from what lies around it.
_STANDS_OUT = 1.25
LEAST_POINTS = 6


@dataclass(frozen=True)
class Geometry:
    """A smoothed plane curve z(u) over u = log(1 + step), at every step it was given.

    Attributes:
        position, velocity: z and dz/du, (T, 2).
        curvature: κ, signed, (T,).
        center: of the osculating circle, the evolute's points, (T, 2).
        forms: what stands out.
    """

    position: np.ndarray
    velocity: np.ndarray
    curvature: np.ndarray
    center: np.ndarray
    forms: list["Form"]


@dataclass(frozen=True)
class Form:
    """A place where the curve does something: a vertex, where the evolute has a cusp, or a cusp of the curve itself.

    Attributes:
        place: index of the step.
        kind: `vertex`, where |κ| is largest around there, or `cusp`, where the speed is smallest as the curve turns.
    """

    place: int
    kind: str


def geometry(steps: np.ndarray, points: np.ndarray, *, width: float = DEFAULT_WIDTH) -> Geometry:
    """Position, velocity, curvature and osculating circles of a trajectory.

        κ = (x'y'' − y'x'')/(x'² + y'²)^{3/2},   centre of the osculating circle = z + n/κ,   n = (−y', x')/|z'|

    z and its derivatives are those of quadratics fitted to the points around each step, weighted by a Gaussian kernel
    in log(1 + step): of constant width there, it widens over training. Unlike an average it does not shrink bends to
    first order, and it has no bias at the ends.

    Args:
        steps: increasing, (T,).
        points: (T, 2).
        width: the kernel's standard deviation in log(1 + step); wherever fewer than five steps are that near, it
            reaches to the fifth.
    Raises:
        InvalidInput: fewer than six points, numbers that are not finite, steps that do not increase, or a width that
            is not positive.
    """
    try:
        steps, points = np.asarray(steps, float), np.asarray(points, float)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"steps and points have to be numbers ({error})") from None
    if steps.ndim != 1 or len(steps) < LEAST_POINTS or points.shape != (len(steps), 2):
        raise InvalidInput(
            f"steps of shape {steps.shape} with points of shape {points.shape} given, expected (T,) and (T, 2) with T "
            f"at least {LEAST_POINTS}"
        )
    width = check_width(width)
    if not (np.isfinite(steps).all() and np.isfinite(points).all() and steps[0] >= 0 and (np.diff(steps) > 0).all()):
        raise InvalidInput("steps have to increase from 0 or more, and points to be finite; leave the others out")
    places = np.log1p(steps)
    position, velocity, acceleration = _local_quadratics(places, points, width)
    speed = np.linalg.norm(velocity, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = velocity[:, 0] * acceleration[:, 1] - velocity[:, 1] * acceleration[:, 0]
        curvature = cross / speed**3
        normal = np.column_stack([-velocity[:, 1], velocity[:, 0]]) / speed[:, None]
        center = position + normal / curvature[:, None]
    return Geometry(position, velocity, curvature, center, _forms(curvature, velocity, speed))


def check_width(width: Any) -> float:
    """The width of a kernel, or InvalidInput."""
    if not isinstance(width, Real) or not float(width) > 0:
        raise InvalidInput(f"width = {shown(width)} given, expected a number > 0")
    return float(width)


def _local_quadratics(
    places: np.ndarray, points: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    value, first, second = np.empty((3, len(places), points.shape[1]))
    for number, place in enumerate(places):
        away = places - place
        reach = max(width, np.sort(np.abs(away))[4] / 1.5)
        weights = np.sqrt(np.exp(-0.5 * (away / reach) ** 2))
        design = np.column_stack([np.ones_like(away), away / reach, 0.5 * (away / reach) ** 2])
        found, *_ = np.linalg.lstsq(design * weights[:, None], points * weights[:, None], rcond=None)
        value[number], first[number], second[number] = found[0], found[1] / reach, found[2] / reach**2
    return value, first, second


def _forms(curvature: np.ndarray, velocity: np.ndarray, speed: np.ndarray) -> list[Form]:
    """Peaks of log |κ|, and minima of the speed where the direction turns by more than a right angle."""
    with np.errstate(divide="ignore"):
        sharpness, slowness = np.log(np.abs(curvature)), -np.log(speed)
    heights = {"vertex": np.nan_to_num(sharpness, neginf=-50), "cusp": np.nan_to_num(slowness, posinf=50)}
    forms = []
    for kind, height in heights.items():
        for peak in find_peaks(height, prominence=np.log(_STANDS_OUT))[0]:
            before, after = velocity[max(0, peak - 2)], velocity[min(len(velocity) - 1, peak + 2)]
            if kind == "vertex" or float(before @ after) < 0:
                forms.append(Form(int(peak), kind))
    return sorted(forms, key=lambda form: (form.place, form.kind))
