import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from test_stages import make_up

from llc import development, plots
from llc.errors import StoreError
from llc.plots import style


def texts(figure: Figure) -> set[str]:
    found = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    for axes in figure.axes:
        found |= {axes.get_title(), axes.get_xlabel(), axes.get_ylabel()}
    return found


def test_every_figure_is_drawn_and_can_be_read(own):
    make_up(own)
    development.find_stages(own, resamples=20)
    development.tradeoff(own)
    development.essential_dynamics(own)
    development.shifted_behaviour(own, steps="0,60")
    written, missing = plots.save_figures(own)
    assert not missing
    assert [path.stem for path in written] == list(plots.FIGURES)
    for path in written:
        image = matplotlib.image.imread(path)
        assert image.shape[1] > 700
        assert image[..., :3].std() > 0.02  # not blank


def test_figures_say_what_they_show(finished):
    assert {"M = 1", "M = 4", "M = ∞", "ridge", "dMMSE$_M$"} <= texts(plots.losses(finished.metrics))
    assert {"ridge", "dMMSE$_M$", "M = ∞"} <= texts(plots.trajectories(finished.pca))
    assert any("PC 1 (" in text for text in texts(plots.trajectories(finished.pca)))
    verdicts = set(np.unique(finished.llc.verdict))
    assert verdicts <= texts(plots.llc_over_training(finished.llc))
    assert "task diversity M" in texts(plots.llc_by_diversity(finished.llc))


def test_critical_steps_are_where_the_data_says(finished):
    axes = plots.losses(finished.metrics).axes[1]
    drawn = {round(float(x)) for dots in axes.collections for x, _ in np.asarray(dots.get_offsets())}
    last = int(finished.metrics.step[-1])
    assert drawn == {int(s) for s in finished.metrics.step_critical.values.ravel() if int(s) < last}


def test_unbelievable_estimates_are_hollow(finished):
    data = finished.llc.copy(deep=True)
    data["verdict"][:] = "drifting"
    data["verdict"][0] = "converged"
    drawn = plots.llc_over_training(data).axes[0]
    faces = [line.get_markerfacecolor() for line in drawn.lines if line.get_marker() in {"o", "^"}]
    assert len([face for face in faces if face == "white"]) == 6
    assert len(faces) == 9


def test_colours_are_on_a_log_scale_and_infinity_is_black():
    colours = plots.diversity_colours(np.array([1, 4, 16, np.inf]))
    assert colours[np.inf] == "black"
    middle = plots.diversity_colours(np.array([1, 16]))
    assert colours[1.0] == middle[1.0]
    assert colours[16.0] == middle[16.0]
    assert len(set(map(tuple, colours.values()))) == 4


def test_many_diversities_share_a_colour_bar(finished):
    data = finished.metrics.isel(num_tasks=[0] * 12).assign_coords(num_tasks=[2.0**k for k in range(12)])
    figure = plots.losses(data)
    assert any(axes.get_ylabel() == "task diversity M" for axes in figure.axes)


def test_smoothing_keeps_the_ends_and_straight_lines():
    line = np.linspace(-1, 3, 20)
    np.testing.assert_allclose(style.smooth(line), line)
    np.testing.assert_array_equal(style.smooth(line[:2]), line[:2])


def test_what_is_missing_is_said(own):
    (own.path / "llc.nc").unlink()
    written, missing = plots.save_figures(own)
    of_llc = {"llc", "llc_by_diversity", "llc_at_critical", "loss_llc_plane", "stages", "tradeoff"}
    assert set(missing) == of_llc | {"essential", "behaviour"}
    assert "llc estimate-llc" in missing["llc"]
    assert "llc stages" in missing["tradeoff"]
    assert len(written) == len(plots.FIGURES) - 8


def test_a_sweep_that_is_still_training_can_be_drawn(finished):
    running = finished.metrics.copy(deep=True)
    running["step_critical"] = running.step_critical.where(running.num_tasks < 4)
    assert plots.losses(running).axes
    assert plots.losses(running.drop_vars("step_critical")).axes


def test_one_component_is_too_few(finished):
    with pytest.raises(StoreError, match="llc pca --components 2"):
        plots.trajectories(finished.pca.sel(component=[1]))
