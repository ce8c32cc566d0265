"""The picture of a kernel: groups stand together, both backends draw it, and what is no kernel is said."""

import numpy as np
import pytest
import xarray as xr

from llc import figures
from llc.errors import InvalidInput
from llc.figures import interactive
from llc.figures.spec import Cells

VALUES = np.array([[1.0, -0.5, 0.9], [-0.5, 1.0, -0.4], [0.9, -0.4, 1.0]])


def kernel(name: str = "kernel", values: np.ndarray = VALUES, **attrs) -> xr.Dataset:
    about = {"long_name": "Cov", "units": "loss^2"}
    data = {name: (("sample", "other_sample"), values, about)}
    return xr.Dataset(data, attrs={"dataset": "own", "other_dataset": "own", **attrs})


def cells(spec) -> Cells:
    (mark,) = spec.panels[0].marks
    return mark


def test_samples_of_a_group_stand_together():
    spec = figures.kernel(kernel(), ["b", "a", "b"])
    np.testing.assert_array_equal(cells(spec).values, VALUES[np.ix_([1, 0, 2], [1, 0, 2])])
    assert cells(spec).borders == ([1], [1])
    assert spec.panels[0].x.ticks == {0.0: "a", 1.5: "b"}


def test_columns_of_another_dataset_have_groups_of_their_own():
    other = kernel("influence", VALUES[:, :2], other_dataset="test")
    spec = figures.kernel(other, [0, 1, 0], others=["y", "x"])
    np.testing.assert_array_equal(cells(spec).values, VALUES[np.ix_([0, 2, 1], [1, 0])])
    assert cells(figures.kernel(other, [0, 1, 0])).borders == ([2], [])


def test_both_backends_draw_it(tmp_path):
    spec = figures.kernel(kernel(verdict="converged"), [2, 1, 2])
    assert figures.save_figure(figures.draw(spec), tmp_path / "kernel.png").stat().st_size > 5000
    (drawn,) = [trace for trace in interactive.draw(spec).data if trace.type == "heatmap"]
    np.testing.assert_array_equal(drawn.z, cells(spec).values)
    assert "converged" in spec.caption


def test_what_is_no_kernel_is_said():
    with pytest.raises(InvalidInput, match=r"expected what llc\.loss_kernel or llc\.influence gives"):
        figures.kernel(xr.Dataset({"llc": 1.0}))
    with pytest.raises(InvalidInput, match=r"2 samples given, expected one for each of 3 \(sample\)"):
        figures.kernel(kernel(), [1, 2])
