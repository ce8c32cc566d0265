"""The report: one page that needs nothing else, made of what an experiment's folder holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llc import extras, store
from llc.errors import StoreError
from llc.parallel import Progress, quiet
from llc.version import library_version

if TYPE_CHECKING:
    import xarray as xr

    from llc.tasks import Task

__all__ = ["write_report"]


@dataclass
class _Section:
    name: str
    pictures: list[Any] = field(default_factory=list)
    tables: list[Any] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        return self.name.lower().replace(" ", "-")


@store.takes_experiment
def write_report(experiment: store.Experiment, path: str | Path | None = None, *, progress: Progress = quiet) -> Path:
    """Write `report.html`: the study's question, a summary, figures to zoom into, tables that sort, settings, commands.

    What has not been computed, or is damaged, is left out and named, with the command that makes it. The page holds all
    it needs, data and plotting library included (about 5 MB), and opens without a network.

    Args:
        experiment: from `llc.open` or `llc.train`.
        path: where to; None for `report.html` in the experiment's folder.
        progress: told (unit, done, total, note).
    Returns:
        Where it was written.
    Raises:
        StoreError: nothing is trained yet, or the place cannot be written.
    """
    extras.require("a report", "report")

    import jinja2
    from plotly.offline import get_plotlyjs

    from llc.figures import interactive
    from llc.report import words
    from llc.report.commands import commands

    if not experiment.has_metrics:
        raise StoreError(
            f"{experiment.path} has no metrics yet; train it first with: llc train --out {experiment.path}"
        )
    path = experiment.path / "report.html" if path is None else Path(path)
    store.check_regular(path)  # before the work, not after it
    progress("report", 0, 2, "pictures")
    there, results, missing = _read(experiment)
    sections = _sections(experiment, results)
    pictures = [picture for section in sections for picture in section.pictures]
    progress("report", 1, 2, f"{len(pictures)} pictures")
    figures = {picture.name: json.loads(interactive.draw(picture).to_json()) for picture in pictures}
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(resources.files("llc.report").joinpath("page.html").read_text("utf-8")).render(
        title=f"Development of {experiment.path.resolve().name}: loss, complexity and trajectories",
        question=words.question(experiment),
        contents=[
            ("summary", "Summary"),
            *((section.anchor, section.name) for section in sections),
            ("settings", "Settings"),
            ("again", "Make it again"),
        ],
        summary=words.summary(experiment, results),
        sections=sections,
        settings=_settings(experiment, there),
        commands=commands(experiment, there),
        missing=missing,
        made=_origin(experiment, results["metrics"]),
        plotly=jinja2.utils.markupsafe.Markup(get_plotlyjs()),
        # Nothing in a string may look like an end of the script.
        figures=jinja2.utils.markupsafe.Markup(json.dumps(figures, allow_nan=False).replace("<", "\\u003c")),
    )
    store.write_text(path, page)
    progress("report", 2, 2, "")
    return path


def _read(experiment: store.Experiment) -> tuple[dict[str, xr.Dataset], dict[str, xr.Dataset | None], list[str]]:
    """The results that are there and whole, those of all names that are of use, and why others are left out."""
    there: dict[str, xr.Dataset] = {}
    results: dict[str, xr.Dataset | None] = dict.fromkeys(store.RESULTS)
    _, refused = experiment.described
    missing = [f"what the task says of itself: {refused}"] if refused else []
    for name in experiment.results:
        try:
            there[name] = experiment.result(name)
        except StoreError as error:
            missing.append(str(error))
            continue
        try:
            outdated = experiment.outdated(name)
        except StoreError as error:
            outdated = f"{name}.nc is left out with what it was made from: {error}"
        missing += [why for why in (outdated, experiment.incomplete(name)) if why]
        results[name] = None if outdated else there[name]
    stages = results["stages"]
    if stages is not None:
        missing += [f"stages of {reason}" for reason in stages.left_out.values.ravel() if reason]
    return there, results, missing


def _sections(experiment: store.Experiment, results: Mapping[str, xr.Dataset | None]) -> list[_Section]:
    """Those that have pictures or tables."""
    from llc.figures import FIGURES, spec_of
    from llc.report import tables

    sections: dict[str, _Section] = {}
    for name, figure in FIGURES.items():
        section = sections.setdefault(figure.section, _Section(figure.section))
        if any(results[source] is None for source in figure.needs) or (
            name in _SAID_BY_ANOTHER
            and all(results[source] is not None for source in FIGURES[_SAID_BY_ANOTHER[name]].needs)
        ):
            continue
        spec = spec_of(experiment, name)
        section.pictures += [] if spec is None else [spec]
    for place, table in tables.every(experiment, results):
        sections.setdefault(place, _Section(place)).tables.append(table)
    return [section for section in sections.values() if section.pictures or section.tables]


# A figure that is left out where another says all that it does.
_SAID_BY_ANOTHER = {"llc_by_axis": "llc_at_critical"}


def _settings(experiment: store.Experiment, there: Mapping[str, xr.Dataset]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Every setting by name, of training and of each result."""
    task, _ = experiment.described
    names = [*experiment.axes, *task.test_tasks(), *task.shifts(), *task.predictors()]
    meant = {_with_symbol(task, name): task.said(name) for name in names if task.said(name) != name}
    config = {"names": meant} if meant else {}
    config |= {key: value for key, value in experiment.config.items() if isinstance(value, dict)}
    config |= {f"{name}.nc": store.settings_of(there[name], name) for name in store.MADE if name in there}
    return [
        (heading, [(name, _said(value)) for name, value in settings.items() if value is not None])
        for heading, settings in config.items()
    ]


def _with_symbol(task: Task, name: str) -> str:
    """A name, with what it is called in figures where that is something else."""
    symbol = task.symbol(name)
    return name if symbol == name.replace("_", " ") else f"{name}, in figures {symbol}"


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):  # steps of each run
        return "; ".join(f"{name}: {_said(part)}" for name, part in value.items())
    return ", ".join(map(_said, value)) if isinstance(value, list) else str(value)


def _origin(experiment: store.Experiment, metrics: xr.Dataset | None) -> str:
    made, runs = experiment.provenance, f"{len(experiment.wanted)} runs"
    if metrics is not None:
        recorded = metrics.loss.notnull()
        recorded = recorded.any([dim for dim in recorded.dims if dim not in {"step", *experiment.axes}])
        runs = f"{int(recorded.any('step').sum())} runs with {int(recorded.sum())} checkpoints"
    return (
        f"Made by local-learning-coefficient {library_version()} from {runs}, "
        f"{'imported' if 'imported_from' in made else 'trained'} with torch "
        f"{made.get('torch', '?')} on "
        f"{made.get('created', 'an unknown day')}."
    )
