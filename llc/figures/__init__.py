"""Figures: from labelled datasets to what is shown, and from that to a picture on paper or in a browser."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llc import store
from llc.errors import InvalidInput, StoreError, did_you_mean, shown, shown_name
from llc.extras import needed_by

with needed_by("llc.figures"):
    from matplotlib.figure import Figure

    from llc.figures import static
from llc.figures.behaviour import losses, losses_by_axis, losses_by_position, reference_plane, shifts
from llc.figures.comparison import compared, learned
from llc.figures.complexity import llc_by_axis, llc_over_training, loss_llc_plane, stages, tradeoff
from llc.figures.curves import error_curves
from llc.figures.kernels import kernel
from llc.figures.responses import responses, susceptibilities
from llc.figures.spec import Spec
from llc.figures.static import draw
from llc.figures.strategies import strategies
from llc.figures.trajectories import essential, readouts, trajectories
from llc.figures.validation import calibration_scale, calibration_traces, validation

# What suffixes of pictures say.
_KINDS_OF_FILES = ("png", "pdf", "svg")


class Drawn(NamedTuple):
    """A figure of an experiment.

    Attributes:
        section: of the report.
        needs: results that it is drawn from.
        make: what it shows of them; None where they hold nothing of the kind.
    """

    section: str
    needs: tuple[str, ...]
    make: Callable[..., Spec | None]


# A line a figure.
FIGURES: dict[str, Drawn] = {
    "losses": Drawn("Behaviour", ("metrics",), losses),
    "losses_by_axis": Drawn("Behaviour", ("metrics",), losses_by_axis),
    "losses_by_position": Drawn("Behaviour", ("metrics",), losses_by_position),
    "reference_plane": Drawn("Behaviour", ("metrics",), reference_plane),
    "llc": Drawn("Complexity", ("llc",), llc_over_training),
    "llc_by_axis": Drawn("Complexity", ("llc",), llc_by_axis),
    "llc_at_critical": Drawn("Complexity", ("llc", "tradeoff"), llc_by_axis),
    "loss_llc_plane": Drawn("Complexity", ("llc",), loss_llc_plane),
    "pca": Drawn("Trajectories", ("pca",), trajectories),
    "essential": Drawn("Trajectories", ("essential",), essential),
    "stages": Drawn("Stages", ("llc", "stages"), stages),
    "tradeoff": Drawn("Tradeoff", ("tradeoff",), tradeoff),
    "strategies": Drawn("Tradeoff", ("strategies",), strategies),
    "compare": Drawn("Against references", ("compare",), compared),
    "learned": Drawn("Against references", ("compare",), learned),
    "error_curves": Drawn("Against references", ("compare",), error_curves),
    "behaviour": Drawn("Further read-outs", ("behaviour",), shifts),
    "readouts": Drawn("Further read-outs", ("readouts",), readouts),
}

__all__ = [
    "FIGURES",
    "Drawn",
    "Spec",
    "calibration_scale",
    "calibration_traces",
    "compared",
    "draw",
    "error_curves",
    "essential",
    "kernel",
    "learned",
    "llc_by_axis",
    "llc_over_training",
    "losses",
    "losses_by_axis",
    "losses_by_position",
    "reference_plane",
    "responses",
    "save_figure",
    "save_figures",
    "shifts",
    "spec_of",
    "stages",
    "strategies",
    "susceptibilities",
    "tradeoff",
    "trajectories",
    "validation",
]


@store.takes_experiment
def spec_of(experiment: store.Experiment, name: str) -> Spec | None:
    """What a figure shows of an experiment; None where its results hold nothing of the kind.

    Args:
        experiment: from `llc.open` or `llc.train`.
        name: a key of `FIGURES`.
    Raises:
        InvalidInput: there is no figure of that name.
        StoreError: a result that it needs is not there, or older than what that was made from.
    """
    if name not in list(FIGURES):
        raise InvalidInput(f"unknown figure {shown_name(name)}; {did_you_mean(name, FIGURES)}")
    found = FIGURES[name]
    for source in found.needs:
        outdated = experiment.outdated(source)
        if outdated:
            raise StoreError(outdated)
    return found.make(*(experiment.result(source) for source in found.needs))


@store.takes_experiment
def save_figures(
    experiment: store.Experiment, names: str | Sequence[str] | None = None
) -> tuple[list[Path], dict[str, str]]:
    """Draw the figures whose data is there into `figures/`.

    Args:
        experiment: from `llc.open` or `llc.train`.
        names: one or more keys of `FIGURES`; None for all whose results are there.
    Returns:
        The files written, and for each figure that could not be drawn, why.
    Raises:
        InvalidInput: there is no figure of that name.
    """
    written: list[Path] = []
    missing: dict[str, str] = {}
    if isinstance(names, str):
        names = [names]
    if names is not None and not isinstance(names, Iterable):
        raise InvalidInput(f"{shown(names)} given, expected names of figures, of {', '.join(FIGURES)}")
    for name in names or []:
        if name not in list(FIGURES):
            raise InvalidInput(f"unknown figure {shown_name(name)}; {did_you_mean(name, FIGURES)}")
    known, folder = set(experiment.results), store.own_folder(experiment.path / "figures")
    for name in names or [name for name, drawn in FIGURES.items() if known.issuperset(drawn.needs)]:
        try:
            spec = spec_of(experiment, name)
        except StoreError as error:
            missing[name] = str(error)
            continue
        if spec is None:
            missing[name] = _nothing_in(FIGURES[name].needs)
            continue
        written.append(save_figure(static.draw(spec), folder / f"{name}.png"))
    return written, missing


def _nothing_in(results: tuple[str, ...]) -> str:
    return f"{' and '.join(results)} hold{'s' if len(results) == 1 else ''} nothing of the kind"


def save_figure(figure: Figure | Any, path: str | Path) -> Path:
    """Write a figure, atomically; returns where.

    Args:
        figure: of `draw`, or any of matplotlib's.
        path: whose suffix says in which form, `.png`, `.pdf` or `.svg`; without one PNG.
    Raises:
        InvalidInput: no figure, or another suffix.
        StoreError: the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".") or "png"
    if kind not in _KINDS_OF_FILES:
        raise InvalidInput(f"{path} given, expected a name that ends in {', '.join(_KINDS_OF_FILES)}")
    if not hasattr(figure, "savefig"):
        raise InvalidInput(f"a {type(figure).__name__} given, expected a figure, from llc.figures.draw")
    with store.atomic_path(path) as scratch:
        figure.savefig(scratch, dpi=150, format=kind)
    return path
