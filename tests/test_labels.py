"""The page of what each result holds, docs/labels.md, is true and whole.

`WRITE_PAGES=1 python -m pytest tests/test_labels.py` writes its tables anew.
"""

import os
import re
from pathlib import Path

import pytest
import torch
import xarray as xr
from test_from_devinterp import like_devinterp, with_metrics

import llc
from llc.estimate import Point, SamplingConfig, calibrate, calibration_dataset
from llc.sampling.data_forms import check_data
from llc.sampling.samplers import known_samplers
from llc.store.reserved import is_reserved

# Attributes that a variable may have beyond these two.
OTHERS = {"symbol", "symbols", "baselines", "headline", "per_dimension", "kept"}
DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "labels.md"


def table_of(data: xr.Dataset, but: xr.Dataset | None = None) -> str:
    """A line a variable that `but` has not: name, what it is, dims, units."""
    lines = ["| name | what | by | units |", "|---|---|---|---|"]
    for name in [*sorted(data.coords, key=lambda name: name not in data.dims), *data.data_vars]:
        if but is None or name not in but or but[name].attrs != data[name].attrs:
            about = data[name].attrs
            assert set(about) <= {"long_name", "units", *OTHERS}, name
            said = [f"`{name}`", about["long_name"], ", ".join(map(str, data[name].dims)), about["units"]]
            lines.append("| " + " | ".join(one.replace("|", r"\|") for one in said).replace("|  |", "| |") + " |")
    return "\n".join(lines)


class Norms:
    name, dims, every = "norms", ("parameter",), None

    def __call__(self, draw):
        return torch.stack([weight.norm() for weight in draw.model.parameters()])


def regression():
    """Linear regression of three positions a sample."""
    rng = torch.Generator().manual_seed(0)
    model, xs = torch.nn.Linear(2, 1, bias=False), torch.randn(24, 3, 2, generator=rng)
    model.weight.data = torch.randn(1, 2, generator=rng)
    ys = model(xs)[..., 0].detach() + 0.3 * torch.randn(24, 3, generator=rng)
    return model, lambda model, batch: (model(batch[0])[..., 0] - batch[1]) ** 2, (xs, ys)


@pytest.fixture(scope="module")
def estimate():
    """With all that one can have."""
    own, probe = llc.Losses("own"), llc.Losses("probe", regression()[2])
    few = {"chains": 2, "max_gradients": 600, "reference_losses": {"zero": 9.0}}
    return llc.estimate_llc(*regression(), observables=[own, probe, Norms()], **few)


def dataset(tree: xr.DataTree, group: str = "/") -> xr.Dataset:
    return tree[group].to_dataset(inherit=False)


def of_estimate(tree):
    """By heading; groups that are alike are shown once."""
    for name in ("posterior", "sample_stats"):
        for alike in (f"warmup_{name}", f"hot_{name}", f"hot_warmup_{name}"):
            assert table_of(dataset(tree, alike)) == table_of(dataset(tree, name))
    assert table_of(dataset(tree, "losses/own")) == table_of(dataset(tree, "losses/probe")).replace("probe", "own")
    named = ("posterior", "sample_stats", "ladder", "observables", "losses/own")
    groups = {f"`{name}`": table_of(dataset(tree, name)) for name in named}
    alike = {f"{which}{name}" for which in ("warmup_", "hot_", "hot_warmup_") for name in named[:2]}
    assert {path for path, _ in tree.subtree_with_keys} == {".", "losses", "losses/probe", *named, *alike}
    return {"The root": table_of(dataset(tree)), **groups}


def of_draws(tree):
    every = {
        "per_sample_llc": llc.per_sample_llc(tree, "own"),
        "loss_kernel": llc.loss_kernel(tree, "own", "probe"),
        "influence": llc.influence(tree, on="probe", of="own"),
        "waic": llc.waic(tree, "own"),
    }
    model, loss, data = regression()
    every["susceptibilities"] = llc.susceptibilities(
        model, loss, data, {"weight": ["weight"]}, {"probe": data}, nbeta=30.0, gamma=1.0, chains=2, draws=64
    )
    return {f"`{name}`": table_of(found) for name, found in every.items()}


def of_calibration():
    model, loss, data = regression()
    settings = SamplingConfig(chains=1, draws=20, warmup=5, max_gradients=400, target_error=0.4)
    found = calibrate([Point("here", model, loss, check_data(data), {})], settings)
    return table_of(calibration_dataset(found))


def sections(estimate, finished, whole):
    """Tables by heading."""
    yield from of_estimate(estimate).items()
    theirs = llc.from_devinterp(with_metrics(like_devinterp(0))[0])
    for group in ("posterior", "sample_stats", "warmup_posterior", "warmup_sample_stats"):
        lines = table_of(dataset(theirs, group)).splitlines()
        assert set(lines) <= set(table_of(dataset(estimate, group)).splitlines()), group
    yield "`from_devinterp`", table_of(dataset(theirs), but=dataset(estimate))
    yield from of_draws(estimate).items()
    kept = dict.fromkeys(llc.store.RESULTS, whole) | {"metrics": finished, "llc": finished, "pca": finished}
    for name, experiment in kept.items():
        with xr.open_dataset(
            (DOCS / "transient_ridge" if name == "claims" else experiment.path) / f"{name}.nc"
        ) as data:
            yield f"`{name}.nc`", table_of(data)
    yield "`calibration.nc`", of_calibration()


def test_no_axis_can_be_called_like_what_results_hold():
    """The page has every name; axes of the experiment that is shown, and a variable that makes room for one, aside."""
    names = set(re.findall(r"(?m)^\| `(\w+)` \|", PAGE.read_text("utf-8")))
    axes = {"num_tasks", "seed", "form_num_tasks", "form_seed", "learning_rate"}
    assert {name for name in names if not is_reserved(name)} == axes


def test_every_hyperparameter_is_no_axis():
    assert all(is_reserved(name) for sampler in known_samplers().values() for name in sampler.hyperparameters)


def test_the_page_of_labels_is_true_and_whole(estimate, finished, whole):
    made = dict(sections(estimate, finished, whole))
    text = PAGE.read_text("utf-8")
    if os.environ.get("WRITE_PAGES"):
        for heading, table in made.items():
            section = rf"(?m)^(#+ {re.escape(heading)}\n(?:(?!#+ |\|).*\n)*)(?:\|.*\n)*\n*"
            text = re.sub(section, lambda old, table=table: f"{old[1].rstrip()}\n\n{table}\n\n", text)
        PAGE.write_text(text.rstrip() + "\n", "utf-8")
    shown = {
        heading: table.strip()
        for heading, table in re.findall(r"^#+ (.*)\n(?:(?!#+ |\|).*\n)*((?:\|.*\n)+)", text, flags=re.MULTILINE)
    }
    assert shown == made
