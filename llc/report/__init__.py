"""The report: one page that needs nothing else, made of what an experiment's folder holds."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from llc import extras, store
from llc.errors import StoreError
from llc.parallel import Progress, quiet
from llc.version import library_version

__all__ = ["write_report"]


@dataclass
class _Section:
    name: str
    pictures: list[Any] = field(default_factory=list)
    tables: list = field(default_factory=list)

    @property
    def anchor(self) -> str:
        return self.name.lower().replace(" ", "-")


def write_report(experiment: store.Experiment, path: Path | None = None, *, progress: Progress = quiet) -> Path:
    """Write `report.html`: the study's question, a summary, figures to zoom into, tables that sort, settings, commands.

    What has not been computed is left out and named, with the command that makes it. The page holds all it needs, data
    and plotting library included (about 5 MB), and opens without a network.

    Args:
        path: where to; None for `report.html` in the experiment's folder. progress: told (unit, done, total, note).
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
    path = path or experiment.path / "report.html"
    store.check_regular(path)  # before the work, not after it
    progress("report", 0, 2, "pictures")
    sections, summary, missing = _contents(experiment)
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
        summary=summary,
        sections=sections,
        settings=_settings(experiment),
        commands=commands(experiment),
        missing=missing,
        made=_origin(experiment),
        plotly=jinja2.utils.markupsafe.Markup(get_plotlyjs()),
        # Nothing in a string may look like an end of the script.
        figures=jinja2.utils.markupsafe.Markup(json.dumps(figures, allow_nan=False).replace("<", "\\u003c")),
    )
    store.write_text(path, page)
    progress("report", 2, 2, "")
    return path


def _contents(experiment: store.Experiment) -> tuple[list[_Section], list[tuple[str, list[str]]], list[str]]:
    """Sections with pictures and tables, the summary, and what is missing."""
    from llc.figures import FIGURES, spec_of
    from llc.report import tables, words

    missing: list[str] = []
    results: dict[str, Any] = dict.fromkeys(store.RESULTS)
    for name in experiment.results:
        try:
            found = experiment.result(name)
            outdated = experiment.outdated(name)
            missing += [why for why in (outdated, experiment.incomplete(name)) if why]
            results[name] = None if outdated else found
        except StoreError as error:
            missing.append(str(error))
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
    if results["stages"] is not None:
        missing += [f"stages of {reason}" for reason in results["stages"].left_out.values.ravel() if reason]
    kept = [section for section in sections.values() if section.pictures or section.tables]
    return kept, words.summary(experiment, results), missing


# A figure that is left out where another says all that it does.
_SAID_BY_ANOTHER = {"llc_by_axis": "llc_at_critical"}


def _settings(experiment: store.Experiment) -> list[tuple[str, list[tuple[str, str]]]]:
    """Every setting by name, of training and of each result."""
    task = experiment.task
    names = [*task.test_tasks(), *task.shifts(), *task.predictors()]
    meant = {name: task.said(name) for name in names if task.said(name) != name}
    config = {"names": meant} if meant else {}
    config |= {key: value for key, value in experiment.config.items() if isinstance(value, dict)}
    for name in store.MADE:
        if (experiment.path / f"{name}.nc").exists():
            config[f"{name}.nc"] = store.settings_of(experiment.result(name), name)
    return [
        (heading, [(name, _said(value)) for name, value in settings.items() if value is not None])
        for heading, settings in config.items()
    ]


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):  # steps of each run
        return "; ".join(f"{name}: {_said(part)}" for name, part in value.items())
    return ", ".join(map(_said, value)) if isinstance(value, list) else str(value)


def _origin(experiment: store.Experiment) -> str:
    made = experiment.provenance
    recorded = experiment.metrics.loss.notnull()
    recorded = recorded.any([dim for dim in recorded.dims if dim not in {"step", *experiment.axes}])
    return (
        f"Made by local-learning-coefficient {library_version()} from {int(recorded.any('step').sum())} runs with "
        f"{int(recorded.sum())} checkpoints, {'imported' if 'imported_from' in made else 'trained'} with torch "
        f"{made.get('torch', '?')} on "
        f"{made.get('created', 'an unknown day')}."
    )
