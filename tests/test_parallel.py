"""Units of work in pools and on a cluster: results, lost workers, Ctrl-C."""

import pickle
import signal
import subprocess
import sys
import time

import pytest
from conftest import POSIX, SMALL_LLC, small_config
from test_training import assert_same_runs
from units import die_always, die_once, square

import llc
from llc import parallel
from llc.errors import InvalidInput, UntrustedCode
from llc.parallel import WorkerLost, run_units


@pytest.fixture(scope="module")
def scheduler():
    """A cluster of two single-threaded workers; its address."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", worker_dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def scheduler_here():
    """One whose only worker is a thread of this process, which is there at once."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def results(outcomes) -> list:
    return [outcome.result for outcome in sorted(outcomes, key=lambda outcome: outcome.index)]


def test_results_and_reports_are_the_same_however_units_are_spread(scheduler_here):
    """One unit's error is its own."""
    for how in ({"jobs": 1}, {"jobs": 2}, {"jobs": 1, "scheduler": scheduler_here}):
        said = []
        found = run_units(square, [(n,) for n in range(5)], progress=lambda *m, said=said: said.append(m), **how)
        outcomes = {outcome.index: outcome for outcome in found}
        assert [outcomes[n].result for n in (0, 1, 2, 4)] == [0, 1, 4, 16]
        assert str(outcomes[3].error) == "three given"
        deadline = time.monotonic() + 5  # messages of a cluster come by another way than its results
        while len(said) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sorted(name for name, *_ in said) == [f"unit {n}" for n in range(5)]


def errors_of(kind: type) -> set[type]:
    return {kind}.union(*map(errors_of, kind.__subclasses__()))


def test_every_error_of_ours_can_be_sent_by_a_worker():
    """One that could not would end the pool, as a worker that was killed does."""
    with pytest.raises(InvalidInput) as refused:
        llc.estimate.SamplingConfig(draws=1)
    said = [kind("what is wrong") for kind in errors_of(llc.LLCError) - {UntrustedCode}]
    for error in [refused.value, UntrustedCode("a.py:f", "--model"), *said]:
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
    assert str(refused.value) == "draws = 1 given, expected greater than or equal to 8"


def test_a_lost_workers_units_run_again_in_another_pool(tmp_path):
    said = []
    outcomes = run_units(die_once, [(tmp_path, n) for n in range(6)], jobs=2, progress=lambda *m: said.append(m[-1]))
    assert results(list(outcomes)) == list(range(6))
    assert "a worker process was lost (1 so far)" in said[0]


@pytest.mark.slow
def test_a_lost_workers_units_run_again_on_a_cluster(tmp_path, scheduler):
    said = []
    outcomes = run_units(
        die_once, [(tmp_path, n) for n in range(6)], jobs=1, scheduler=scheduler, progress=lambda *m: said.append(m[-1])
    )
    assert results(list(outcomes)) == list(range(6))
    assert "ran again after their workers were lost" in said[-1]


@POSIX
def test_workers_killed_while_they_report_leave_the_line_free_and_whole():
    """Twenty processes that only say how far they are and look at the flag, each killed at an arbitrary instant.

    After its first report was heard: on a busy machine one may need longer than any wait to come to it.
    """
    code = """
import multiprocessing, os, random, signal, time
from llc.parallel.shared import Flag, listening

heard = []
spawn = multiprocessing.get_context("spawn")
stop = Flag(spawn)
with listening(spawn, lambda *message: heard.append(message)) as line:
    for number in range(20):
        child = os.fork()
        if child == 0:
            while not stop.is_set():
                line.send(f"unit {number}", 1, 2, "x" * 10_000)
        given_up = time.monotonic() + 60
        while (not heard or heard[-1][0] != f"unit {number}") and time.monotonic() < given_up:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    stop.set()
    line.send("last", 1, 1, "heard")
assert heard[-1] == ("last", 1, 1, "heard")
assert all(3000 < len(note) < 4096 for *_, note in heard[:-1])
print({name for name, *_ in heard} == {"last", *(f"unit {n}" for n in range(20))})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "True\n"


def test_what_a_report_raises_is_raised_once_the_work_is_done():
    def progress(*_message) -> None:
        raise ValueError("progress")

    outcomes = run_units(square, [(n,) for n in range(3)], jobs=2, progress=progress)
    assert results(next(outcomes) for _ in range(3)) == [0, 1, 4]
    with pytest.raises(ValueError, match="progress"):
        next(outcomes)


@pytest.mark.parametrize(
    ("asked", "units", "expected"), [(None, 1, 8), ("2", 1, 2), ("2", 8, 1), ("16", 2, 4), ("3,1", 1, 3), ("no", 1, 8)]
)
def test_threads_are_no_more_than_asked_for(asked, units, expected, monkeypatch):
    """A share of eight cores; a single small run on all of them waits for itself where others work too."""
    monkeypatch.setattr("llc.parallel.units.available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert parallel.default_threads(units) == expected


def test_a_unit_that_always_loses_its_worker_is_given_up(monkeypatch):
    monkeypatch.setattr("llc.parallel.pools._MOST_IDLE_LOSSES", 2)
    with pytest.raises(WorkerLost, match="2 worker processes in a row ended unexpectedly"):
        list(run_units(die_always, [()], jobs=2))


@pytest.mark.slow
def test_a_sweep_on_a_cluster_equals_one_on_this_machine(finished, own, tmp_path, scheduler):
    """Training and estimates, of which two are made again: the same bits."""
    experiment = llc.train(small_config(), tmp_path / "spread", scheduler=scheduler)
    for ours, theirs in zip(experiment.runs, finished.runs, strict=True):
        assert_same_runs(ours, theirs)
    for path in [own.path / "llc.nc", *sorted(own.path.glob("*/llc/*/000020.nc"))[:2]]:
        path.unlink()
    found = llc.estimate_llc_over_training(own, steps="20", scheduler=scheduler, **SMALL_LLC)
    assert found.drop_attrs().identical(finished.llc.drop_attrs())


def test_workers_that_share_a_process_are_refused():
    """Each would set the other's threads, and leave this process with its own way to be stopped."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        pytest.raises(InvalidInput, match="2 workers are threads of one process, expected a process each"),
    ):
        list(run_units(square, [(1,)], jobs=1, scheduler=cluster.scheduler_address))


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr("llc.parallel.cluster._PATIENCE_SECONDS", 1)
    with pytest.raises(InvalidInput, match=r"scheduler = tcp://127.0.0.1:9 given, but none answers there"):
        list(run_units(square, [(1,)], jobs=1, scheduler="tcp://127.0.0.1:9"))


def test_workers_with_several_threads_and_schedulers_without_workers_are_refused():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
    ) as cluster:
        with pytest.raises(InvalidInput, match="1 of the 1 workers run several threads, expected one each"):
            list(run_units(square, [(1,)], jobs=1, scheduler=cluster.scheduler.address))
        cluster.scale(0)
        deadline = time.monotonic() + 10
        while cluster.scheduler.workers and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(InvalidInput, match="has no workers; start some with: dask worker"):
            list(run_units(square, [(1,)], jobs=1, scheduler=cluster.scheduler.address))


@pytest.mark.slow
def test_ctrl_c_reaches_the_workers_of_a_cluster(tmp_path, scheduler):
    """Training stops at a saved state, the command says so, and the same call goes on to the same end."""
    config = small_config(**{"training.steps": 4000, "checkpoints.every": 1000})
    script = tmp_path / "sweep.py"
    script.write_text(
        f"""
import llc
from llc.training import ExperimentConfig
if __name__ == "__main__":
    try:
        config = ExperimentConfig.from_table({config.to_table()!r})
        llc.train(config, {str(tmp_path / "runs")!r}, scheduler={scheduler!r})
    except llc.errors.Interrupted:
        print("stopped", flush=True)
"""
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as victim:
        while len(list((tmp_path / "runs").glob("*/checkpoints/*.safetensors"))) < 12:
            assert victim.poll() is None
            time.sleep(0.01)
        victim.send_signal(signal.SIGINT)
        assert victim.stdout.read() == "stopped\n"
    stopped = llc.open(tmp_path / "runs")
    assert any((run.path / "resume.pt").exists() for run in stopped.runs)
    assert not stopped.finished


def test_check_interrupt_looks_at_what_it_is_given():
    class Raised:
        def is_set(self) -> bool:
            return True

    assert not parallel.check_interrupt()
    with parallel.stopping_with(Raised()):
        assert parallel.check_interrupt()
    assert not parallel.check_interrupt()
