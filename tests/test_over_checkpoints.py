"""λ̂ over the checkpoints of anyone's training: forms of checkpoints, resuming, workers, what is refused."""

import functools
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from torch import nn

import llc
from llc import figures
from llc.cli import main
from llc.errors import EstimateFailed, Interrupted, InvalidInput, StoreError
from llc.sampling import SAMPLERS

D = 3
XS = torch.randn(60, D, generator=torch.Generator().manual_seed(0))
YS = XS.sum(1)
SHORT = {"nbeta": 15.0, "gamma": 1.0, "draws": 20, "chains": 1, "seed": 2}


def squared(model, batch):
    return 0.5 * (model(batch[0])[:, 0] - batch[1]) ** 2


def net(scale=1.0):
    model = nn.Linear(D, 1, bias=False)
    nn.init.constant_(model.weight, scale)
    return model


class Tripled(nn.Linear):
    """Weights of the same names and shapes, another function."""

    def __init__(self):
        super().__init__(D, 1, bias=False)

    def forward(self, xs):
        return 3 * super().forward(xs)


@functools.cache
def states():
    return {step: net(1 + 1 / (1 + step)).state_dict() for step in (0, 10, 20)}


def over(checkpoints, model=None, **settings):
    return llc.estimate_llc_over_checkpoints(
        checkpoints, net() if model is None else model, squared, (XS, YS), **{"jobs": 1, **SHORT, **settings}
    )


@pytest.fixture(scope="module")
def curve():
    return over(states())


def test_each_estimate_is_that_of_its_checkpoint(curve):
    """The exact λ̂ at w* of a Gaussian well is that of any step, up to what its distance from the floor adds."""
    assert curve.step.values.tolist() == [0, 10, 20]
    hessian = torch.linalg.eigvalsh(XS.T @ XS / len(XS)).double() * SHORT["nbeta"]
    for row in range(3):
        away = 1 / (1 + [0, 10, 20][row])
        slope = SHORT["nbeta"] * (XS.T @ XS / len(XS)).double() @ torch.full((D,), away, dtype=torch.float64)
        share = (0.5 * hessian / (hessian + SHORT["gamma"])).sum()
        lower = 0.5 * slope @ torch.linalg.inv(SHORT["nbeta"] * (XS.T @ XS / len(XS)).double() + torch.eye(D)) @ slope
        found = curve.isel(step=row)
        assert abs(float(found.llc_basin) - float(share)) < 4 * float(found.llc_basin_se) + 0.05
        assert float(found.floor_nats) > float(lower) > 0 or row
    for name in ("verdict", "reason", "llc_low", "rhat", "llc_trace", "step_size"):
        assert curve[name].dims[0] == "step"


@pytest.mark.slow
def test_checkpoints_may_come_in_any_form(curve, tmp_path):
    models = {step: net() for step in states()}
    for step, model in models.items():
        model.load_state_dict(states()[step])
        torch.save({"model": model.state_dict()}, tmp_path / f"step={step}-loss=0.5.ckpt")
    forms = {
        "models": (models, None),
        "a folder": (tmp_path, net),
        "a function": (states().__getitem__, net()),
        "nested": ({step: {"model": state, "step": step} for step, state in states().items()}, net()),
        "numpy steps": ({np.int64(step): state for step, state in states().items()}, net()),
    }
    for form, (given, model) in forms.items():
        steps = [0, 20] if form == "a function" else "linear:2" if form == "a folder" else [20]
        found = llc.estimate_llc_over_checkpoints(given, model, squared, (XS, YS), steps=steps, jobs=1, **SHORT)
        np.testing.assert_array_equal(found.llc, curve.llc.sel(step=found.step), err_msg=form)
        assert found.step.values.tolist() == ([20] if steps == [20] else [0, 20])
    assert over(states(), steps="last").step.values.tolist() == [20]


def test_work_goes_on_in_its_folder(curve, tmp_path):
    out, said = tmp_path / "out", []
    over(states(), steps=[0, 20], out=out)
    made = {path.name: path.stat().st_mtime_ns for path in out.rglob("0*.nc")}
    found = over(states(), out=out, progress=lambda *report: said.append(report))
    np.testing.assert_array_equal(found.llc, curve.llc)
    assert [report[:3] for report in said] == [("estimates", 1, 1)]
    assert made.items() <= {path.name: path.stat().st_mtime_ns for path in out.rglob("0*.nc")}.items()
    over(states(), out=out, progress=lambda *report: said.append(report))
    assert said[-1][3] == "all of these were estimated before; nothing to do"
    left_out = llc.estimate_llc_over_checkpoints(states(), net(), squared, (XS, YS), out=out, jobs=1)  # settings too
    np.testing.assert_array_equal(left_out.llc, curve.llc)


def test_what_is_something_else_is_not_mixed_in(tmp_path):
    out = tmp_path / "out"
    over(states(), steps=[20], out=out)
    with pytest.raises(StoreError, match=r"estimates of something else \(llc.gamma: 1.0 there, 2.0 now\)"):
        over(states(), out=out, gamma=2.0)
    with pytest.raises(StoreError, match=r"something else \(data: '60 samples"):
        llc.estimate_llc_over_checkpoints(states(), net(), squared, (XS, YS + 1), out=out, jobs=1, **SHORT)
    other = {**states(), 20: net(3.0).state_dict()}
    with pytest.raises(StoreError, match="step 20 has other weights than when"):
        over(other, out=out)
    with pytest.raises(StoreError, match=r"the loss at step 20 is .*, and was .*: the loss, the model"):
        over(states(), out=out, model=Tripled())
    with pytest.raises(StoreError, match="reference_losses"):
        over(states(), out=out, reference_losses={"zero": 1.0})
    assert over(other, out=out, overwrite=True).llc_at_w.sel(step=20) < -10
    assert over(other, out=out, gamma=2.0, steps=[10], overwrite=True).step.values.tolist() == [10]
    assert len([*out.rglob("0*.nc")]) == 1


@pytest.mark.parametrize(
    ("checkpoints", "settings", "said"),
    [
        ({}, {}, "checkpoints by nothing given, expected them by step"),
        ({"a": 1}, {}, "checkpoints by 'a' given, expected them by step"),
        (3, {}, "checkpoints of type int given"),
        (len, {}, "steps = 'all' given with a function"),
        (None, {"steps": [5]}, "no checkpoint at step 5; nearest are 0 and 10"),
        (None, {"steps": 100}, "steps = 100 given, expected log:N"),
        (None, {"steps": []}, "steps = .* given, expected log:N"),
        (None, {"steps": "some"}, "steps = 'some' given, expected log:N"),
        (None, {"gama": 2.0}, "gama"),
        (None, {"reference_losses": {"zero": "a"}}, "expected finite numbers by name"),
        ({7: {"w": torch.ones(1)}}, {}, "step 7 does not fit the model .missing: weight"),
        ({7: 3.0}, {}, "the checkpoint of step 7 is a float, expected a model or a state_dict"),
    ],
)
def test_bad_input_is_named(checkpoints, settings, said):
    with pytest.raises(InvalidInput, match=said):
        over(states() if checkpoints is None else checkpoints, **settings)


def test_one_step_that_fails_does_not_take_others_along(tmp_path):
    broken = {0: states()[0], 10: {"weight": torch.full((1, D), torch.nan)}, 20: states()[20]}
    with pytest.raises(EstimateFailed, match=r"1 of 3 checkpoints could not be estimated: step 10: .*not finite"):
        over(broken, out=tmp_path / "out")
    kept = llc.store.read_dataset(tmp_path / "out" / "llc.nc")
    assert kept.step.values.tolist() == [0, 20]


def test_workers_give_the_same_and_need_no_named_loss(curve):
    def loss(model, batch):
        return squared(model, batch)

    found = llc.estimate_llc_over_checkpoints(states(), net(), loss, (XS, YS), steps=[0, 20], jobs=2, **SHORT)
    np.testing.assert_array_equal(found.llc, curve.llc.sel(step=[0, 20]))


def test_workers_have_the_samplers_that_a_user_has_added(monkeypatch):
    """One that cannot be imported there."""

    class Mine(type(SAMPLERS["sgld"])):
        name = "mine"

    monkeypatch.setitem(SAMPLERS, "mine", Mine())
    sgld, mine = (
        llc.estimate_llc_over_checkpoints(
            states(), net(), squared, (XS, YS), steps=[0, 20], sampler=name, jobs=jobs, **SHORT
        )
        for name, jobs in (("sgld", 1), ("mine", 2))
    )
    np.testing.assert_array_equal(mine.llc, sgld.llc)


@pytest.mark.slow
def test_a_script_without_a_guard_works(tmp_path):
    """Workers would run it again."""
    script = tmp_path / "script.py"
    script.write_text(f"""
import torch, llc
xs = torch.randn(60, 3); nets = {{1: torch.nn.Linear(3, 1), 2: torch.nn.Linear(3, 1)}}
loss = lambda model, batch: (model(batch[0])[:, 0] - batch[1]) ** 2
found = llc.estimate_llc_over_checkpoints(nets, None, loss, (xs, xs.sum(1)), **{SHORT})
print(found.llc.size)
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"


def test_what_may_not_be_compared_is_warned_of(curve):
    other = over(states(), steps=[10], gamma=2.0)
    mixed = xr.concat([curve.sel(step=[0]), other], "step")
    with pytest.warns(UserWarning, match="estimates with γ from 1 to 2 side by side"):
        figures.llc_over_training(mixed)


def test_figures_need_no_sweep(curve):
    spec = figures.llc_over_training(curve)
    (marks,) = spec.panels[0].marks
    np.testing.assert_array_equal(marks.y, curve.llc)
    assert "∞" not in str(spec)
    figures.draw(spec)


_CODE = """
import torch
xs = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))

def net():
    return torch.nn.Linear(3, 1, bias=False)

def data():
    return xs, xs.sum(1)

def loss(model, batch):
    return 0.5 * (model(batch[0])[:, 0] - batch[1]) ** 2
"""


def test_the_command_line_takes_anyones_checkpoints(curve, tmp_path):
    (tmp_path / "net.py").write_text(_CODE)
    for step, state in states().items():
        (tmp_path / "theirs" / f"checkpoint-{step}").mkdir(parents=True)
        torch.save(state, tmp_path / "theirs" / f"checkpoint-{step}" / "pytorch_model.bin")
    code = {name: f"{tmp_path / 'net.py'}:{name}" for name in ("net", "data", "loss")}

    def run(*arguments, exit_code=0):
        done = CliRunner().invoke(main, ["estimate-llc", str(tmp_path / "theirs"), *arguments])
        assert done.exit_code == exit_code, done.output
        return done.output

    how = ["--model", code["net"], "--data", code["data"], "--loss", code["loss"]]
    short = [f"--{name}={value}" for name, value in SHORT.items()]
    assert "Drew" in run(*how, *short, "--steps", "all", "--jobs", "2")
    found = llc.store.read_dataset(tmp_path / "theirs" / "llc" / "llc.nc")
    np.testing.assert_array_equal(found.llc, curve.llc)
    assert (tmp_path / "theirs" / "llc" / "figures" / "llc.png").exists()
    assert "expected FILE.py:FUNCTION" in run("--model", code["net"], exit_code=2)
    assert "there is no such function" in run(*how[:4], "--loss", f"{tmp_path / 'net.py'}:lost", exit_code=2)
    assert "--num-samples given, which is for experiments" in run(*how, "--num-samples", "7", exit_code=2)


class TwoParts(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = net(), net(0.0)

    def forward(self, xs):
        return self.a(xs) + 0.01 * self.b(xs)


def test_which_weights_move_tells_estimates_apart(tmp_path):
    """Masks of one form on other parameters, and all where a part moved before."""
    here, mask = {5: TwoParts().state_dict()}, torch.ones(1, D)
    over(here, TwoParts(), parameters={"a.weight": mask}, out=tmp_path / "masks")
    with pytest.raises(StoreError, match=r"masks: 'a.weight by mask .* there, 'b.weight by mask .* now"):
        over(here, TwoParts(), parameters={"b.weight": mask}, out=tmp_path / "masks")
    over(here, TwoParts(), parameters=["a.*"], out=tmp_path / "patterns")
    with pytest.raises(StoreError, match=r"llc.parameters: \['a.\*'\] there, unset now"):
        over(here, TwoParts(), out=tmp_path / "patterns")


def test_what_comes_to_nothing_leaves_no_folder_and_says_why(tmp_path):
    def needs(width):
        return net(width)

    def fails(step):
        raise RuntimeError("nobody knows")

    (tmp_path / "file").write_text("")
    for said, call in {
        "which is a file": lambda: over(states(), out=tmp_path / "file"),
        "model = .*needs given, which failed.*width": lambda: over(states(), needs, out=tmp_path / "out"),
        r"checkpoints\(3\) failed: RuntimeError: nobody knows": lambda: over(fails, steps=[3], out=tmp_path / "out"),
    }.items():
        with pytest.raises(InvalidInput, match=said):
            call()
        assert not (tmp_path / "out").exists()
    with pytest.raises(EstimateFailed, match=r"step 0, step 10, step 20: .* call model\.float"):
        over({step: net().half() for step in (0, 10, 20)}, out=tmp_path / "out")


def test_weights_without_a_step_are_passed_over_aloud(tmp_path):
    for step, state in states().items():
        torch.save(state, tmp_path / f"step_{step}.pt")
    torch.save(states()[0], tmp_path / "last.ckpt")
    said = []
    found = over(tmp_path, progress=lambda *note: said.append(note[-1]))
    assert "passed over, for their names hold no step: last.ckpt" in said
    assert found.step.values.tolist() == [0, 10, 20]


def test_the_command_says_what_a_folder_of_checkpoints_takes(tmp_path):
    torch.save(states()[0], tmp_path / "step_0.pt")
    asked = CliRunner().invoke(main, ["estimate-llc", str(tmp_path)])
    assert "no experiment, but has checkpoints such as step_0.pt; give --model, --data and --loss" in asked.output
    asked = CliRunner().invoke(main, ["estimate-llc", str(tmp_path), "--model", "net.py:Net", "--data", "net.py:data"])
    assert "--loss not given, expected FILE.py:FUNCTION" in asked.output


def test_a_figure_of_no_curve_is_refused(curve):
    for given in (curve.sel(step=0), curve.rename(step="m")):
        with pytest.raises(InvalidInput, match=r"no step in llc given to llc_over_training, which has .*; give"):
            figures.llc_over_training(given)


@pytest.mark.parametrize(
    ("broken", "said"), [(b"", "it is empty"), ({"weight": torch.full((1, D), torch.inf)}, "not finite")]
)
def test_a_last_checkpoint_that_fails_does_not_stop_the_others(tmp_path, broken, said):
    """nβ and γ are chosen at another, and it is named with the estimates."""
    for step in (0, 20):
        torch.save(states()[step], tmp_path / f"step_{step}.pt")
    last = tmp_path / "step_30.pt"
    torch.save(broken, last) if isinstance(broken, dict) else last.write_bytes(broken)
    chosen = {"nbeta": None, "gamma": None, "max_gradients": 200}
    with (
        pytest.warns(UserWarning, match=rf"chosen at an earlier checkpoint, for a later one fails: .*{said}"),
        pytest.raises(EstimateFailed, match=rf"1 of 3 checkpoints could not be estimated: step 30: .*{said}"),
    ):
        over(tmp_path, out=tmp_path / "out", **chosen)
    assert xr.open_dataset(tmp_path / "out" / "llc.nc").step.values.tolist() == [0, 20]


def test_gamma_of_a_radius_is_that_of_weights_that_have_a_size(tmp_path):
    """Of the last that are finite: the same as without the ones that are not."""
    broken = {**states(), 30: {"weight": torch.full((1, D), torch.inf)}}
    given = {"gamma": None, "radius": 0.5, "steps": [20, 30]}
    with (
        pytest.warns(UserWarning, match="for a later one fails: the weights weight are not finite"),
        pytest.raises(EstimateFailed, match="1 of 2 checkpoints could not be estimated: step 30"),
    ):
        over(broken, out=tmp_path / "out", **given)
    square = float(states()[20]["weight"].square().sum())
    assert llc.store.read_table(tmp_path / "out" / "llc.toml")["llc"]["gamma"] == pytest.approx(
        D / (0.25 * square), rel=5e-3
    )


def test_an_interrupted_choice_of_nbeta_and_gamma_takes_no_other_checkpoint(monkeypatch):
    asked = []

    def interrupted(point, *rest, **how):
        asked.append(point.name)
        raise Interrupted("stopped on request")

    monkeypatch.setattr("llc.study.pilots.scale_at", interrupted)
    with pytest.raises(Interrupted):
        over(states(), nbeta=None, gamma=None)
    assert len(asked) == 1


def test_a_figure_takes_any_dims(curve):
    """A curve for each place along dims of somebody's own, with or without coordinates."""
    for dim in (xr.DataArray([4, 8], dims="width", name="width"), "run"):
        both = xr.concat([curve, curve], dim)
        (panel,) = figures.llc_over_training(both).panels
        assert len([mark for mark in panel.marks if mark.label]) == 2
