"""Curves whose curvature, evolute and vertices are known."""

import numpy as np
import pytest

from llc import store
from llc.development import essential_dynamics, form_rows
from llc.development.essential import geometry
from llc.errors import InvalidInput, StoreError

# Even spacing in u = log(1 + step), over which curves below run.
U = np.linspace(0, 6, 301)
STEPS = np.expm1(U)


def test_a_circle_has_one_center_and_one_curvature():
    angle = 0.9 * U
    found = geometry(STEPS, np.column_stack([2 + 3 * np.cos(angle), 3 * np.sin(angle) - 1]), width=0.1)
    np.testing.assert_allclose(found.curvature, 1 / 3, rtol=0.02)
    np.testing.assert_allclose(found.curvature[10:-10], 1 / 3, rtol=0.005)
    np.testing.assert_allclose(found.center, np.tile([2, -1], (len(U), 1)), atol=0.06)
    np.testing.assert_allclose(np.linalg.norm(found.velocity, axis=1), 2.7, rtol=0.02)
    assert found.forms == []


def test_the_vertices_of_an_ellipse_are_at_its_long_ends():
    """x = 3 cos θ, y = sin θ: κ = 3/(9 sin² θ + cos² θ)^{3/2}, 3 at θ = π, with the evolute's cusp at (−8/3, 0)."""
    angle = 1.0 * U
    found = geometry(STEPS, np.column_stack([3 * np.cos(angle), np.sin(angle)]), width=0.05)
    exact = 3 / (9 * np.sin(angle) ** 2 + np.cos(angle) ** 2) ** 1.5
    np.testing.assert_allclose(found.curvature[5:-5], exact[5:-5], rtol=0.06)
    (vertex,) = [form for form in found.forms if 0.5 < U[form.place] < 5.5]
    assert vertex.kind == "vertex"
    assert U[vertex.place] == pytest.approx(np.pi, abs=0.05)
    np.testing.assert_allclose(found.center[vertex.place], [-8 / 3, 0], atol=0.05)


def test_a_cusp_is_where_a_curve_turns_back():
    """(t², t³) at t = 0."""
    t = U - 3
    found = geometry(STEPS, np.column_stack([t**2, t**3]), width=0.05)
    (cusp,) = [form for form in found.forms if form.kind == "cusp"]
    assert U[cusp.place] == pytest.approx(3, abs=0.05)


def test_smoothing_keeps_a_bend_that_noise_hides():
    """Half a circle with noise: the mean curvature within four of its standard errors, by repeating."""
    draw, curvatures = np.random.default_rng(0), []
    angle = 0.5 * U
    for _ in range(40):
        points = np.column_stack([np.cos(angle), np.sin(angle)]) + 0.02 * draw.standard_normal((len(U), 2))
        curvatures.append(np.median(geometry(STEPS, points, width=0.4).curvature[60:-60]))
    error = np.std(curvatures, ddof=1) / 40**0.5
    assert abs(np.mean(curvatures) - 1) < 4 * error + 0.02


def test_the_kernel_reaches_five_steps_where_they_are_sparse():
    steps = np.expm1(np.arange(10.0))
    angle = 0.5 * np.arange(10.0)
    found = geometry(steps, np.column_stack([np.cos(angle), np.sin(angle)]), width=0.01)
    assert np.isfinite(found.curvature).all()


def test_bad_curves_are_named():
    with pytest.raises(
        InvalidInput, match=r"steps of shape \(5,\) with points of shape \(5, 2\) given, expected \(T,\)"
    ):
        geometry(np.arange(5.0), np.zeros((5, 2)))
    with pytest.raises(InvalidInput, match="width = 0 given"):
        geometry(STEPS, np.zeros((len(STEPS), 2)), width=0)


def test_forms_of_a_sweep_are_rows(own):
    found = essential_dynamics(own, width=0.5)
    rows = form_rows(found)
    for m in (1, 4, np.inf):
        score = own.pca.score.sel(num_tasks=m, seed=0, component=[1, 2]).transpose("step", "component").dropna("step")
        exact = geometry(score.step.values, score.values, width=0.5)
        at = found.sel(num_tasks=m, seed=0)
        np.testing.assert_allclose(at.smoothed.transpose("step", "axis"), exact.position)
        np.testing.assert_allclose(at.center.transpose("step", "axis"), exact.center)
        of_run = rows[rows.run == own.run(num_tasks=m).name]
        assert of_run.step.tolist() == [int(score.step[form.place]) for form in exact.forms]
        np.testing.assert_allclose(of_run.curvature, [exact.curvature[form.place] for form in exact.forms])
    assert all(variable.attrs["long_name"] for variable in found.variables.values())
    assert own.essential.identical(found)
    with pytest.raises(InvalidInput, match="component 9 given"):
        essential_dynamics(own, components=(1, 9))


def test_too_few_checkpoints_are_said(own):
    short = own.pca.isel(step=slice(0, 3))
    store.write_dataset(own.path / "pca.nc", short, {})
    with pytest.raises(StoreError, match=r"no run of .* has 6 checkpoints"):
        essential_dynamics(own)
