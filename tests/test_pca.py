import numpy as np
import pytest
from conftest import small_config
from sklearn.decomposition import PCA

import llc
from llc import figures
from llc.development import pca_robustness, principal, project
from llc.development.features import make_features
from llc.development.null import random_walk_variances
from llc.errors import InvalidInput
from llc.tasks import Batch


def probe_of(run, sequences):
    return run.task.probe(sequences)


def rows_of(experiment, sequences=16, kind="predictions", probe="own"):
    features = make_features(experiment.runs, kind, probe, sequences)
    rows = np.concatenate([[features.of(run, step) for step in run.steps] for run in experiment.runs])
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
    loading = finished.pca.loading.values.reshape(-1, 4).T
    np.testing.assert_allclose(np.abs(loading @ right[:4].T), np.eye(4), atol=1e-8)


def test_scores_are_projections_on_the_stored_loadings(finished):
    features = rows_of(finished)
    pca = finished.pca
    projected = (features - features.mean(0)) @ pca.loading.values.reshape(-1, 4)
    stored = pca.score.squeeze("seed").stack(row=("num_tasks", "step")).transpose("row", "component").values
    np.testing.assert_allclose(projected, stored, atol=1e-8)


def test_references_are_projected_and_not_fitted(finished):
    """The fit equals one made without them, and differs from one made with them."""
    features, pca = rows_of(finished), finished.pca
    task = finished.run(num_tasks=4).task
    probe = probe_of(finished.runs[0], 16)
    ridge = llc.predictors.ridge(*probe.inputs, noise_variance=task.noise_variance).double().numpy().reshape(1, -1)
    dmmse = llc.predictors.dmmse(*probe.inputs, tasks=task.tasks, noise_variance=task.noise_variance)
    alone = PCA(4, svd_solver="full").fit(features)
    dmmse = dmmse.double().numpy().reshape(1, -1)
    at = pca.sel(num_tasks=4, seed=0)
    for name, vector in (("ridge", ridge), ("dmmse", dmmse)):
        np.testing.assert_allclose(at.score_reference.sel(reference=name), alone.transform(vector)[0], atol=1e-6)
    apart = float(at.reference_distance.sel(reference="ridge", other="dmmse"))
    assert apart == pytest.approx(float(np.linalg.norm(ridge - dmmse)))
    assert pca.reference.values.tolist() == ["ridge", "dmmse"]  # what knows nothing is left out
    with_them = PCA(4, svd_solver="full").fit(np.concatenate([features, ridge, 5 * ridge]))
    assert not np.allclose(pca.explained_variance_ratio, with_them.explained_variance_ratio_, rtol=1e-3)


def test_the_probe_is_the_root_tasks(finished):
    xs, ys = probe_of(finished.runs[-1], 4000).inputs
    root = finished.run(num_tasks=1).task.tasks[0]
    residual = (ys - xs @ root).double()
    assert float(residual.var()) == pytest.approx(0.125, rel=4 * (2 / 12000) ** 0.5)


def test_a_smaller_probe_is_the_beginning_of_a_larger_one(finished):
    few, many = probe_of(finished.runs[0], 7), probe_of(finished.runs[0], 512)
    assert all((a == b[:7]).all() for a, b in zip(few.flat, many.flat, strict=True))


def test_predictions_stand_in_for_weights_that_were_not_kept(finished, tmp_path):
    """The same sweep with a third of its weights gives the same scores at the same steps."""
    thinned = llc.train(small_config(**{"checkpoints.weights_every": 3}), tmp_path / "thinned", jobs=1)
    assert len(thinned.run(num_tasks=4).steps) < len(finished.run(num_tasks=4).steps)
    found = llc.joint_pca(thinned, sequences=16)
    assert (found.step == finished.pca.step).all()
    np.testing.assert_allclose(found.score, finished.pca.score, atol=1e-5)
    with pytest.raises(InvalidInput, match=r"sequences = 513 given, but .* keeps 512 predictions in place of the"):
        llc.joint_pca(thinned, sequences=513)


@pytest.mark.parametrize("shape", [(300, 40), (40, 300)])
def test_out_of_core_equals_in_core_equals_a_dense_svd(shape):
    """Rows far from the origin, in pieces of unequal size; float64 throughout, up to the sign convention."""
    rng = np.random.default_rng(0)
    rows = 100 + rng.normal(size=shape) * np.geomspace(3, 0.03, shape[1])
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


@pytest.mark.parametrize("in_memory", [2**26, 0])
@pytest.mark.parametrize("shape", [(300, 40), (40, 300)])
def test_weights_count_rows_as_often(shape, in_memory):
    """A piece of weight three is the same as that piece three times."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=shape) * np.geomspace(3, 0.03, shape[1])
    pieces = [rows[:10], rows[10:]]
    weighted = principal.fit(lambda: pieces, shape, 3, weights=[3, 1], in_memory=in_memory)
    repeated = PCA(3, svd_solver="full").fit(np.concatenate([rows[:10]] * 3 + [rows[10:]]))
    np.testing.assert_allclose(weighted.mean, repeated.mean_, atol=1e-12)
    np.testing.assert_allclose(weighted.explained_variance_ratio, repeated.explained_variance_ratio_, rtol=1e-8)
    np.testing.assert_allclose(np.abs((weighted.axes * repeated.components_).sum(1)), 1, atol=1e-9)


def test_runs_may_count_alike(own):
    """One run with fewer checkpoints: by checkpoint it counts less, by run as much as the others."""
    run = own.run(num_tasks=1)
    for step in run.steps[3:]:
        (run.checkpoints / f"{step:06d}.safetensors").unlink()
    rows = rows_of(own)
    counts = [len(run.steps) for run in own.runs]
    weights = np.concatenate([np.full(count, 1 / count) for count in counts])
    mean = np.average(rows, axis=0, weights=weights)
    _, sizes, right = np.linalg.svd((rows - mean) * np.sqrt(weights)[:, None], full_matrices=False)
    found = llc.joint_pca(own, 3, sequences=16, weighting="runs")
    np.testing.assert_allclose(found.explained_variance_ratio, (sizes**2 / (sizes**2).sum())[:3], rtol=1e-6)
    np.testing.assert_allclose(np.abs((found.loading.values.reshape(-1, 3).T * right[:3]).sum(1)), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["outputs", "weights"])
def test_other_features_are_analysed_alike(kind, own):
    rows = rows_of(own, 16, kind)
    alone = PCA(3, svd_solver="full").fit(rows)
    found = llc.joint_pca(own, 3, sequences=16, features=kind)
    np.testing.assert_allclose(found.explained_variance_ratio, alone.explained_variance_ratio_, rtol=1e-6)
    stored = found.score.squeeze("seed").stack(row=("num_tasks", "step")).transpose("row", "component").values
    np.testing.assert_allclose(np.abs(stored), np.abs(alone.transform(rows)), atol=1e-6)
    assert "score_reference" not in found
    assert found.loading.dims[:-1] == {"outputs": ("sequence", "token", "output"), "weights": ("parameter",)}[kind]


def test_predictions_are_among_the_outputs(finished):
    run = finished.run(num_tasks=4)
    outputs = make_features([run], "outputs", "own", 5)
    every = outputs.of(run, 60).reshape(outputs.shape)
    predictions = make_features([run], "predictions", "own", 5).of(run, 60).reshape(5, -1)
    np.testing.assert_allclose(every[:, ::2, 0], predictions, rtol=1e-5, atol=1e-6)


def test_probes_of_other_test_sets_and_of_the_users_own(own):
    task = own.run(num_tasks=4).task
    fresh = llc.joint_pca(own, 2, sequences=16, probe="ood")
    batch = task.with_num_tasks(None).sample(16, stream="probe")
    mine = llc.joint_pca(own, 2, probe=batch)
    np.testing.assert_allclose(fresh.score, mine.score, atol=1e-8)
    assert not np.allclose(fresh.score, llc.joint_pca(own, 2, sequences=16).score)
    (xs, ys), _ = batch
    with pytest.raises(InvalidInput, match=r"a probe of shapes \(B, …\) \[\(2, 2\), \(2,\), \(2,\)\] given"):
        llc.joint_pca(own, 2, probe=Batch((xs[:, :2, :2], ys[:, :2]), ys[:, :2]))
    with pytest.raises(InvalidInput, match=r"unknown probe odd; did you mean ood\?"):
        llc.joint_pca(own, 2, probe="odd")


def test_runs_left_out_of_the_fit_are_projected(own):
    found = llc.joint_pca(own, 2, sequences=16, fit={"num_tasks": [1, 4]})
    features = rows_of(own)
    each = len(own.run(num_tasks=1).steps)
    alone = PCA(2, svd_solver="full").fit(features[: 2 * each])
    stored = found.score.squeeze("seed").stack(row=("num_tasks", "step")).transpose("row", "component").values
    np.testing.assert_allclose(np.abs(stored), np.abs(alone.transform(features)), atol=1e-6)
    with pytest.raises(InvalidInput, match="fit to num_tasks = 7 asked for, but there is no such run; here: 1, 4, ∞"):
        llc.joint_pca(own, 2, fit={"num_tasks": [7]})
    with pytest.raises(InvalidInput, match=r"fit to num_task asked for, which is no axis.*did you mean num_tasks\?"):
        llc.joint_pca(own, 2, fit={"num_task": [1]})


def test_another_experiment_is_projected_into_the_same_plane(finished):
    again = project(finished.pca, finished)
    np.testing.assert_allclose(again.score, finished.pca.score, atol=1e-5)


def test_random_walks_reach_what_their_rows_give():
    """The inner-product form equals a PCA of walks that are really made, sign by sign."""
    rng = np.random.default_rng(0)
    runs = [rng.normal(size=(9, 30)).cumsum(0), rng.normal(size=(6, 30)).cumsum(0)]
    found = random_walk_variances(runs, 3, walks=4, seed=5)
    signs = np.random.default_rng(5)
    for walk in range(4):
        chosen = signs.choice([-1.0, 1.0], 13)
        made = []
        for rows, of_run in zip(runs, (chosen[:8], chosen[8:]), strict=True):
            made.append(np.concatenate([rows[:1], rows[0] + (of_run[:, None] * np.diff(rows, axis=0)).cumsum(0)]))
        expected = PCA(3, svd_solver="full").fit(np.concatenate(made)).explained_variance_ratio_
        np.testing.assert_allclose(found[walk], expected, rtol=1e-9)


def test_a_walk_in_many_dimensions_has_the_known_shares():
    """6/(π² k²) of the variance along component k (Antognini & Sohl-Dickstein 2018)."""
    rows = np.random.default_rng(0).normal(size=(400, 4000)).cumsum(0)
    found = random_walk_variances([rows], 3, walks=2).mean(0)
    np.testing.assert_allclose(found, 6 / (np.pi * np.arange(1, 4)) ** 2, rtol=0.05)


def test_robustness_is_an_angle_between_subspaces(own):
    table = pca_robustness(own, sequences=(8, 64), every=(1, 2))
    assert table["changed"].tolist() == ["sequences", "every", "every"]
    same = table[(table.changed == "every") & (table.to == 1)]
    assert float(same.angle_1.iloc[0]) < 1e-3
    fewer = table[table.changed == "sequences"]
    assert 0 < float(fewer.angle_1.iloc[0]) < 45


def test_no_scratch_is_left(finished, own):
    llc.joint_pca(own, components=2, sequences=16)
    assert not list(own.path.rglob("*.llc-part"))


def test_labels(finished):
    pca = finished.pca
    assert pca.score.dims == ("num_tasks", "seed", "step", "component")
    assert pca.loading.dims == ("sequence", "position", "component")
    assert pca.score_reference.dims == ("num_tasks", "seed", "reference", "component")


def test_the_same_analysis_again_does_nothing(own):
    before = (own.path / "pca.nc").stat().st_mtime_ns
    said = []
    llc.joint_pca(own, sequences=16, progress=lambda *message: said.append(message[-1]))
    assert "nothing to do" in said[0]
    assert (own.path / "pca.nc").stat().st_mtime_ns == before
    assert llc.joint_pca(own, 2, sequences=16).sizes["component"] == 2


def test_seeds_share_the_references(tmp_path):
    config = small_config(**{"sweep.axes": {"task.num_tasks": [2, "inf"], "seed": [0, 1]}})
    experiment = llc.train(config, tmp_path / "seeds", jobs=1)
    pca = llc.joint_pca(experiment, sequences=8)
    assert (pca.score_reference.isel(seed=0) == pca.score_reference.isel(seed=1)).all()
    assert dict(pca.score.sizes) == {"num_tasks": 2, "seed": 2, "step": 9, "component": 4}
    assert pca.score.notnull().all()
    spec = figures.trajectories(pca)
    (diamond,) = {
        (float(mark.x[0]), float(mark.y[0]))
        for mark in spec.panels[0].marks
        if mark.shape == "diamond" and mark.hover[0].startswith("dMMSE_M, M = 2")
    }
    point = pca.score_reference.sel(num_tasks=2, seed=0, reference="dmmse")[:2]
    np.testing.assert_allclose(diamond, point, atol=1e-5)


def test_bad_input_is_named(finished):
    with pytest.raises(InvalidInput, match="components = 0 given, expected a whole number from 1 up"):
        llc.joint_pca(finished, 0)
    with pytest.raises(InvalidInput, match="sequences = 0 given"):
        llc.joint_pca(finished, sequences=0)
    with pytest.raises(InvalidInput, match="not finite"):
        principal.fit(lambda: [np.full((5, 5), np.nan)], (5, 5), 2)
