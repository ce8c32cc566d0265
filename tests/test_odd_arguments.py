"""Arguments from Python that cannot be meant: one sentence each, and no answer that looks like one."""

import copy
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from fuzz import tried
from torch import nn
from torch.nn import functional

import llc
from llc import figures
from llc.errors import EstimateFailed, InvalidInput, StoreError
from llc.models import heads
from llc.sampling import Losses
from llc.validation import learning_coefficient as exact

X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-1.0], [0.5]]) + 0.1 * torch.randn(64, 1, generator=torch.Generator().manual_seed(1))
QUICK = {"nbeta": 20.0, "gamma": 1.0, "draws": 16, "warmup": 4, "chains": 2}


def line():
    torch.manual_seed(2)
    return nn.Linear(3, 1)


def loss(model, batch):
    return (model(batch[0]) - batch[1])[:, 0].square()


def estimate(model=None, loss=loss, **settings):
    return llc.estimate_llc(line() if model is None else model, loss, (X, Y), **{**QUICK, **settings})


def over(checkpoints, **settings):
    settings = {**QUICK, "draws": 8, "warmup": 2, "chains": 1, "jobs": 1, **settings}
    return llc.estimate_llc_over_checkpoints(checkpoints, line(), loss, (X, Y), **settings)


def half_detached(model, batch):
    still = functional.linear(batch[0], model.weight.detach(), model.bias.detach())
    return ((model(batch[0]) + still) / 2 - batch[1])[:, 0].square()


class Backbone(nn.Module):
    """Whose first layer gets no gradient."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x):
        with torch.no_grad():
            inside = torch.tanh(self.first(x))
        return self.last(inside)


class Replacing(nn.Linear):
    """Whose weights are others whenever it is called."""

    def forward(self, x):
        self.weight.data = self.weight.data.clamp(-10, 10)
        return super().forward(x)


@pytest.mark.parametrize(
    ("model", "its_loss", "said"),
    [
        (line, half_detached, "the gradient of the loss is not its slope: along a random direction near"),
        (Backbone, loss, "the loss moves with first.weight, first.bias, but has no gradient there"),
        (lambda: Replacing(3, 1), loss, "puts another tensor in the place of weight when it is called"),
        (line, lambda *_: None, "returned a NoneType, expected a dense tensor with one loss for each sample"),
        (line, lambda *_: (1.0,), "returned a tuple, expected a dense tensor"),
        (line, lambda *_: sys.exit(3), r"ended the program, by sys\.exit\(3\)"),
        (line, lambda model, batch: 1e20 * loss(model, batch), "losses as large as .* at w. given, expected at most"),
    ],
)
def test_losses_whose_chains_would_be_of_something_else(model, its_loss, said):
    with pytest.raises(InvalidInput, match=said):
        estimate(model(), its_loss)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU, nn.Hardtanh, nn.Identity])
def test_gradients_that_are_right_pass(activation):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 30), activation(), nn.Linear(30, 30), activation(), nn.Linear(30, 1))
    before = copy.deepcopy(model.state_dict())
    assert np.isfinite(estimate(model, draws=8).llc_se.item())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_backbone_that_is_held_passes():
    model = Backbone()
    model.first.requires_grad_(False)
    assert np.isfinite(estimate(model).llc.item())


def test_a_backbone_that_is_left_out_passes():
    """Its weights have no gradient, and do not move."""
    assert np.isfinite(estimate(Backbone(), parameters=["last.*"]).llc.item())


def test_a_loss_that_fails_near_by_is_no_wrong_gradient():
    model = line()
    at = model.weight.detach().clone()

    def only_there(model, batch):
        if not torch.equal(model.weight.detach(), at):
            raise AssertionError("elsewhere")
        return loss(model, batch)

    with pytest.raises(EstimateFailed, match="the loss failed at weights"):
        estimate(model, only_there)


def test_a_loss_that_fails_on_the_way_is_named():
    def fails(model, batch):
        if model.weight.detach().abs().sum() > 10:
            raise ValueError("assert in my model")
        return loss(model, batch)

    with pytest.raises(
        EstimateFailed, match=r"the loss failed at weights .*\(ValueError: assert in my model\), not at"
    ):
        estimate(loss=fails, nbeta=0.01, gamma=0.01, draws=200)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gamma": 1e39}, "gamma = 1e.39 given"),
        ({"gamma": None, "radius": 1e-300}, "radius = 1e-300 given"),
        ({"gamma": None, "radius": 1e-12}, "radius = 1e-12 given, which makes gamma = 1e2"),
        ({"chains": 10_000, "draws": 10_000_000}, "chains = 10000 and draws = 10000000 given"),
        ({"device": 5}, "device = 5 given, expected a torch.device or a name"),
        ({"progress": 5}, "progress = 5 given, expected a function"),
        ({"parameters": 5}, "parameters = 5 given, expected patterns"),
        (
            {"sample_weights": torch.ones(64).to_sparse()},
            "sample_weights of torch.float32, torch.sparse_coo given, expected a dense array",
        ),
        ({"sample_weights": torch.ones(64) * 1j}, "expected a dense array of real numbers"),
    ],
)
def test_settings_of_one_estimate(settings, said):
    with pytest.raises(InvalidInput, match=said):
        estimate(**settings)


class Lying(torch.utils.data.Dataset):
    """Says that it has more samples than it has, or something that is no number of samples."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, number):
        if not 0 <= number < len(X):
            raise IndexError(f"no sample {number}")
        return X[number], Y[number]


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (100, r"sample \d+ of data, a Lying, cannot be had: .*IndexError: no sample"),
        (10**12, r"sample \d+ of data, a Lying, cannot be had"),
        (-3, "data, a Lying, does not know its length"),
        (3.5, "data, a Lying, does not know its length"),
        (10**30, "data, a Lying, does not know its length"),
    ],
)
def test_datasets_whose_length_is_not_theirs(length, said):
    with pytest.raises(InvalidInput, match=said):
        llc.estimate_llc(line(), loss, Lying(length), **QUICK)


def test_a_device_may_be_given_as_it_is():
    assert estimate(device=torch.device("cpu")).llc.item() == estimate(device="cpu").llc.item()


MODEL = line()


@pytest.mark.parametrize(
    ("checkpoints", "settings", "said"),
    [
        ({0: MODEL.state_dict(), 1: MODEL.state_dict()}, {}, "steps 0 and 1 are the same tensors.*deepcopy"),
        ({0: MODEL, 5: MODEL}, {}, "steps 0 and 5 are the same tensors"),
        ({torch.tensor(1): line()}, {}, r"checkpoints by tensor\(1\) given, expected them by step"),
        ({10**30: line()}, {}, "expected them by step, a whole number from 0, each once"),
        ({True: line()}, {}, "checkpoints by True given"),
        ({0: {0: torch.ones(1)}}, {}, "a state by 0 given, expected tensors by name"),
        ({0: line()}, {"overwrite": "no"}, "overwrite = 'no' given, expected True or False"),
        ({0: line()}, {"out": ""}, "out = '' given, expected a folder's name"),
        ({0: line()}, {"out": 5}, "out = 5 given, expected a folder's name"),
        ({0: line()}, {"steps": [0.0]}, "a step = 0.0 given, expected a whole number"),
        ({0: line()}, {"steps": None}, "steps = None given, expected log:N"),
        ({0: line()}, {"steps": ["0"]}, "a step = '0' given"),
        ({0: line()}, {"jobs": "2"}, "jobs = '2' given, expected a whole number from 1 up"),
        ({0: line()}, {"jobs": 1.5}, "jobs = 1.5 given"),
        ({0: line()}, {"progress": 5}, "progress = 5 given"),
        ({0: line()}, {"parameters": 5}, "parameters = 5 given"),
    ],
)
def test_studies_of_checkpoints(checkpoints, settings, said):
    with pytest.raises(InvalidInput, match=said):
        over(checkpoints, **settings)


def test_states_may_share_what_does_not_move():
    shared = torch.zeros(1)
    states = {step: {"weight": torch.ones(1, 3) * step, "bias": shared} for step in (1, 2)}
    assert over(states, steps=np.array([1, 2])).step.values.tolist() == [1, 2]
    assert over(states, steps=(step for step in (2,))).step.values.tolist() == [2]


@pytest.mark.parametrize("path", ["x" * 300, "a\0b", "y/" * 3000, "\ud800", None, 3, b"abc", []], ids=repr)
def test_names_that_no_folder_can_have(path):
    for opened in (llc.open, llc.open_results):
        with pytest.raises(StoreError, match="that `llc train --out` made"):
            opened(path)
    with pytest.raises(InvalidInput, match=r"^out = "):
        over({0: line()}, out=[path] if path is None else path)


WRONG = {"empty": xr.Dataset(), "none": None, "number": 5, "array": xr.DataArray([1.0, 2.0], dims="step")}


@pytest.mark.parametrize("name", figures.FIGURES)
def test_figures_of_other_datasets(name, finished):
    """Whatever is given in place of what it draws, a figure says what it takes; read-outs are any numbers by step."""
    drawn = figures.FIGURES[name]
    others = {"metrics": finished.metrics, "llc": finished.llc, "pca": finished.pca} if name != "readouts" else {}
    for what, given in (others | WRONG).items():
        if what not in drawn.needs and (name, what) != ("behaviour", "metrics"):
            with pytest.raises(InvalidInput, match=f"given to {drawn.make.__name__}"):
                drawn.make(*[given] * len(drawn.needs))


@pytest.mark.parametrize("given", WRONG.values(), ids=WRONG)
def test_figures_of_no_results_of_draws(given):
    for figure in (figures.susceptibilities, figures.responses):
        with pytest.raises(InvalidInput, match=f"given to {figure.__name__}"):
            figure(given)
    with pytest.raises(InvalidInput, match="given, expected what"):
        figures.kernel(given)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda e: llc.joint_pca(e.runs[0]), "one run, .*num_tasks=1,seed=0, given, expected an experiment"),
        (lambda e: llc.compare(str(e.path)), "given, expected an experiment, from llc.open"),
        (lambda e: llc.summary_table(None), "None given, expected an experiment"),
        (lambda e: llc.write_report(5), "5 given, expected an experiment"),
        (lambda e: llc.estimate_llc_over_training(e, overwrite="no"), "overwrite = 'no' given"),
        (lambda e: llc.joint_pca(e, 1.5), "components = 1.5 given, expected a whole number from 1 up"),
        (lambda e: llc.joint_pca(e, True), "components = True given"),
        (lambda e: llc.joint_pca(e, sequences="8"), "sequences = '8' given"),
        (lambda e: llc.joint_pca(e, fit={"num_tasks": 1}), "expected values by axis"),
        (lambda e: llc.joint_pca(e, fit={"num_tasks": []}), "expected a value for each axis"),
        (lambda e: llc.joint_pca(e, progress=5), r"progress = 5 given, expected a function of .*, or None"),
        (lambda e: llc.compare(e, sequences=0), "sequences = 0 given"),
        (lambda e: llc.export_weights(e, 60, "x.pt"), "given, expected one run"),
        (lambda e: llc.export_weights(e.runs[0], "60", "x.pt"), "step = '60' given"),
        (lambda e: llc.import_weights("a", "b", "tiny"), "config = 'tiny' given, expected an ExperimentConfig"),
        (lambda e: figures.save_figures(e, [5]), "unknown figure 5"),
        (lambda e: figures.spec_of(e, "zz"), "unknown figure zz"),
        (lambda e: figures.draw(e.metrics), "a Dataset given, expected what llc.figures.losses"),
        (lambda e: figures.save_figure(e.metrics, "x.png"), "a Dataset given, expected a figure"),
        (lambda e: figures.save_figure(None, "x.doc"), "x.doc given, expected a name that ends in png, pdf, svg"),
        (lambda e: Losses("own", mean="no"), "mean of the losses of own = 'no' given"),
        (lambda e: llc.response_components(None), "no susceptibility by part"),
    ],
)
def test_functions_of_experiments(call, said, finished):
    with pytest.raises(InvalidInput, match=said):
        call(finished)


def test_numbers_of_arrays_are_numbers(own, tmp_path):
    one = llc.compare(own, steps=np.array([60]), sequences=np.int64(8), progress=None)
    assert one.identical(llc.compare(own, steps=[60], sequences=8).assign_attrs(one.attrs))
    assert llc.joint_pca(own, np.int64(2), sequences=8, fit={"num_tasks": np.array([1, 4])}).component.size == 2
    assert llc.write_report(own, str(tmp_path / "page.html")) == tmp_path / "page.html"


@pytest.mark.parametrize(
    "call",
    [
        lambda: exact.reduced_rank(2, 3, 2, 1.5),
        lambda: exact.gaussian_well([1.0], nbeta=float("inf")),
        lambda: exact.gaussian_well(["a"], nbeta=1.0),
        lambda: exact.deep_linear([2, 3, 2], 1.0),
        lambda: exact.deep_linear([2, 3, 2], "1"),
        lambda: exact.normal_crossing(None),
        lambda: exact.normal_crossing([True]),
        lambda: exact.two_layer_local(3, 3, 3, rank_in=1, rank_out=1.5, rank=1),
    ],
)
def test_exact_coefficients_of_what_has_none(call):
    assert tried(call) is None


def test_exact_coefficients_take_numbers_of_arrays():
    assert exact.regular(np.int64(5)).value * 2 == 5
    assert exact.normal_crossing(power for power in [1, 2]) == exact.normal_crossing([1, 2])


class Attention(nn.Module):
    """Made as ours, of parts that may be anything."""

    def __init__(self, qkv, projection):
        super().__init__()
        self.heads, self.qkv, self.projection = 2, qkv, projection


@pytest.mark.parametrize(
    ("qkv", "projection"),
    [
        (nn.Linear(4, 12), nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1))),
        (nn.Sequential(nn.Linear(4, 12)), nn.Linear(4, 4)),
        (nn.Linear(4, 12), nn.Linear(2, 7)),
        (nn.LazyLinear(12), nn.Linear(4, 4)),
    ],
)
def test_heads_that_cannot_be_read_whole_are_refused(qkv, projection):
    with pytest.raises(InvalidInput, match="the heads of Attention lie in its weights in a way that is not known"):
        heads(Attention(qkv, projection))
