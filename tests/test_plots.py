"""Figures: what they show, and both backends that draw it."""

import json
import shutil

import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import llc
from llc import development, figures
from llc.cli import main
from llc.figures import interactive, static
from llc.figures.runs import Runs, palette
from llc.figures.spec import Level, Marks, Span, Spec

# What linear regression has nothing of.
OF_FAMILIES = {"error_curves"}


def marks_of(spec: Spec) -> list[Marks]:
    return [mark for panel in spec.panels for mark in panel.marks if isinstance(mark, Marks)]


def labels_of(spec: Spec) -> set[str]:
    found = {mark.label for panel in spec.panels for mark in panel.marks}
    return found | {label for label, _ in spec.key}


@pytest.fixture(scope="module")
def every(whole, families, tmp_path_factory):
    """An experiment with every result, and figures by name: those that say nothing of it, of one with other tasks."""
    own = llc.open(shutil.copytree(whole.path, tmp_path_factory.mktemp("figures") / "small"))
    specs = {name: figures.spec_of(own, name) for name in figures.FIGURES}
    return own, specs | {name: figures.spec_of(families, name) for name in OF_FAMILIES}


@pytest.fixture
def unsaved(monkeypatch):
    """Figures are neither drawn nor saved, which takes most of the time."""
    monkeypatch.setattr(static, "draw", lambda spec: spec)
    monkeypatch.setattr(figures, "save_figure", lambda _, path: path)


def test_every_figure_that_there_is_something_of_is_saved(every, unsaved):
    own, _ = every
    written, missing = figures.save_figures(own)
    assert set(missing) == OF_FAMILIES
    assert [path.stem for path in written] == [name for name in figures.FIGURES if name not in OF_FAMILIES]
    assert set(missing.values()) == {"compare holds nothing of the kind"}


def test_two_results_hold_nothing_of_the_kind(every, unsaved, monkeypatch):
    own, _ = every
    monkeypatch.setattr(figures, "spec_of", lambda *_: None)
    _, missing = figures.save_figures(own, ["llc", "llc_at_critical"])
    assert list(missing.values()) == ["llc holds nothing of the kind", "llc and tradeoff hold nothing of the kind"]


@pytest.mark.parametrize("name", figures.FIGURES)
def test_both_backends_draw_the_same_points(every, name, tmp_path):
    """Every mark with points is in the plotly figure as it is in the matplotlib one, whose picture is not blank."""
    _, specs = every
    spec = specs[name]
    drawn = json.loads(interactive.draw(spec).to_json())
    assert len(drawn["data"]) >= len(marks_of(spec))
    paper = static.draw(spec)
    image = matplotlib.image.imread(figures.save_figure(paper, tmp_path / f"{name}.png"))
    assert image.shape[1] > 700
    assert image[..., :3].std() > 0.02
    assert [axes.get_title() for axes in paper.axes[: len(spec.panels)]][1:] == [p.title for p in spec.panels][1:]
    lines = sum(len(axes.lines) for axes in paper.axes)
    assert lines >= sum(bool(mark.line) and len(mark.x) > 0 for mark in marks_of(spec))
    assert spec.caption
    assert spec.alt


def test_figures_say_what_they_show(finished):
    assert {"M = 1", "M = 4", "M = ∞", "ridge", "dMMSE_M"} <= labels_of(figures.losses(finished.metrics))
    assert {"ridge", "dMMSE_M", "M = ∞"} <= labels_of(figures.trajectories(finished.pca))
    assert figures.trajectories(finished.pca).panels[0].x.label.startswith("PC 1 (")
    verdicts = set(np.unique(finished.llc.verdict))
    assert verdicts <= labels_of(figures.llc_over_training(finished.llc))
    assert "task diversity M" in figures.llc_by_axis(finished.llc).panels[0].x.label


def test_curves_are_the_data(finished):
    """Means over positions, on each test set; references once where they are the same for all."""
    metrics = finished.metrics.mean("position")
    for panel, name in zip(figures.losses(finished.metrics).panels, metrics.test_set.values, strict=True):
        curves = [mark for mark in panel.marks if isinstance(mark, Marks) and mark.line]
        assert len(curves) == 3
        for mark, run in zip(curves, metrics.num_tasks.values, strict=True):
            expected = metrics.loss.sel(num_tasks=run, seed=0, test_set=name)
            np.testing.assert_array_equal(mark.y, expected)
            np.testing.assert_array_equal(mark.x, expected.step)
        ridge = [mark for mark in panel.marks if isinstance(mark, Level) and mark.label == "ridge"]
        assert {round(mark.y, 6) for mark in ridge} == {
            round(float(one), 6) for one in metrics.reference_loss.sel(reference="ridge", test_set=name).values.ravel()
        }


def test_critical_steps_are_where_the_data_says(finished):
    panel = figures.losses(finished.metrics).panels[1]
    drawn = {int(mark.x[0]) for mark in panel.marks if isinstance(mark, Marks) and not mark.line}
    last = int(finished.metrics.step[-1])
    assert drawn == {int(s) for s in finished.metrics.step_critical.values.ravel() if int(s) < last}


def test_unbelievable_estimates_are_hollow(finished):
    data = finished.llc.copy(deep=True)
    data["verdict"][:] = "drifting"
    data["verdict"][0] = "converged"
    shapes = [shape for mark in marks_of(figures.llc_over_training(data)) for shape in mark.shape]
    assert sorted(shapes) == ["circle"] * 3 + ["open triangle"] * 6
    drawn = static.draw(figures.llc_over_training(data)).axes[0]
    faces = [line.get_markerfacecolor() for line in drawn.lines if line.get_marker() == "^"]
    assert set(faces) == {"none"}


def test_what_lies_far_off_does_not_set_the_axis(finished):
    """A first point of −2000 that may not be compared is beyond it, one of −20 within; −2000 counts where it may."""
    made = finished.llc.load().copy(deep=True)
    made["verdict"] = made.verdict.astype("<U20")  # whatever the longest in the file is
    made["verdict"][:] = "converged"
    for name, value in (("llc_low", 30.0), ("llc", 40.0), ("llc_high", 50.0)):
        made[name][:] = value
    for far, verdict, lowest in (
        (-2000.0, "prior-dominated", 0.0),
        (-20.0, "off-minimum", -20.0),
        (-2000.0, "converged", -2000.0),
    ):
        made["verdict"][..., 0] = verdict
        for name in ("llc_low", "llc", "llc_high"):
            made[name][..., 0] = far
        spec = figures.llc_over_training(made)
        low, high = spec.panels[0].y.limits
        stars = [mark for mark in marks_of(spec) if mark.label == "beyond the axis"]
        assert len(stars) == (len(finished.runs) if verdict == "prior-dominated" else 0)
        assert all(low < mark.y.item() < 0 and "-2000" in mark.hover[0] for mark in stars)
        assert low == pytest.approx(lowest - 0.06 * (50 - lowest))
        assert high == pytest.approx(50 + 0.06 * (50 - lowest))


def test_an_exception_does_not_set_the_axis(finished):
    """One that is drifting among many above their floors hides none of these; many set the axis."""
    made = finished.llc.load().copy(deep=True)
    made["verdict"] = made.verdict.astype("<U20")
    made["verdict"][:] = "off-minimum"
    made["verdict"].values.flat[0] = "drifting"
    assert figures.llc_over_training(made).panels[0].y.limits is None
    made["verdict"][:] = "drifting"
    assert figures.llc_over_training(made).panels[0].y.limits is not None


def test_an_end_is_marked_where_it_may_be_compared(finished):
    """Of two runs, that whose last estimate may not be has no large dot."""
    llc_ = finished.llc.isel(seed=0, drop=True).sel(num_tasks=[1.0, 4.0]).load()
    llc_["verdict"] = xr.full_like(llc_.verdict, "converged")
    llc_.verdict[{"num_tasks": 1, "step": -1}] = "drifting"
    (panel,) = figures.loss_llc_plane(llc_).panels
    assert {mark.label: mark.last for mark in panel.marks} == {"M = 1": True, "M = 4": False}


def test_results_that_lack_runs_are_named(own, unsaved, monkeypatch):
    monkeypatch.setattr(type(own), "incomplete", lambda _, name: "llc.nc lacks seed=1" if name == "llc" else "")
    assert "llc.nc lacks seed=1\n" in CliRunner().invoke(main, ["plot", str(own.path), "--figure", "llc"]).output


def test_stages_are_shaded_where_the_table_says(every):
    own, specs = every
    rows = development.stage_rows(own.stages)
    spans = [mark for panel in specs["stages"].panels for mark in panel.marks if isinstance(mark, Span) and mark.text]
    assert [(span.start, span.end, span.text) for span in spans] == list(
        rows[["start", "end", "type"]].itertuples(index=False, name=None)
    )


def test_neighbours_have_colours_apart_and_infinity_its_own():
    one, middle, far, infinite = palette([1.0, 4.0, 16.0, np.inf])
    assert [one, far] == palette([1.0, 16.0])
    assert len({one, middle, far, infinite}) == 4
    assert palette([1.0, 1.01, 1000.0])[1] == middle  # by rank: near values are not near in colour
    assert len(set(palette(["softmax", "linear", "none"]))) == 3


def test_axes_of_words_and_of_numbers(finished):
    """Numbers above zero stand on a logarithmic axis, infinity beyond them; words one after another."""
    places, ticks, scale = Runs(finished.metrics[["loss"]]).positions
    assert (places.tolist(), scale) == ([1.0, 4.0, 10.0], "log")
    assert list(ticks.values()) == ["1", "4", "∞"]
    words = finished.metrics[["loss"]].assign_coords(num_tasks=["a", "b", "c"])
    places, ticks, scale = Runs(words).positions
    assert (places.tolist(), scale, list(ticks.values())) == ([0.0, 1.0, 2.0], "linear", ["a", "b", "c"])


def test_a_second_axis_makes_panels(finished):
    """Colours for the axis with more values, a panel for each value of the other."""
    two = finished.metrics.expand_dims(heads=[1.0, 2.0]).transpose("num_tasks", "heads", "seed", ...)
    spec = figures.losses(two)
    assert len(spec.panels) == 2 * finished.metrics.sizes["test_set"]
    assert {panel.title.split(", ")[-1] for panel in spec.panels} == {"heads = 1", "heads = 2"}


def test_further_axes_make_panels_too(finished):
    """A third axis: a panel for each pair of values of the others, a shape each where runs share a panel."""
    three = finished.metrics.expand_dims(heads=[1.0, 2.0], rate=[0.1, 0.2])
    three = three.transpose("num_tasks", "heads", "rate", "seed", ...)
    spec = figures.losses(three)
    assert len(spec.panels) == 4 * finished.metrics.sizes["test_set"]
    assert len({panel.title for panel in spec.panels}) == len(spec.panels)
    assert len({shape for _, shape in Runs(three).shape_key}) == 4
    ends = figures.losses_by_axis(three)
    assert len({mark.shape for mark in ends.panels[0].marks if isinstance(mark, Marks) and mark.shape}) == 4
    # References do not depend on the other axes: one line each, as without these.
    lines = [
        sum(isinstance(mark, Marks) and bool(mark.line) for mark in found.panels[0].marks)
        for found in (ends, figures.losses_by_axis(finished.metrics))
    ]
    assert lines[0] == lines[1] == 2


def test_losses_along_the_sequence_are_those_of_the_last_step(finished):
    """A line a run and a reference, a panel for each M where dMMSE_M is another, or one where references are one."""
    metrics = finished.metrics.copy(deep=True)
    first = metrics.position.values[0]
    metrics.reference_loss.loc[{"reference": "ridge", "position": first}] = 0.0
    spec = figures.losses_by_position(metrics)
    assert [panel.title for panel in spec.panels] == [
        f"{name}, M = {m}" for name in ("id", "ood") for m in ("1", "4", "∞")
    ]
    for panel, test_set in zip(spec.panels[1::3], ("id", "ood"), strict=True):
        lines = {mark.label: mark for mark in panel.marks}
        low, high = panel.y.limits
        assert low < lines["M = 4"].y.min() < lines["M = 4"].y.max() < high
        run = metrics.sel(test_set=test_set, num_tasks=4).squeeze()
        np.testing.assert_array_equal(lines["M = 4"].y, run.loss.dropna("step", how="all").isel(step=-1))
        known = np.isfinite(lines["ridge"].y)
        assert not known[0]
        assert known[1:].all()
    alike = figures.losses_by_position(metrics.sel(reference=["ridge"])).panels[-1]  # out of distribution
    assert alike.title == "ood"
    assert {mark.label for mark in alike.marks} == {"M = 1", "M = 4", "M = ∞", "ridge"}
    assert figures.losses_by_position(metrics.isel(position=[0])) is None
    assert figures.losses_by_position(metrics.mean("position")) is None


def test_every_reference_is_drawn(finished):
    """However many there are."""
    one = finished.metrics.sel(reference=["ridge"])
    names = [f"reference {number}" for number in range(7)]
    many = xr.concat([one.assign_coords(reference=[name]) for name in names], "reference", data_vars="minimal")
    many.reference.attrs = finished.metrics.reference.attrs
    for spec in (figures.losses(many), figures.losses_by_axis(many), figures.losses_by_position(many)):
        labels = {mark.label for panel in spec.panels for mark in panel.marks}
        assert labels >= set(names)
    score = finished.pca.score_reference.sel(reference=["ridge"])
    pca = finished.pca.drop_dims("reference").assign(
        score_reference=xr.concat([score.assign_coords(reference=[name]) for name in names], "reference")
    )
    pca.reference.attrs = finished.pca.reference.attrs
    labels = {mark.label for panel in figures.trajectories(pca).panels for mark in panel.marks}
    assert labels >= set(names)


def test_references_that_differ_along_another_axis_are_told_apart(finished, whole):
    """Along the axis that colours tell they have its colours; else lines and names of their own."""
    both = xr.concat([finished.metrics, finished.metrics], xr.DataArray([8, 16], dims="width", name="width"))
    both["reference_loss"] = both.reference_loss * xr.DataArray([1.0, 2.0], dims="width")
    for panel in figures.losses_by_axis(both).panels:
        lines = [mark for mark in panel.marks if mark.line]
        assert len({(mark.colour, mark.line) for mark in lines}) == len({mark.label for mark in lines}) == len(lines)
        assert {mark.label for mark in lines} >= {"ridge, width = 8", "ridge, width = 16"}
    compared = whole.compare
    changed = compared.assign(reference_loss=compared.reference_loss * xr.DataArray([1.0, 2.0, 3.0], dims="num_tasks"))
    panel = figures.compared(changed).panels[-1]
    colours = {mark.colour for mark in panel.marks if mark.label == "the reference"}
    assert colours == {mark.colour for mark in panel.marks if mark.label != "the reference"}
    assert len(colours) == 3


def test_each_quantity_of_a_comparison_begins_a_row(whole):
    """Seven references take two rows of four: every second one begins with the first reference."""
    names = [f"reference {number}" for number in range(7)]
    one = whole.compare.drop_dims("other").sel(reference=["ridge"])
    many = xr.concat([one.assign_coords(reference=[name]) for name in names], "reference", data_vars="minimal")
    many.reference.attrs = whole.compare.reference.attrs
    spec = figures.compared(many)
    drawn = [axes for axes in static.draw(spec).axes if axes.axison]
    assert [axes.get_title() for axes in drawn] == [panel.title for panel in spec.panels]
    assert len(spec.panels) == 21
    for number, axes in enumerate(drawn):
        place = axes.get_subplotspec()
        assert (place.rowspan.start, place.colspan.start) == (2 * (number // 7) + number % 7 // 4, number % 7 % 4)


def test_what_is_missing_is_said(own, unsaved):
    (own.path / "llc.nc").unlink()
    written, missing = figures.save_figures(own)
    of_llc = {"llc", "llc_by_axis", "llc_at_critical", "loss_llc_plane", "stages", "tradeoff"}
    assert set(missing) == of_llc | {"essential", "behaviour", "readouts", "compare", "learned", "error_curves"} | {
        "strategies"
    }
    assert "llc estimate-llc" in missing["llc"]
    assert "llc stages" in missing["tradeoff"]
    assert len(written) == len(figures.FIGURES) - len(missing)


def test_a_sweep_that_is_still_training_can_be_drawn(finished):
    running = finished.metrics.copy(deep=True)
    running["step_critical"] = running.step_critical.where(running.num_tasks < 4)
    assert static.draw(figures.losses(running)).axes
    assert static.draw(figures.losses(running.drop_vars("step_critical"))).axes


def test_one_component_is_too_few(finished):
    assert figures.trajectories(finished.pca.sel(component=[1])) is None


def test_runs_of_two_axes_in_one_panel_differ_in_colour_and_shape(finished):
    two = finished.metrics[["loss"]].isel(seed=[0]).expand_dims(heads=[1.0, 2.0])
    runs = Runs(two)
    assert len({(runs.colour(place), runs.shape(place)) for place, _ in runs}) == 2 * two.sizes["num_tasks"]
    assert runs.shape_key == [("heads = 1", "circle"), ("heads = 2", "diamond")]
    assert Runs(two.isel(heads=[0])).shape_key == []
