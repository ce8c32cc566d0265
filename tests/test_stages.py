"""Stages and tradeoff of an experiment whose λ̂(t) is made up."""

import sys

import numpy as np
import pytest
from click.testing import CliRunner
from made_up import make_up

import llc
from llc import store
from llc.cli import main
from llc.development import find_stages, stage_rows, tradeoff
from llc.development.critical import critical_step, critical_step_of
from llc.development.stages import NothingToStage, _even_places
from llc.errors import InvalidInput, StoreError
from llc.extras import MissingExtra


def test_stages_of_every_run(own):
    make_up(own)
    found = find_stages(own, resamples=50)
    table = stage_rows(found)
    for m in (1, 4, np.inf):
        of_run = table[m == table.num_tasks]
        assert of_run["type"].tolist() == ["A", "B", "A"]
        assert (of_run.delta_loss < 0).all()
        boundaries = found.boundary_step.sel(num_tasks=m, seed=0, curve="llc", found_by="turns").dropna("boundary")
        np.testing.assert_allclose(of_run.end.iloc[:2], boundaries)
        # d/du = 0 where cos(1.9u) = −3/11.4
        true = np.expm1(np.array([np.arccos(-3 / 11.4), 2 * np.pi - np.arccos(-3 / 11.4)]) / 1.9)
        low = found.boundary_low.sel(num_tasks=m, seed=0, curve="llc", found_by="turns").values[:2]
        high = found.boundary_high.sel(num_tasks=m, seed=0, curve="llc", found_by="turns").values[:2]
        assert (np.log(low / true) < 0.2).all()
        assert (np.log(high / true) > -0.2).all()
    assert (found.step_critical_low <= found.step_critical).all()
    assert (found.step_critical <= found.step_critical_high).all()
    assert set(found.curve.values) == {"llc", "loss", "pc1", "pc2"}
    assert (found.left_out == "").all()
    again = llc.open(own.path).stages
    np.testing.assert_array_equal(again.boundary_step, found.boundary_step)


def test_without_ruptures_there_are_stages_by_turns(own, monkeypatch):
    make_up(own)
    both = find_stages(own, resamples=20)
    monkeypatch.setitem(sys.modules, "ruptures", None)
    monkeypatch.delitem(sys.modules, "llc.development.weighted_lines")
    said = []
    found = find_stages(own, resamples=20, progress=lambda *told: said.append(told[3]))
    assert any("changes of slope are left out" in note and "[study]" in note for note in said)
    assert stage_rows(found).equals(stage_rows(both))
    assert found.sel(found_by="trend").boundary_step.isnull().all()
    with pytest.raises(MissingExtra, match="needs ruptures"):
        find_stages(own, method="trend", resamples=20)


def test_what_may_not_be_believed_makes_no_stage(own):
    make_up(own, verdict="drifting")
    with pytest.raises(NothingToStage, match=r"num_tasks=1,seed=0: 0 of 9 estimates may be compared, expected 6"):
        find_stages(own, resamples=50)


def test_the_step_of_the_smallest_loss_is_as_sure_as_its_test_set(own):
    """Losses that differ by far less than their spread: paired over sequences, still told apart."""
    rng = np.random.default_rng(0)
    common = 5 * rng.standard_normal(400)
    steps = np.arange(20)
    losses = np.stack([4 + common + 0.02 * (step - 12) ** 2 + 0.1 * rng.standard_normal(400) for step in steps])
    found = critical_step_of(steps, losses, resamples=500, seed=0)
    assert found.step == 12
    assert 11 <= found.low <= 12 <= found.high <= 13
    assert not found.is_last
    run = own.run(num_tasks=4)
    of_run = critical_step(run, resamples=100)
    assert of_run.step == run.metrics.step_critical.item()


def test_the_tradeoff_of_every_finite_run(own):
    make_up(own)
    found = tradeoff(own)
    at = found.sel(num_tasks=4, seed=0)
    run = own.run(num_tasks=4)
    losses = own.metrics.sel(num_tasks=4, seed=0, test_set="id").reference_loss.mean("position")
    scale = run.task.num_examples / (2 * run.task.noise_variance)
    expected = scale * float(losses.sel(reference="dmmse") - losses.sel(reference="ridge"))
    assert float(at.delta_loss) == pytest.approx(expected, rel=1e-5)
    assert float(at.delta_loss_low) < float(at.delta_loss) < float(at.delta_loss_high)
    assert float(at.delta_llc) == pytest.approx(20, abs=0.5)
    assert float(at.llc_end - at.llc_simple) == pytest.approx(float(at.delta_llc))
    n, odds = found.samples.values, at.log_odds.values
    np.testing.assert_allclose(odds, n * float(at.delta_loss) + float(at.delta_llc) * np.log(n))
    turn = float(at.turn)
    assert np.interp(turn * 0.9, n, odds) > 0 > np.interp(turn * 1.1, n, odds)
    assert np.isnan(found.attrs["rank_correlation"])  # of two runs


def test_estimates_that_may_not_be_believed_are_left_out_with_their_reason(own):
    make_up(own)
    llc_data = own.llc.load()
    llc_data.verdict.loc[{"num_tasks": 4.0}] = "drifting"
    store.write_dataset(own.path / "llc.nc", llc_data, {})
    found = tradeoff(own).sel(seed=0)
    assert np.isnan(found.delta_llc.sel(num_tasks=4))
    assert "is drifting" in found.left_out.sel(num_tasks=4).item()
    assert np.isfinite(found.delta_llc.sel(num_tasks=1))


def test_what_is_missing_is_named_with_the_command_that_makes_it(own, tmp_path):
    make_up(own, drop=(np.inf,))
    with pytest.raises(StoreError, match="no estimate of a run that has ridge alone"):
        tradeoff(own)
    make_up(own, drop=(1.0, 4.0))
    with pytest.raises(StoreError, match="no estimate of a run in which ridge and dmmse differ"):
        tradeoff(own)
    (own.path / "llc.nc").unlink()
    for call in (find_stages, tradeoff):
        with pytest.raises(StoreError, match=r"no llc\.nc; make it with: llc estimate-llc"):
            call(own)
    make_up(own)
    with pytest.raises(InvalidInput, match=r"unknown reference rigde; did you mean ridge\?"):
        tradeoff(own, pair=("rigde", "dmmse"))
    with pytest.raises(InvalidInput, match=r"unknown method turn; did you mean turns\?"):
        find_stages(own, method="turn")


def test_the_command_prints_and_writes_tables(own, tmp_path):
    make_up(own)
    result = CliRunner().invoke(
        main,
        [
            "stages",
            str(own.path),
            "--resamples",
            "40",
            "--csv",
            str(tmp_path / "s.csv"),
            "--latex",
            str(tmp_path / "s.tex"),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "preferred from n" in result.output
    assert "no rank correlation" in result.output
    assert (tmp_path / "s.csv").read_text().startswith("num_tasks,seed,stage,start,end")
    assert r"\toprule" in (tmp_path / "s.tex").read_text()


def test_runs_with_different_numbers_of_stages(own):
    """What each has is kept; the others' places are empty."""
    make_up(own)
    made = own.llc.load()
    rising = np.linspace(5.0, 60.0, made.sizes["step"])
    made["llc"].loc[{"num_tasks": 4.0, "seed": 0}] = rising
    store.write_dataset(own.path / "llc.nc", made.drop_attrs(deep=False), {})
    found = find_stages(own, resamples=50)
    assert found.start.dims == ("num_tasks", "seed", "stage")
    assert found.left_out.dims == ("num_tasks", "seed")
    table = stage_rows(found)
    assert [len(table[m == table.num_tasks]) for m in (1, 4, np.inf)] == [3, 1, 3]
    assert table[table.num_tasks == 4].type.tolist() == ["A"]
    assert np.isnan(found.start.sel(num_tasks=4, seed=0, stage=2))
    assert found.type.sel(num_tasks=4, seed=0, stage=2) == ""


def test_long_curves_are_looked_at_in_even_places():
    steps = np.unique(np.concatenate([np.arange(0, 150_001, 100), np.geomspace(1, 150_000, 1000).round()]))
    places = _even_places(steps)
    assert 100 < len(places) <= 128
    assert places[0] == 0
    assert places[-1] == len(steps) - 1
    gaps = np.diff(np.log1p(steps[places]))
    assert gaps[20:].max() < 3 * np.log1p(steps[-1]) / 128  # the first few steps are farther apart than that
    assert _even_places(steps[:50]).tolist() == list(range(50))
