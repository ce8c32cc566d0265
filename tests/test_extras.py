"""What a plain installation can do, and what it says of the rest."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import llc
from llc.extras import EXTRAS, MissingExtra, needed_by, require

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# Modules that are not called like their package.
MODULES = {"scikit-learn": "sklearn", "netcdf4": "netCDF4"}
# What others of an extra import, and must not be newer.
HELD_BACK = {"zarr"}
OPTIONAL = sorted({module for modules in EXTRAS.values() for module in modules})


def packages(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", one)[0].lower() for one in requirements} - {"local-learning-coefficient"}


def imported() -> set[str]:
    """What files of the package import of others, wherever in them."""
    found = set()
    for path in Path(llc.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"llc"}


def test_all_that_is_imported_is_declared_and_all_that_is_declared_is_imported():
    needed = {MODULES.get(name, name).replace("-", "_") for name in packages(PROJECT["dependencies"])}
    assert imported() - {"pydantic_core"} - {*OPTIONAL} == needed  # pydantic brings its core
    assert {*OPTIONAL} - imported() == {"dask"}  # which is what `distributed` spreads


@pytest.mark.parametrize("extra", EXTRAS)
def test_extras_are_those_that_are_declared(extra):
    declared = packages(PROJECT["optional-dependencies"][extra])
    inside = packages(PROJECT["optional-dependencies"]["plots"]) if extra == "report" else set()
    assert (declared | inside) - HELD_BACK == set(EXTRAS[extra].values())


def test_one_extra_has_every_command():
    asked = PROJECT["optional-dependencies"]["all"]
    assert asked == ["local-learning-coefficient[study,report,cluster]"]
    assert {"study", "report", "cluster", "plots", "peers"} == EXTRAS.keys()  # plots are part of the report
    assert '".[all]"' in (ROOT / "Makefile").read_text("utf-8")


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    sentence = (
        r'^a lasso needs scikit-learn, which is not installed; pip install "local-learning-coefficient\[study\]"$'
    )
    with pytest.raises(MissingExtra, match=sentence), needed_by("a lasso"):
        import sklearn.linear_model  # noqa: F401
    with pytest.raises(ImportError, match=sentence):
        require("a lasso", "plots", "study")
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module'"), needed_by("anything"):
        import no_such_module  # noqa: F401


# A process in which no extra is installed.
BARE = f"import sys\nsys.modules.update(dict.fromkeys({OPTIONAL}))\n"

ESTIMATE = """
import copy, torch, xarray as xr
import llc

def loss(model, batch):
    return (model(batch[0])[:, 0] - batch[1]) ** 2

torch.manual_seed(0)
model, data = torch.nn.Linear(2, 1), (torch.randn(64, 2), torch.randn(64))
settings = {"nbeta": 15.0, "gamma": 1.0, "chains": 2, "warmup": 2, "draws": 8, "max_gradients": 50}
tree = llc.estimate_llc(model, loss, data, observables=[llc.Losses("own")], **settings)
tree.to_netcdf("one.nc")
assert xr.open_datatree("one.nc").llc.item() == tree.llc.item()
llc.loss_kernel(tree, "own")
states = {0: model.state_dict(), 1: copy.deepcopy(model.state_dict())}
curve = llc.estimate_llc_over_checkpoints(states, model, loss, data, out="curve", jobs=1, **settings)
assert xr.load_dataset("curve/llc.nc").llc.equals(curve.llc)
"""


COMMANDS = """
import shlex, sys
from click.testing import CliRunner
from llc.cli import main
for line in sys.stdin:
    result = CliRunner().invoke(main, shlex.split(line))
    print(result.exit_code, result.output.strip().splitlines()[-1])
"""
PLOTS = 'matplotlib, which is not installed; pip install "local-learning-coefficient[plots]"'
# By command: how it ends, and its last line, or the beginning of that.
SAID = {
    "show {own}": (0, "∞"),
    "pca {own} --sequences 8": (0, "Next: llc plot"),
    "plot {own}": (1, f"Error: llc.figures needs {PLOTS}"),
    "report {own}": (1, f"Error: a report needs {PLOTS.replace('plots', 'report')}"),
    "demo": (1, f"Error: llc demo needs {PLOTS.replace('plots', 'report')}"),
    "systems": (0, "|"),
    "systems --run he2025": (
        1,
        "Error: llc systems --run needs ruptures, which is not installed; "
        'pip install "local-learning-coefficient[study]"',
    ),
    "train --out here --scheduler tcp://127.0.0.1:9": (
        1,
        "Error: a scheduler needs distributed, which is not installed; "
        'pip install "local-learning-coefficient[cluster]"',
    ),
    "validate --only logistic --against canonical-interp": (
        2,
        'Error: canonical-interp is not installed; pip install "local-learning-coefficient[peers]"',
    ),
}


def test_estimates_need_no_extra_and_commands_say_what_they_lack(own):
    lines = "\n".join(command.format(own=f"'{own.path}'") for command in SAID)
    process = [sys.executable, "-c", BARE + ESTIMATE + COMMANDS]
    done = subprocess.run(process, input=lines, stdout=subprocess.PIPE, text=True, check=True, cwd=own.path.parent)
    for command, (code, last), said in zip(SAID, SAID.values(), done.stdout.splitlines(), strict=True):
        assert said.startswith(f"{code} {last}"), (command, said)


def test_the_slope_of_a_curve_needs_ruptures(monkeypatch):
    import numpy as np

    from llc.development import trend_changes

    monkeypatch.setitem(sys.modules, "ruptures", None)
    monkeypatch.delitem(sys.modules, "llc.development.weighted_lines", raising=False)
    with pytest.raises(MissingExtra, match=r"a partition into straight lines needs ruptures, .*\[study\]"):
        trend_changes(np.arange(8.0), np.arange(8.0), np.ones(8))


def test_figures_that_cannot_be_drawn_are_said_and_the_result_kept(monkeypatch, capsys, tmp_path):
    from llc.cli.shared import draw_figure

    monkeypatch.delattr(llc, "figures")  # to be imported again
    for name in [name for name in sys.modules if name.startswith("llc.figures")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "seaborn", None)
    draw_figure("validation", None, tmp_path / "one.png")
    assert capsys.readouterr().out.startswith("Left out one.png: llc.figures needs seaborn, which is not installed")


def test_progress_without_rich_is_lines(monkeypatch, capsys):
    from llc.progress import show_progress

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setitem(sys.modules, "rich", None)
    with show_progress("steps") as progress:
        progress("a run", 3, 3, "")
    assert capsys.readouterr().err.startswith("a run: 3/3 steps")
