import numpy as np
import pytest
from conftest import small_config
from sklearn.decomposition import PCA

import llc
from llc import behaviour
from llc.development import principal
from llc.development.pca import predictions
from llc.errors import InvalidInput


def probe_of(run, sequences):
    return behaviour.probe(llc.training.RunConfig.from_table(run.config).task, sequences)


def rows_of(experiment, sequences=16):
    probe = probe_of(experiment.runs[0], sequences)
    rows = np.concatenate([[predictions(run, step, probe) for step in run.steps] for run in experiment.runs])
    return rows.astype(np.float64)


def test_scores_equal_a_dense_svd(finished):
    """Scores and explained variance against a float64 SVD of the centred rows, up to the sign of each component."""
    features = rows_of(finished)
    centred = features - features.mean(0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    stored = finished.pca.score.squeeze("seed")
    scores = stored.stack(row=("num_tasks", "step")).transpose("row", "component").values
    expected = (left * sizes)[:, :4]
    np.testing.assert_allclose(np.abs(scores), np.abs(expected), atol=1e-8)
    np.testing.assert_allclose(finished.pca.explained_variance_ratio, (sizes**2 / (sizes**2).sum())[:4])
    loading = finished.pca.loading.values.reshape(4, -1)
    np.testing.assert_allclose(np.abs(loading @ right[:4].T), np.eye(4), atol=1e-8)


def test_scores_are_projections_on_the_stored_loadings(finished):
    features = rows_of(finished)
    pca = finished.pca
    projected = (features - features.mean(0)) @ pca.loading.values.reshape(4, -1).T
    stored = pca.score.squeeze("seed").stack(row=("num_tasks", "step")).transpose("row", "component").values
    np.testing.assert_allclose(projected, stored, atol=1e-8)


def test_references_are_projected_and_not_fitted(finished):
    """The fit equals one made without them, and differs from one made with them."""
    features, pca = rows_of(finished), finished.pca
    task = llc.training.RunConfig.from_table(finished.run(4).config).task
    probe = probe_of(finished.runs[0], 16)
    ridge = llc.predictors.ridge(*probe, noise_variance=task.noise_variance).double().numpy().reshape(1, -1)
    dmmse = llc.predictors.dmmse(*probe, tasks=task.tasks, noise_variance=task.noise_variance)
    alone = PCA(4, svd_solver="full").fit(features)
    np.testing.assert_allclose(pca.score_ridge, alone.transform(ridge)[0], atol=1e-6)
    np.testing.assert_allclose(
        pca.score_dmmse.sel(num_tasks=4), alone.transform(dmmse.double().numpy().reshape(1, -1))[0], atol=1e-6
    )
    with_them = PCA(4, svd_solver="full").fit(np.concatenate([features, ridge, 5 * ridge]))
    assert not np.allclose(pca.explained_variance_ratio, with_them.explained_variance_ratio_, rtol=1e-3)


def test_the_probe_is_the_root_tasks(finished):
    xs, ys = probe_of(finished.runs[-1], 4000)
    root = llc.training.RunConfig.from_table(finished.run(1).config).task.tasks[0]
    residual = (ys - xs @ root).double()
    assert float(residual.var()) == pytest.approx(0.125, rel=4 * (2 / 12000) ** 0.5)


def test_a_smaller_probe_is_the_beginning_of_a_larger_one(finished):
    few, many = probe_of(finished.runs[0], 7), probe_of(finished.runs[0], 512)
    assert all((a == b[:7]).all() for a, b in zip(few, many, strict=True))


def test_predictions_stand_in_for_weights_that_were_not_kept(finished, tmp_path):
    """The same sweep with a third of its weights gives the same scores at the same steps."""
    thinned = llc.train(small_config(**{"checkpoints.weights_every": 3}), tmp_path / "thinned", jobs=1)
    assert len(thinned.run(4).steps) < len(finished.run(4).steps)
    found = llc.joint_pca(thinned, sequences=16)
    assert (found.step == finished.pca.step).all()
    np.testing.assert_allclose(found.score, finished.pca.score, atol=1e-5)
    with pytest.raises(InvalidInput, match=r"sequences = 513 given, but .* keeps 512 predictions in place of the"):
        llc.joint_pca(thinned, sequences=513)


@pytest.mark.parametrize("shape", [(300, 40), (40, 300)])
def test_out_of_core_equals_in_core_equals_a_dense_svd(shape):
    """Rows far from the origin, in pieces of unequal size; float64 throughout, up to the sign convention."""
    draw = np.random.default_rng(0)
    rows = 100 + draw.normal(size=shape) * np.geomspace(3, 0.03, shape[1])
    pieces = [rows[:1], rows[1:7], rows[7:]]
    inside = principal.fit(lambda: pieces, shape, 4)
    outside = principal.fit(lambda: pieces, shape, 4, in_memory=0)
    left, sizes, right = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    for found in (inside, outside):
        np.testing.assert_allclose(found.explained_variance_ratio, (sizes**2 / (sizes**2).sum())[:4], rtol=1e-9)
        np.testing.assert_allclose(np.abs(found.scores(rows)), np.abs(left * sizes)[:, :4], atol=1e-8)
        np.testing.assert_allclose(np.abs((found.axes * right[:4]).sum(1)), 1, atol=1e-10)
    np.testing.assert_allclose(inside.axes, outside.axes, atol=1e-9)
    np.testing.assert_allclose(inside.mean, outside.mean, atol=1e-12)


def test_no_scratch_is_left(finished, own):
    llc.joint_pca(own, components=2, sequences=16)
    assert not list(own.path.rglob("*.part"))


def test_labels(finished):
    pca = finished.pca
    assert pca.score.dims == ("num_tasks", "seed", "step", "component")
    assert pca.loading.dims == ("component", "sequence", "position")
    assert pca.score_ridge.dims == ("component",)
    assert pca.score_dmmse.dims == ("num_tasks", "component")


def test_the_same_analysis_again_does_nothing(own):
    before = (own.path / "pca.nc").stat().st_mtime_ns
    said = []
    llc.joint_pca(own, sequences=16, report=lambda *message: said.append(message[-1]))
    assert "nothing to do" in said[0]
    assert (own.path / "pca.nc").stat().st_mtime_ns == before
    assert llc.joint_pca(own, 2, sequences=16).sizes["component"] == 2


def test_seeds_share_the_references(tmp_path):
    config = small_config(**{"sweep.seeds": [0, 1], "sweep.num_tasks": [2, "inf"]})
    experiment = llc.train(config, tmp_path / "seeds", jobs=1)
    pca = llc.joint_pca(experiment, sequences=8)
    assert pca.score_dmmse.dims == ("num_tasks", "component")
    assert pca.score_ridge.dims == ("component",)
    assert dict(pca.score.sizes) == {"num_tasks": 2, "seed": 2, "step": 9, "component": 4}
    assert pca.score.notnull().all()
    drawn = llc.plots.trajectories(pca).axes[0].collections
    diamond = next(dots for dots in drawn if dots.get_zorder() == 5)
    np.testing.assert_allclose(diamond.get_offsets()[0], pca.score_dmmse.sel(num_tasks=2)[:2])


def test_bad_input_is_named(finished):
    with pytest.raises(InvalidInput, match="components = 0 given, expected 1 to 27"):
        llc.joint_pca(finished, 0)
    with pytest.raises(InvalidInput, match="sequences = 0 given"):
        llc.joint_pca(finished, sequences=0)
    with pytest.raises(InvalidInput, match="not finite"):
        principal.fit(lambda: [np.full((5, 5), np.nan)], (5, 5), 2)
