"""Figures: from a labelled dataset to a matplotlib figure, each readable on its own."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from llc import store
from llc.errors import InvalidInput, StoreError, did_you_mean
from llc.plots.behaviour import delta_plane, losses, losses_by_diversity, shifted_losses
from llc.plots.complexity import llc_by_diversity, llc_over_training, loss_llc_plane, stages, tradeoff
from llc.plots.style import diversity_colours
from llc.plots.trajectories import essential, trajectories
from llc.plots.validation import calibration_scale, calibration_traces, validation

FIGURES: dict[str, tuple[tuple[str, ...], Callable[..., Figure]]] = {
    "losses": (("metrics",), losses),
    "losses_by_diversity": (("metrics",), losses_by_diversity),
    "delta_plane": (("metrics",), delta_plane),
    "llc": (("llc",), llc_over_training),
    "llc_by_diversity": (("llc",), llc_by_diversity),
    "llc_at_critical": (("llc", "tradeoff"), llc_by_diversity),
    "loss_llc_plane": (("llc",), loss_llc_plane),
    "pca": (("pca",), trajectories),
    "stages": (("llc", "stages"), stages),
    "tradeoff": (("tradeoff",), tradeoff),
    "essential": (("essential",), essential),
    "behaviour": (("behaviour",), shifted_losses),
}
"""Every figure of `llc plot`, with the datasets of an experiment that it is drawn from."""

__all__ = [
    "FIGURES",
    "calibration_scale",
    "calibration_traces",
    "delta_plane",
    "diversity_colours",
    "essential",
    "llc_by_diversity",
    "llc_over_training",
    "loss_llc_plane",
    "losses",
    "losses_by_diversity",
    "save_figure",
    "save_figures",
    "shifted_losses",
    "stages",
    "tradeoff",
    "trajectories",
    "validation",
]


def save_figures(experiment: store.Experiment, names: list[str] | None = None) -> tuple[list[Path], dict[str, str]]:
    """Draw the figures whose data is there into `figures/`.

    Returns:
        The files written, and for each figure that could not be drawn, why.
    Raises:
        InvalidInput: there is no figure of that name.
    """
    written, missing = [], {}
    for name in names or []:
        if name not in FIGURES:
            raise InvalidInput(f"unknown figure {name}; {did_you_mean(name, FIGURES)}")
    for name in names or list(FIGURES):
        sources, draw = FIGURES[name]
        try:
            outdated = [why for why in map(experiment.outdated, sources) if why]
            if outdated:
                missing[name] = "; ".join(outdated)
                continue
            figure = draw(*(getattr(experiment, source) for source in sources))
        except StoreError as error:
            missing[name] = str(error)
            continue
        written.append(save_figure(figure, experiment.path / "figures" / f"{name}.png"))
    return written, missing


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically; returns where."""
    with store.atomic_path(path) as scratch:
        figure.savefig(scratch, dpi=150, format="png")
    return path
