"""The report as its reader meets it: in a browser, where there is one."""

import json
import re
import shutil

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from made_up import make_up

import llc
from llc import development, figures, store
from llc.cli import main
from llc.figures.complexity import decided_at_once
from llc.report import write_report
from llc.report.words import complexity, strategies

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


# The figures of an experiment that has every result.
SHOWN = [
    "losses",
    "losses_by_axis",
    "losses_by_position",
    "reference_plane",
    "shifts",
    "compare",
    "learned",
    "readouts",
    "llc",
    "llc_by_axis",
    "loss_llc_plane",
    "pca",
    "essential",
    "stages",
    "tradeoff",
    "strategies",
]


@pytest.fixture(scope="module")
def full(whole, tmp_path_factory):
    """An experiment with every result there is."""
    return llc.open(shutil.copytree(whole.path, tmp_path_factory.mktemp("report") / "small"))


@pytest.fixture(scope="module")
def written(full):
    """Its page."""
    return write_report(full)


def text_of(page: str) -> str:
    """A page without its scripts."""
    return re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


def test_everything_is_in_it(full, written):
    page = written.read_text()
    assert "num_tasks, in figures M" in page
    said = text_of(page)
    assert sorted(re.findall('id="plot-([a-z_]+)"', said)) == sorted(SHOWN)
    assert said.count('role="img"') == said.count("<figcaption>") == said.count('class="plot"')
    assert 'aria-label=""' not in said
    commands = [
        "llc train --preset tiny",
        "--set task.dim=2",
        "--sweep task.num_tasks=1,4,inf",
        "--positions",
        "--draws 30",
    ]
    commands += [
        "llc pca",
        "--sequences 16",
        "llc stages",
        "--resamples 30",
        "llc behaviour",
        "llc compare",
        "--sequences 32",
        "llc report",
    ]
    for command in commands:
        assert command in said
    assert "Not in this report" not in said
    assert "plateau &lt;over&gt; 4 chains" in said
    assert not re.search(r'(src|href)="https?:', said), "the page must need no network"


def test_its_sentences_are_those_of_the_numbers(full):
    said = text_of(write_report(full).read_text())
    verdicts = full.llc.verdict.values
    assert f"{(verdicts == 'converged').sum()} of {verdicts.size} estimates of λ̂ are converged (1 drifting)." in said
    share = 100 * float(full.pca.explained_variance_ratio[:2].sum())
    assert f"Two joint components explain {share:.0f} %" in said
    end = full.metrics.mean("position").sel(num_tasks=4, seed=0).isel(step=-1)
    nearest = float(end.distance.sel(reference=["ridge", "dmmse"], test_set="id").min())
    assert f"mean squared distance {nearest:.3g}" in said


def test_it_says_no_more_than_it_shows(full):
    """One seed is no replication; a rise before the first estimate is not seen; data alone may decide a tradeoff."""
    said = text_of(write_report(full).read_text())
    assert "trained once, with one seed: nothing here is replicated" in said
    made = full.llc.load().copy(deep=True)
    made["verdict"] = made.verdict.astype(object).where(False, "converged")
    falls = np.linspace(3, 1, made.sizes["step"])
    made["llc"] = made.llc * 0 + xr.DataArray(falls, dims="step")
    made["llc_se"] = made.llc_se * 0 + 0.01
    first = f"λ̂ was largest at step {int(made.step[0])} (3 ± 0.01) and has fallen to 1 ± 0.01 at step 60."
    assert all(
        sentence.endswith(
            f"{first} That is the first step whose estimate may be compared: how it rose before is not known."
        )
        for sentence in complexity(made)[1:]
    )
    made["llc"][:, :, 1] = 4
    assert all("how it rose" not in sentence for sentence in complexity(made)[1:])
    traded = full.tradeoff.copy(deep=True)
    traded["turn"] = traded.turn * 0 + xr.DataArray([np.nan, 1.0], dims="num_tasks")
    traded["delta_loss"] = traded.delta_loss * 0 - 21.0
    assert decided_at_once(traded) == (
        "Here dmmse is better by 21 nats a sequence, which outweighs complexity from the first sequence on: this "
        "tradeoff cannot say when training leaves ridge."
    )
    traded["turn"] = traded.turn * 0 + 2
    assert decided_at_once(traded) == ""


def test_it_says_where_one_reference_gives_way(full):
    made = full.strategies.copy(deep=True)
    made["threshold"] = made.threshold * 0 + 2.5
    made["correlation"] = made.correlation * 0 + 0.9
    made["correlation"] = made.correlation.fillna(0.9)
    made["threshold"] = made.threshold.fillna(2.5)
    made["held_out_correlation"] = made.held_out_correlation * np.nan
    assert strategies(made) == [
        "At the end runs are nearer to dmmse up to M of about 2.5, and nearer to ridge beyond.",
        "A posterior over the two with bits as complexity has a correlation of 0.90 with where checkpoints lie between "
        "them; too few runs to leave any out.",
    ]


def test_its_commands_make_the_same_experiment(full, tmp_path):
    """What the page says under `Make it again` parses, and gives the config that it was made with."""
    from llc.report.commands import commands

    train = commands(full)[0].split()
    out = tmp_path / "again"
    train[train.index("--out") + 1] = str(out)
    result = CliRunner().invoke(main, [*train[1:], "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert llc.open(out).config == full.config
    np.testing.assert_array_equal(llc.open(out).metrics.loss.sel(test_set="ood"), full.metrics.loss.sel(test_set="ood"))


def test_what_is_missing_is_named(own):
    result = CliRunner().invoke(main, ["report", str(own.path)])
    assert result.exit_code == 0, result.output
    said = text_of((own.path / "report.html").read_text())
    assert "Not in this report" in said
    assert "make it with: llc stages" in said
    assert "make it with: llc behaviour" in said


def test_results_that_are_older_than_what_they_are_made_of_are_left_out(own):
    real = own.llc.load()
    make_up(own)
    stages = development.find_stages(own, resamples=20).assign_attrs(created="2020-01-01T00:00:00+00:00")
    stages.to_netcdf(own.path / "stages.nc")
    llc.store.write_dataset(own.path / "llc.nc", real.drop_attrs(deep=False), {})
    said = text_of(write_report(own).read_text())
    assert "stages.nc is older than llc.nc and pca.nc; make it again with: llc stages" in said
    assert 'id="stages"' not in said
    written, missing = figures.save_figures(own, ["stages"])
    assert not written
    assert "stages.nc is older than llc.nc and pca.nc" in missing["stages"]
    assert "stages.nc is older than llc.nc and pca.nc" in llc.store.describe(own)


def test_diverged_estimates_are_counted_and_listed(own):
    made = own.llc.load()
    for name in ("llc", "llc_low", "llc_high", "llc_se"):
        made[name].loc[{"num_tasks": 4.0, "step": 60}] = np.nan
    made["verdict"] = made.verdict.astype(object)
    made["verdict"].loc[{"num_tasks": 4.0, "step": 60}] = "diverged"
    llc.store.write_dataset(own.path / "llc.nc", made.drop_attrs(deep=False), {})
    said = text_of(write_report(own).read_text())
    assert re.search(r"\d of 9 estimates of λ̂ are converged \(.*1 diverged", said)
    assert 'class="short">diverged</td>' in said


@pytest.mark.slow
def test_other_features_are_called_by_their_name(own):
    llc.joint_pca(own, features="weights")
    said = text_of(write_report(own).read_text())
    assert "of the variance of weights" in said
    llc.joint_pca(own, 1)
    assert 'id="plot-pca"' not in text_of(write_report(own).read_text())


def test_options_come_back_in_the_commands(own):
    from llc.report.commands import commands

    development.shifted_behaviour(own, steps="0,60", changed={"noise_variance": [2.0, 3.0]}, sequences=20)
    development.readouts(own, steps="60", hessian=False)
    llc.joint_pca(own, 2, sequences=16, fit={"num_tasks": [4]})
    found = "\n".join(commands(own))
    assert "--steps 0,60 --change noise_variance=2.0,3.0 --icl-positions 1,3 --sequences 20" in found
    assert "llc readouts" in found
    assert "--steps 60 --no-hessian" in found
    assert "--fit num_tasks=4" in found


def test_a_pair_that_is_not_the_tasks_comes_back(own):
    from llc.report.commands import commands

    store.write_dataset(own.path / "stages.nc", xr.Dataset(), {**own.config, "stages": {"seed": 3}})
    for pair, said in ((["ridge", "dmmse"], ""), (["zero", "ridge"], " --pair zero,ridge")):
        store.write_dataset(own.path / "tradeoff.nc", xr.Dataset(), {**own.config, "tradeoff": {"pair": pair}})
        assert f"llc stages {own.path} --seed 3{said}" in commands(own)


def test_a_sweep_whose_last_run_has_not_begun(own):
    (own.path / "metrics.nc").unlink()
    (own.run(num_tasks=4).path / "metrics.nc").unlink()
    said = text_of(write_report(own).read_text())
    assert "M = 4" not in re.search(r"What runs do(.*?)</ul>", said, re.DOTALL)[1]


def test_bad_folders_are_one_sentence(tmp_path, own):
    nowhere = CliRunner().invoke(main, ["report", str(tmp_path / "nowhere")])
    assert nowhere.exit_code == 1
    assert "does not exist" in nowhere.output
    run = CliRunner().invoke(main, ["report", str(own.runs[0].path)])
    assert run.exit_code == 2
    assert "is a single run" in run.output


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def opened(browser, path, **how):
    """A page once its figures are drawn, and what the console said meanwhile."""
    page = browser.new_page(**how)
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    page.wait_for_function("document.body.dataset.drawn", timeout=60_000)
    return page, said


def check_shown(page, said, width, light):
    """Nothing complained, all plots are drawn and within the page, and what is written stands out."""
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    plots = page.evaluate("[...document.querySelectorAll('.plot')].map(p => p.getBoundingClientRect().right)")
    assert len(plots) == len(SHOWN)
    assert max(plots) <= width
    assert page.evaluate("document.querySelectorAll('.plot .main-svg').length") >= len(plots)
    paper, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, document.querySelector('.plot .xtick text').style.fill]"
    )
    brightness = [sum(json.loads(f"[{colour[colour.index('(') + 1 : -1]}]")[:3]) for colour in (paper, ink)]
    assert (brightness[0] > brightness[1]) == light


def test_a_narrow_dark_browser_shows_it_without_complaint(written, browser):
    page, said = opened(browser, written, viewport={"width": 400, "height": 800}, color_scheme="dark")
    check_shown(page, said, 400, light=False)
    page.close()


def test_a_wide_light_browser_does_too_and_its_tables_sort(written, browser):
    """As numbers, M = ∞ last; then the other way round. One page for both: drawing it takes longest."""
    page, said = opened(browser, written, viewport={"width": 1200, "height": 800}, color_scheme="light")
    check_shown(page, said, 1200, light=True)
    heads = page.locator("#table-runs + .scroll th button")
    column = "[...document.querySelectorAll('#table-runs + .scroll tbody tr')].map(r => r.cells[{}].textContent)"
    heads.nth(0).click()
    assert page.evaluate(column.format(0)) == ["1", "4", "∞"]
    heads.nth(0).click()
    assert page.evaluate(column.format(0)) == ["∞", "4", "1"]
    heads.nth(3).click()
    losses = [float(loss) for loss in page.evaluate(column.format(3))]
    assert losses == sorted(losses)
    assert page.locator("#table-runs + .scroll th[aria-sort=ascending]").count() == 1
    page.close()
