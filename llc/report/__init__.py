"""The report: one page that needs nothing else, made of what an experiment's folder holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from llc import development, store
from llc.errors import StoreError
from llc.parallel import Report, quiet
from llc.report.made import settings_of

__all__ = ["write_report"]


@dataclass
class _Section:
    anchor: str
    name: str
    pictures: list = field(default_factory=list)
    tables: list = field(default_factory=list)


def write_report(experiment: store.Experiment, path: Path | None = None, *, report: Report = quiet) -> Path:
    """Write `report.html`: the study's question, a summary, figures to zoom into, tables that sort, settings, commands.

    What has not been computed is left out and named, with the command that makes it. The page holds all it needs, data
    and plotting library included (about 5 MB), and opens without a network.

    Args:
        path: where to; None for `report.html` in the experiment's folder.
    Returns:
        Where it was written.
    Raises:
        StoreError: nothing is trained yet, or the place cannot be written.
    """
    import jinja2
    from plotly.offline import get_plotlyjs

    from llc.report.commands import commands

    if not experiment.has_metrics:
        raise StoreError(
            f"{experiment.path} has no metrics yet; train it first with: llc train --out {experiment.path}"
        )
    path = path or experiment.path / "report.html"
    store.check_regular(path)  # before the work, not after it
    report("report", 0, 2, "pictures")
    sections, summary, missing = _contents(experiment)
    pictures = [picture for section in sections for picture in section.pictures]
    report("report", 1, 2, f"{len(pictures)} pictures")
    figures = {picture.name: json.loads(picture.figure.to_json()) for picture in pictures}
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(resources.files("llc.report").joinpath("page.html").read_text("utf-8")).render(
        title=f"Development of {experiment.path.resolve().name}: loss, complexity and trajectories",
        question=_question(experiment),
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
    report("report", 2, 2, "")
    return path


def _contents(experiment: store.Experiment) -> tuple[list[_Section], list[tuple[str, list[str]]], list[str]]:
    """Sections with pictures and tables, the summary, and what is missing."""
    from llc.report import figures, tables, words

    missing: list[str] = []

    def result(name: str) -> Any:
        try:
            found = getattr(experiment, name)
        except StoreError as error:
            missing.append(str(error))
            return None
        outdated, incomplete = experiment.outdated(name), experiment.incomplete(name)
        missing.extend(why for why in (outdated, incomplete) if why)
        return None if outdated else found

    metrics, table = experiment.metrics, development.summary_table(experiment)
    behaviour = _Section("behaviour", "Behaviour")
    behaviour.pictures = [figures.losses(metrics, "ood"), figures.losses(metrics, "id"), figures.delta_plane(metrics)]
    summary = [("What runs do", words.behaviour(table, metrics))]
    complexity = _Section("complexity", "Complexity")
    llc, traded = result("llc"), result("tradeoff")
    if llc is not None:
        complexity.pictures = [
            figures.llc_over_training(llc),
            figures.llc_by_diversity(llc, traded),
            figures.loss_llc_plane(llc),
        ]
        complexity.tables = [tables.estimates(llc)]
        summary.append(("How complex they are", words.complexity(llc)))
    paths = _Section("trajectories", "Trajectories")
    pca = result("pca")
    if pca is not None and pca.sizes["component"] == 1:
        missing.append(f"trajectories take two components; make them with: llc pca {experiment.path} --components 2")
    elif pca is not None:
        paths.pictures = [figures.trajectories(pca), figures.scree(pca)]
        summary.append(("Where they go", words.trajectories(pca)))
    essential = result("essential")
    if essential is not None:
        paths.pictures.append(figures.essential(essential))
    development_section = _Section("stages", "Stages")
    found = result("stages")
    behaviour.tables = [tables.runs(table, found)]
    if found is not None and llc is not None:
        development_section.pictures = figures.stages(llc, found)
        development_section.tables = [tables.stages(development.stage_rows(found))]
        missing += [f"stages of {reason}" for reason in found.left_out.values.ravel() if reason]
    bargain = _Section("tradeoff", "Tradeoff")
    if traded is not None:
        bargain.pictures = [figures.log_odds(traded), figures.turns(traded)]
        bargain.tables = [tables.tradeoff(traded)]
        summary.append(("What complexity buys", words.tradeoff(traded)))
    further = _Section("further", "Further read-outs")
    further.pictures = _drawn(result("behaviour"), lambda data: [figures.shifts(data)])
    further.pictures += _drawn(result("readouts"), figures.readouts)
    sections = [behaviour, complexity, paths, development_section, bargain, further]
    for section in sections:
        section.pictures = [picture for picture in section.pictures if picture is not None]
    kept = [section for section in sections if section.pictures or section.tables]
    return kept, [(heading, said) for heading, said in summary if said], missing


def _drawn(data: Any, draw: Callable[[Any], list]) -> list:
    return [] if data is None else draw(data)


def _question(experiment: store.Experiment) -> str:
    from llc.report import words

    return words.question(experiment.config, experiment.provenance.get("imported_from"))


# Results, and what their settings are called in what they say of themselves.
_SETTINGS = {
    "llc": "llc",
    "pca": "pca",
    "stages": "stages",
    "tradeoff": "tradeoff",
    "essential": "essential",
    "behaviour": "shifts",
    "readouts": "readouts",
}


def _settings(experiment: store.Experiment) -> list[tuple[str, list[tuple[str, str]]]]:
    """Every setting by name, of training and of each result."""
    config = {key: value for key, value in experiment.config.items() if isinstance(value, dict)}
    for name, part in _SETTINGS.items():
        if (experiment.path / f"{name}.nc").exists():
            config[f"{name}.nc"] = settings_of(getattr(experiment, name), part)
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
    checkpoints = int(np.sum([len(run.recorded_steps) for run in experiment.runs]))
    return (
        f"Made by local-learning-coefficient {store.library_version()} from {len(experiment.runs)} runs with "
        f"{checkpoints} checkpoints, {'imported' if 'imported_from' in made else 'trained'} with torch "
        f"{made.get('torch', '?')} on "
        f"{made.get('created', 'an unknown day')}."
    )
