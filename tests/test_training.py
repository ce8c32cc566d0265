import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from conftest import POSIX, SMALL_LLC, small_config
from parts import part_of, start

import llc
from llc import behaviour, development
from llc.development import NothingToStage
from llc.errors import Interrupted, StoreError
from llc.parallel import quiet
from llc.study import over_training
from llc.training import RunConfig, TrainingDiverged, TrainingFailed, checkpoint_steps, loop, train_run, weight_steps


def train_and_save_always(folder: Path, config: RunConfig) -> None:
    torch.set_num_threads(1)
    loop.SAVE_EVERY_SECONDS = 0.0
    train_run(folder, config)


def run_config(**settings) -> RunConfig:
    return small_config(**settings).runs()[1]


def all_weights(run: llc.Run) -> dict[int, dict[str, torch.Tensor]]:
    return {step: run.weights(step) for step in run.steps}


def assert_same_runs(first: llc.Run, second: llc.Run) -> None:
    ours, theirs = all_weights(first), all_weights(second)
    assert ours.keys() == theirs.keys()
    for step, weights in ours.items():
        for name, value in weights.items():
            assert torch.equal(value, theirs[step][name]), (step, name)
    assert first.metrics.drop_attrs().identical(second.metrics.drop_attrs())


def test_checkpoints_lie_on_the_grid(finished):
    for run in finished.runs:
        assert run.steps == checkpoint_steps(RunConfig.from_table(run.config))
        assert run.finished


def test_a_sweep_grows_by_further_diversities_and_seeds(finished, tmp_path):
    """Runs that are there stay as they are; the new ones are those of a sweep that had them from the beginning."""
    there = part_of(finished, tmp_path / "grown", 4)
    estimates = there.llc.load()
    before = {run.name: (run.path / "metrics.nc").stat().st_mtime_ns for run in there.runs}
    larger = small_config(**{"sweep.axes": {"task.num_tasks": [2, 4], "seed": [0, 1]}})
    with pytest.raises(StoreError, match=r"sweep.axes.task.num_tasks: \[4\] there, \[1, 2\] now"):
        llc.train(small_config(**{"sweep.axes": {"task.num_tasks": [1, 2]}}), there.path, jobs=1)
    grown = llc.train(larger, there.path, jobs=1)
    assert len(grown.runs) == 4
    assert grown.finished
    assert before == {name: (there.path / name / "metrics.nc").stat().st_mtime_ns for name in before}
    assert grown.metrics.num_tasks.values.tolist() == [2, 4]
    assert grown.metrics.loss.sel(test_set="ood").notnull().all()
    assert grown.llc.llc.equals(estimates.llc)  # estimates stay too
    fresh = llc.train(small_config(**{"sweep.axes": {"task.num_tasks": [2, 4]}}), tmp_path / "x", together=2, jobs=1)
    assert_same_runs(grown.run(num_tasks=2, seed=0), fresh.run(num_tasks=2))


def test_a_sweep_that_grew_and_was_stopped_is_not_finished(own):
    llc.store.extend_sweep(
        own.path, small_config(**{"sweep.axes": {"task.num_tasks": [1, 2, 4, "inf"]}}).to_table(), {}
    )
    again = llc.open(own.path)
    assert not again.finished
    assert "num_tasks=2,seed=0: not begun" in llc.store.describe(again)
    assert again.metrics.num_tasks.values.tolist() == [1, 4, np.inf]  # of the runs there are
    assert f"pca.nc lacks num_tasks=2,seed=0; make it again with: llc pca {own.path}" in llc.store.describe(again)


@pytest.mark.slow
def test_what_was_made_before_a_sweep_grew_is_made_again_by_the_same_commands(own, monkeypatch):
    """The study keeps the γ that was chosen for it."""
    monkeypatch.setattr(over_training, "settle", partial(over_training.settle, budget=100))
    settings = {name: value for name, value in SMALL_LLC.items() if name not in {"nbeta", "radius"}}
    first = llc.estimate_llc_over_training(own, steps="last", overwrite=True, **settings)
    grown = llc.train(small_config(**{"sweep.axes": {"task.num_tasks": [1, 2, 4, "inf"]}}), own.path, jobs=1)
    second = llc.estimate_llc_over_training(grown, steps="last", **settings)
    with pytest.raises(NothingToStage, match=r"num_tasks=2,seed=0: . of 1 estimates may be compared, expected 6"):
        development.find_stages(grown)  # whose pca.nc does not know M = 2
    assert second.num_tasks.values.tolist() == [1, 2, 4, np.inf]
    assert second.llc.sel(num_tasks=[1, 4, np.inf]).equals(first.llc)
    assert llc.joint_pca(grown, sequences=16).num_tasks.values.tolist() == [1, 2, 4, np.inf]
    assert "lacks" not in llc.store.describe(grown)


def test_step_zero_is_the_initialisation(finished):
    config = RunConfig.from_table(finished.run(num_tasks=4).config)
    initial = llc.models.build(config.model, config.task, config.seed).state_dict()
    stored = finished.run(num_tasks=4).weights(0)
    assert all(torch.equal(stored[name], value) for name, value in initial.items())


def test_the_loop_is_adam_on_the_tasks_batches(finished):
    """The first twenty steps written out by hand, with PyTorch's own Adam (unfused), agree to float32 rounding."""
    run = finished.run(num_tasks=4)
    config = RunConfig.from_table(run.config)
    model = llc.models.build(config.model, config.task, config.seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.999), fused=False, foreach=False)
    for step in range(20):
        xs, ys = config.task.sample(config.training.batch_size, step=step, stream=("train", 0)).inputs
        optimiser.param_groups[0]["lr"] = 5e-3 * min(1, (step + 1) / 10)
        optimiser.zero_grad()
        ((model(xs, ys) - ys) ** 2).mean().backward()
        optimiser.step()
    for name, value in run.weights(20).items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_plain_gradient_descent_is_weights_less_rate_times_gradient(tmp_path):
    """Twenty steps by hand, of runs that are trained together and of one that is trained alone."""
    settings = {"training.optimiser": "sgd", "training.steps": 20, "checkpoints.every": 20}
    both = llc.train(small_config(**settings, **{"sweep.axes": {"task.num_tasks": [1, 4]}}), tmp_path / "both", jobs=1)
    alone = llc.train(small_config(**settings, **{"sweep.axes": {"task.num_tasks": [4]}}), tmp_path / "alone", jobs=1)
    for run in (*both.runs, *alone.runs):
        config = RunConfig.from_table(run.config)
        model = llc.models.build(config.model, config.task, config.seed)
        for step in range(20):
            xs, ys = config.task.sample(config.training.batch_size, step=step, stream=("train", 0)).inputs
            gradients = torch.autograd.grad(((model(xs, ys) - ys) ** 2).mean(), list(model.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                    parameter.sub_(5e-3 * min(1, (step + 1) / 10) * gradient)
        for name, value in run.weights(20).items():
            torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_training_learns(finished):
    loss = finished.metrics.loss.sel(test_set="id").mean("position").sel(seed=0)
    assert (loss.isel(step=-1) < loss.isel(step=0)).all()


def test_metrics_are_what_the_checkpoints_do(finished):
    """Recomputed from the stored weights in float64, literally from the definitions."""
    run = finished.run(num_tasks=4)
    config = RunConfig.from_table(run.config)
    task = config.task
    for name, source in {
        "id": task,
        "ood": task.with_num_tasks(None),
        "root": task.with_num_tasks(1),
    }.items():
        xs, ys = source.sample(32, stream="test").inputs
        model = run.model(60)
        with torch.no_grad():
            predictions = model(xs, ys).double()
        ridge = llc.predictors.ridge(xs, ys, noise_variance=task.noise_variance).double()
        dmmse = llc.predictors.dmmse(xs, ys, tasks=task.tasks, noise_variance=task.noise_variance).double()
        at_end = run.metrics.sel(num_tasks=4, seed=0, step=60, test_set=name)
        references = {"ridge": ridge, "dmmse": dmmse, "zero": torch.zeros_like(ridge)}
        expected = [(at_end.loss, predictions - ys)]
        for reference, said in references.items():
            expected.append((at_end.distance.sel(reference=reference), predictions - said))
            expected.append((at_end.reference_loss.sel(reference=reference), said - ys))
        for found, difference in expected:
            np.testing.assert_allclose(found, difference.square().mean(0).numpy(), rtol=1e-6)
    norm = sum(float(value.double().square().sum()) for value in run.weights(60).values()) ** 0.5
    assert float(at_end.weight_norm) == pytest.approx(norm)


def test_paired_rise_and_its_error(finished):
    run = finished.run(num_tasks=4)
    task = run.task
    test = behaviour.eval_sets(task, 500)["ood"]
    early, late = run.model(0), run.model(60)
    rise, error = behaviour.paired_rise(early, late, test)
    with torch.no_grad():
        loss = behaviour.TaskLoss(task)
        change = loss(late, test.batch) - loss(early, test.batch)
    assert rise == pytest.approx(float(change.mean()), rel=1e-4)
    assert error == pytest.approx(float(change.std()) / 500**0.5, rel=1e-4)


def test_critical_step_is_where_ood_loss_is_smallest(finished):
    metrics = finished.run(num_tasks=1).metrics.squeeze()
    loss = metrics.loss.sel(test_set="ood").mean("position")
    assert int(metrics.step_critical) == int(loss.step[np.argmin(loss.values)])
    assert float(metrics.rise) == pytest.approx(float(loss[-1] - loss.min()), rel=1e-5)


def test_the_same_ood_and_root_sets_serve_every_diversity(finished):
    metrics = finished.metrics
    for reference, name in (("ridge", "ood"), ("zero", "ood"), ("zero", "root")):
        known = metrics.reference_loss.sel(reference=reference, test_set=name)
        assert (known == known.isel(num_tasks=0)).all()
    # The reference of q_∞ is ridge itself.
    infinite = metrics.distance.sel(num_tasks=np.inf, test_set="id")
    assert (infinite.sel(reference="dmmse") == infinite.sel(reference="ridge")).all()


def test_training_again_does_nothing(own):
    before = {path: path.stat().st_mtime_ns for path in own.path.rglob("*.nc")}
    said = []
    llc.train(small_config(), own.path, progress=lambda *message: said.append(message[-1]))
    assert before == {path: path.stat().st_mtime_ns for path in own.path.rglob("*.nc")}
    assert "nothing to do" in said[0]


def test_a_folder_of_another_config_is_refused(own):
    with pytest.raises(StoreError, match=r"training.steps: 60 there, 61 now"):
        llc.train(small_config(**{"training.steps": 61}), own.path)


@pytest.mark.slow
def test_side_by_side_equals_one_by_one(finished, tmp_path):
    together = llc.train(small_config(), tmp_path / "two", jobs=2)
    for ours, theirs in zip(finished.runs, together.runs, strict=True):
        assert_same_runs(ours, theirs)
    assert finished.metrics.drop_attrs().identical(together.metrics.drop_attrs())


def test_a_stop_is_saved_and_resumed_to_the_same_bits(tmp_path, monkeypatch):
    config = run_config()
    with llc.parallel.torch_threads(1):
        train_run(tmp_path / "straight" / "run", config)
        asked = iter([False] * 33 + [True])
        monkeypatch.setattr(loop, "check_interrupt", lambda: next(asked))
        with pytest.raises(Interrupted, match="stopped at step 33"):
            train_run(tmp_path / "stopped" / "run", config)
        monkeypatch.undo()
        train_run(tmp_path / "stopped" / "run", config)
    assert_same_runs(llc.Run(tmp_path / "straight" / "run"), llc.Run(tmp_path / "stopped" / "run"))


@pytest.mark.parametrize("checkpoints", [1, pytest.param(9, marks=pytest.mark.slow)])
@POSIX
def test_a_killed_run_ends_with_the_same_bits(tmp_path, checkpoints):
    """SIGKILL once so many checkpoints are there, start again: every weight and metric is bit-identical."""
    config = run_config(**{"training.steps": 80, "checkpoints.every": 10})
    with llc.parallel.torch_threads(1):
        train_run(tmp_path / "straight" / "run", config)
    folder = tmp_path / "killed"
    victim = start(train_and_save_always, folder / "run", config)
    while len(list(folder.glob("run/checkpoints/*.safetensors"))) < checkpoints:
        assert victim.is_alive()
        time.sleep(0.005)
    victim.kill()
    victim.join()
    assert not llc.Run(folder / "run").finished
    with llc.parallel.torch_threads(1):
        train_run(folder / "run", config)
    assert_same_runs(llc.Run(tmp_path / "straight" / "run"), llc.Run(folder / "run"))


@pytest.mark.slow
@POSIX
def test_a_killed_sweep_takes_its_workers_along_and_ends_with_the_same_bits(tmp_path):
    """SIGKILL of the parent of two workers: they end at once, free the folder, and the same call goes on."""
    few = {"training.steps": 100, "checkpoints.every": 10, "sweep.axes": {"task.num_tasks": [1, 4]}}
    config = small_config(**few)
    code = f"""
import llc
from llc.training import ExperimentConfig
if __name__ == "__main__":
    llc.train(ExperimentConfig.from_table({config.to_table()!r}), {str(tmp_path / "killed")!r}, jobs=2)
"""
    script = tmp_path / "sweep.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script)])
    while len(list((tmp_path / "killed").glob("*/checkpoints/*.safetensors"))) < 6:
        assert parent.poll() is None
        time.sleep(0.01)
    started = psutil.Process(parent.pid).children(recursive=True)  # a server of processes and what it has forked
    workers = [each for each in started if not each.children() and "resource_tracker" not in " ".join(each.cmdline())]
    assert len(workers) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, still_there = psutil.wait_procs(workers, timeout=10)
    assert not still_there
    assert not llc.open(tmp_path / "killed").finished
    again = llc.train(config, tmp_path / "killed", jobs=1)
    straight = llc.train(config, tmp_path / "straight", jobs=1)
    for ours, theirs in zip(again.runs, straight.runs, strict=True):
        assert_same_runs(ours, theirs)


@pytest.mark.parametrize("lost", ["checkpoints/000020.safetensors", "metrics.nc", "checkpoints/000060.safetensors"])
def test_a_file_that_was_deleted_is_made_again(own, finished, lost):
    """What the error about a damaged file advises: delete it and run the same command again."""
    (own.run(num_tasks=4).path / lost).unlink()
    assert not own.run(num_tasks=4).finished
    llc.train(small_config(), own.path, jobs=1)
    assert own.run(num_tasks=4).finished
    assert_same_runs(own.run(num_tasks=4), finished.run(num_tasks=4))


def test_a_damaged_state_is_named(tmp_path, monkeypatch):
    config = run_config()
    asked = iter([False] * 33 + [True])
    monkeypatch.setattr(loop, "check_interrupt", lambda: next(asked))
    with pytest.raises(Interrupted):
        train_run(tmp_path / "run", config)
    monkeypatch.undo()
    state = tmp_path / "run" / "resume.pt"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(StoreError, match=r"resume.pt is damaged .* delete it to train this run again"):
        train_run(tmp_path / "run", config)
    state.unlink()
    train_run(tmp_path / "run", config)
    assert llc.Run(tmp_path / "run").finished


def test_thinned_weights_are_the_grid_and_the_best(tmp_path, monkeypatch):
    """Behaviour at all steps, weights at every fifth, the last and t_crit; stopped and resumed at many places."""
    settings = {"checkpoints.every": 5, "training.learning_rate": 0.05, "training.steps": 100}
    dense, thin = run_config(**settings), run_config(**settings, **{"checkpoints.weights_every": 5})
    with llc.parallel.torch_threads(1):
        train_run(tmp_path / "dense" / "run", dense)
        for stop in (0, 1, 20, 20, 20):
            asked = iter([False] * stop + [True])
            monkeypatch.setattr(loop, "check_interrupt", lambda asked=asked: next(asked))
            with pytest.raises(Interrupted):
                train_run(tmp_path / "thin" / "run", thin)
        monkeypatch.undo()
        train_run(tmp_path / "thin" / "run", thin)
    dense_run, thin_run = llc.Run(tmp_path / "dense" / "run"), llc.Run(tmp_path / "thin" / "run")
    critical = int(thin_run.metrics.step_critical.item())
    assert critical not in weight_steps(thin), "choose settings whose best step is off the grid"
    assert thin_run.steps == sorted({*weight_steps(thin), critical})
    assert thin_run.recorded_steps == dense_run.steps == checkpoint_steps(thin)
    assert thin_run.metrics.drop_attrs().identical(dense_run.metrics.drop_attrs())
    for step in thin_run.steps:
        assert all(torch.equal(value, dense_run.weights(step)[name]) for name, value in thin_run.weights(step).items())
    probe = thin.task.probe()
    for step in set(thin_run.recorded_steps) - set(weight_steps(thin)):
        expected = behaviour.predict(dense_run.model(step), probe)
        assert torch.equal(thin_run.predictions(step), expected)


def test_a_lost_file_of_a_thinned_run_is_made_again(tmp_path):
    config = run_config(**{"checkpoints.weights_every": 3, "training.steps": 20, "checkpoints.every": 10})
    train_run(tmp_path / "thin", config)
    run = llc.Run(tmp_path / "thin")
    steps = run.steps
    for folder, step in (("checkpoints", steps[0]), ("predictions", (set(run.recorded_steps) - set(steps)).pop())):
        lost = run.path / folder / f"{step:06d}.safetensors"
        lost.unlink()
        assert not run.finished
        train_run(run.path, config)
        assert run.finished
        assert lost.exists()
        assert run.steps == steps


def test_divergence_is_named_and_spares_the_other_runs(tmp_path):
    config = small_config(**{"training.learning_rate": 1e30, "training.warmup_steps": 0})
    with pytest.raises(TrainingFailed, match=r"3 of 3 runs failed: num_tasks=1,seed=0, .* not finite at step"):
        llc.train(config, tmp_path / "hot", jobs=1)
    with pytest.raises(TrainingDiverged):
        train_run(tmp_path / "alone", config.runs()[0], progress=quiet)
