"""The order in which a climb does things, in a made-up world: chains are numbers, and the budget is counted."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from llc.estimate import climb as module
from llc.estimate.diagnostics import Summary
from llc.estimate.floor import Basin, Depth
from llc.estimate.ladder import Step
from llc.estimate.pair import Pair, Reading
from llc.estimate.scale import WEAKER
from llc.estimate.settings import SamplingConfig

NBETA, GAMMA, STEEPEST, SAMPLES = 100.0, 4.0, 2.0, 1000


class World:
    """λ̂ by (nβ, γ), and an error that goes with one over the root of the draws; every run is kept.

    Attributes:
        llc: λ̂ of the basin where chains are.
        noise: nats at the first nβ, in proportion to it.
        error: standard error times the root of the draws of a chain.
    """

    def __init__(self, monkeypatch, llc=lambda nbeta, gamma: 10.0, error=5.0, noise=0.0):
        self.llc, self.error, self.noise, self.rhat, self.rest_se = llc, error, noise, 1.0, 0.0
        self.runs, self.on, self.lengths, self.reads, self.reached = [], [], [], [], []
        self.lost = self.lags = self.away = lambda pair: False
        self.left = lambda near, far: False
        self.steps = (20, 100)
        self.reach = math.inf
        self.curvature = 0.0
        for name, fake in {
            "largest_curvature": lambda target: STEEPEST * target.nbeta,
            "choose_control_variates": lambda target, kernel, curvature, key: (target, "none: made up"),
            "run_pairs": self._run_pairs,
            "run_on": self._run_on,
            "read": self._read,
            "rung_lengths": self._rung_lengths,
            "reachable": self._reachable,
            "mean_curvature": lambda pair, reading: self.curvature,
            "lost": lambda pair: self.lost(pair),  # noqa: PLW0108 (another one later)
            "lags": lambda pair, reading, before: self.lags(pair),
            "left_for_others": lambda near, far, held: self.left(near[0], far[0]),
            "delocalised": lambda pair, reading, reference: self.away(pair),
            "Floors": lambda most: SimpleNamespace(gradients=7, below=lambda target: Depth(0.5)),
            "Held": lambda target, most: SimpleNamespace(gradients=3, on=lambda rung: rung),
        }.items():
            monkeypatch.setattr(module, name, fake)

    def climb(self, **settings):
        return module.climb(target(NBETA, GAMMA), "kernel", SamplingConfig(**settings), key=("k",))

    def _chains(self, steps, number):
        return SimpleNamespace(gradients=number * steps, steps=steps, diverged={}, difference=np.zeros((number, steps)))

    def _rung_lengths(self, kernel, config, curvature, gamma, affordable):
        self.lengths.append((curvature, gamma, affordable))
        return self.steps

    def _reachable(self, kernel, last, gamma, farther, affordable):
        self.reached.append((gamma, farther, affordable))
        return self.reach

    def _run_pairs(self, targets, kernel, curvatures, *, chains, warmup, draws, **how):
        ((at,), (curvature,)) = targets, curvatures
        self.runs.append({"nbeta": at.nbeta, "gamma": at.gamma, "curvature": curvature, **how})
        made = self._chains(warmup + draws, chains)
        return [Pair(at, made, made)]

    def _run_on(self, pair, kernel, *, draws, **how):
        self.on.append({"draws": draws, **how})
        made = self._chains(pair.cold.steps + draws, len(pair.cold.difference))
        return replace(pair, cold=made, hot=made)

    def _read(self, pair, kernel, *, find_warmup, settled, **how):
        self.reads.append({"find_warmup": find_warmup, "settled": settled, **how})
        at, warmup = pair.target, self.steps[0]
        value, error = self.llc(at.nbeta, at.gamma), self.error / math.sqrt(pair.cold.steps - warmup)
        one = Summary(value, error, 0.0, 0.0, 100, 100, self.rhat, math.nan, 0.0)
        basin = Basin(value, math.hypot(error, self.rest_se), 0.0, 0.1, 0.0, 0.1)
        return Reading(one, one, basin, self.rest_se, self.noise * at.nbeta / NBETA, 0.0, 0.0, warmup, 0.0)


def target(nbeta, gamma):
    return SimpleNamespace(
        nbeta=nbeta, gamma=gamma, gradients=11, batch_size=SAMPLES, num_samples=SAMPLES, loss_init=1.0,
        at=target,
    )  # fmt: skip


@pytest.fixture
def world(monkeypatch):
    return lambda **settings: World(monkeypatch, **settings)


def places(made):
    return [(run["nbeta"], run["gamma"]) for run in made.runs]


GIVEN = {"nbeta": NBETA, "gamma": GAMMA}


def test_what_is_given_is_one_run(world):
    """With draws: no rounds, no ladder, half of the chains from farther out; the budget is what all of it took."""
    made = world(error=1e6)
    found = made.climb(**GIVEN, draws=50, chains=3, step_size=0.1, full_loss_every=9, warmup=4)
    assert places(made) == [(NBETA, GAMMA)]
    (run,) = made.runs
    assert run["keys"] == [("k", 0)]
    assert (run["step_size"], run["starts"], run["hot_starts"], run["full_looks"]) == (0.1, None, True, 24)
    assert (run["full_look_every"], run["curvature"]) == (9, STEEPEST * NBETA)
    assert made.on == []
    assert made.reads == [{"find_warmup": False, "settled": Depth(0.5)}]
    assert found.gradients == 11 + 2 * 3 * 120 + 7 + 3
    assert (found.ended, found.highest, found.choice, found.variates) == ("", "", "as given", "none: made up")
    assert (found.curvature, len(found.rungs), found.farther) == (STEEPEST * NBETA, 1, None)
    made.climb(**GIVEN, draws=50, control_variates=True)
    assert made.reads[-1]["find_warmup"]
    assert made.lengths[-1] == (STEEPEST * NBETA, GAMMA, (100_000 - 11 - 7 - 3) / 4)


def test_rounds_go_on_until_the_interval_is_as_narrow_as_was_asked_for(world):
    """Each has a tenth more draws than its error says are needed, at most two times what there is, 100 at least."""
    made = world(error=5.0)  # of λ̂ 10: 0.5 at 100 draws; asked for is 0.3
    wanted = 0.3
    found = made.climb(**GIVEN, target_error=wanted * 1.645 / 10)
    needed = int(1.1 * ((0.5 / wanted) ** 2 - 1) * 100)
    assert [run["draws"] for run in made.on] == [needed]
    assert made.on[0]["key"] == ("k", 1, 120)
    assert (made.on[0]["adapt"], made.on[0]["full_looks"]) == (True, 12)
    assert found.ended == ""
    assert found.rungs[-1].llc_se <= wanted
    assert found.gradients == 11 + 2 * 2 * (120 + needed) + 10
    made = world(error=50.0)
    made.climb(**GIVEN, target_error=0.2)
    assert [run["draws"] for run in made.on] == [200, 600, 870]  # never more than twice what there is
    made = world(error=2.0)
    made.climb(**GIVEN, target_error=0.19 * 1.645 / 10, step_size=0.5)
    assert [run["draws"] for run in made.on] == [100]  # 12 would do
    assert made.on[0]["adapt"] is False


def test_rounds_end_with_the_budget_and_say_so(world):
    made = world(error=1e4)
    found = made.climb(**GIVEN, max_gradients=3000)
    assert found.ended == "max_gradients = 3000 are spent"
    left = (3000 - 11 - 10) // 4 - 120 - 200
    assert [run["draws"] for run in made.on] == [200, left, 100]  # the least, for a gradient that is left
    assert found.gradients == 21 + 4 * (120 + 200 + left + 100)


def test_chains_that_disagree_or_drift_are_gone_on_with(world):
    made = world(error=0.1)
    made.rhat = 1.3
    found = made.climb(**GIVEN, max_gradients=4000)
    assert len(made.on) >= 2
    assert found.ended
    made = world(error=0.1)
    made.rhat = 1.3
    assert not made.climb(**GIVEN, max_gradients=4000, max_rhat=1.4).ended
    assert made.on == []


def test_lost_chains_are_not_gone_on_with(world):
    made = world(error=1e4)
    made.lost = lambda pair: True
    found = made.climb()
    assert (len(made.runs), made.on) == (1, [])
    assert found.highest == "no other was tried within max_gradients = 100000"


def test_a_ladder_on_a_plateau(world):
    """First a rung sixteen times as near; then one wider by its share of the resolution; there λ̂ stands still."""
    made = world(error=0.5)
    found = made.climb(max_gradients=50_000)
    steepness = STEEPEST * NBETA / GAMMA  # 50: beside a resolution of 3,000
    factor = WEAKER * 3000 / steepness
    share = min(math.sqrt(factor), factor / 16)
    assert places(made)[:2] == [(NBETA, GAMMA), (16 * NBETA, 16 * GAMMA)]
    assert made.runs[2]["nbeta"] == pytest.approx(share * NBETA, rel=1e-3)
    assert made.runs[2]["gamma"] == pytest.approx(GAMMA * share / factor)
    assert len(made.runs) == 3
    assert [run["keys"] for run in made.runs] == [[("k", 0)], [("k", 1)], [("k", 2)]]
    assert all(run["starts"] is None for run in made.runs)  # colder chains begin at w*
    assert not any(run["hot_starts"] for run in made.runs)
    assert [(rung.nbeta, rung.gamma) for rung in found.rungs] == [(NBETA, GAMMA), places(made)[2]]
    assert found.curvature == pytest.approx(STEEPEST * found.rungs[-1].nbeta)
    assert "far within what the noise" in found.choice
    assert all("with_held" in one for one in made.reads)
    # Whether what is left, after two rungs of 480 gradients, reaches so many times farther.
    assert made.reached == [(GAMMA, pytest.approx(factor), pytest.approx((50_000 - 21 - 2 * 480) / 4))]
    # The first rung may take a third of the budget, the others what is left.
    assert made.lengths[0][2] == pytest.approx((50_000 - 21) / 4 / 3)
    assert made.lengths[1][2] == pytest.approx((50_000 - 21 - 480) / 4)


def test_the_next_rungs_go_on_from_the_last_with_gamma_alone(world):
    """λ̂ that rises from rung to rung: until there are four; the budget's chains begin where the last ones ended."""
    values = {}
    made = world(llc=lambda nbeta, gamma: values.setdefault(gamma / nbeta, 10.0 + 5 * len(values)), error=0.01)
    found = made.climb()
    kept = [run for run in made.runs if run["gamma"] <= GAMMA]
    assert len(found.rungs) == 4
    for before, after in itertools.pairwise(kept[1:]):
        assert after["nbeta"] == before["nbeta"]
        assert after["gamma"] == pytest.approx(before["gamma"] / 16)
        ((start,)) = after["starts"]
        assert (start.target.nbeta, start.target.gamma) == (before["nbeta"], before["gamma"])


def test_nbeta_stays_where_it_is_given_or_the_noise_allows_no_more(world):
    made = world(error=0.5)
    found = made.climb(nbeta=NBETA)
    assert {nbeta for nbeta, _ in places(made)} == {NBETA}
    assert found.choice == "as given"
    # F of 10 nats beside a λ̂ of 10: a factor log n = 6.9 too cold.
    made = world(error=0.5, noise=10.0)
    found = made.climb()
    assert places(made)[1][0] == pytest.approx(NBETA / math.log(SAMPLES), rel=1e-3)
    assert places(made)[1][1] == GAMMA
    assert len(found.rungs) == len({(rung.nbeta, rung.gamma) for rung in found.rungs})
    assert found.rungs[0].nbeta == pytest.approx(NBETA / math.log(SAMPLES), rel=1e-3)  # in the first one's place
    assert found.choice == "as cold as the noise of the data allows"


def test_chains_that_have_left_on_the_first_rung_are_followed_nearer(world):
    made = world(error=0.5)
    made.left = lambda near, far: far.target.gamma < near.target.gamma and near.target.gamma == 16 * GAMMA
    found = made.climb()
    assert found.farther is not None
    assert (found.farther.nbeta, found.farther.gamma) == (NBETA, GAMMA)
    assert all(rung.gamma == 16 * GAMMA for rung in found.rungs)
    assert found.rungs[0].nbeta == 16 * NBETA
    assert found.rungs[1].nbeta == pytest.approx(256 * NBETA, rel=1e-3)
    assert "farther out are simpler ones" in found.choice


def test_chains_that_leave_later_are_left_there(world):
    """The ladder goes on, colder, on the rung with the highest λ̂, at its γ."""
    made = world(llc=lambda nbeta, gamma: 10.0 + (gamma == GAMMA), error=0.5)
    made.left = lambda near, far: far.target.gamma < GAMMA <= near.target.gamma == GAMMA
    found = made.climb()
    assert (found.farther.nbeta, found.farther.gamma) == places(made)[2]
    assert all(rung.gamma == GAMMA for rung in found.rungs)


@pytest.mark.parametrize(
    ("what", "said"),
    [("lost", "chains do not stay where gamma is"), ("away", "chains do not stay where gamma is"),
     ("lags", "chains do not get about in time where gamma is")],
)  # fmt: skip
def test_a_rung_that_does_not_hold_is_gone_back_from(world, what, said):
    made = world(error=0.5)
    setattr(made, what, lambda pair: pair.target.gamma < GAMMA)
    found = made.climb(max_gradients=20_000)
    assert [(rung.nbeta, rung.gamma) for rung in found.rungs] == [(NBETA, GAMMA)]
    assert found.highest.startswith(said)
    gone = f"{made.runs[2]['gamma']:.3g} and nbeta {made.runs[2]['nbeta']:.3g}"
    assert found.highest == f"{said} {gone}"
    if what == "lags":  # twice the time, and twice that, as far as half of what is left allows
        assert [run["draws"] for run in made.on[:3]] == [120, 240, 480]
    # Draws go on at the rung that holds.
    assert found.pair.target.gamma == GAMMA


def test_a_rung_that_is_out_of_reach_is_not_tried(world):
    made = world(error=0.5)
    made.reach = 0.1
    found = made.climb(max_gradients=20_000)
    assert all(gamma >= GAMMA for _, gamma in places(made))
    assert "chains would not get about in time where gamma is" in found.highest
    assert found.highest.endswith("with 20000 gradients")
    assert (found.pair.target.nbeta, found.pair.target.gamma) == (NBETA, GAMMA)
    made = world(error=0.5)
    made.reach = 0.5  # eight times in place of sixteen
    made.climb(max_gradients=20_000)
    near, far = places(made)[0], places(made)[2]
    assert (far[0] / near[0]) * (near[1] / far[1]) == pytest.approx(8 * 3000 / 50, rel=1e-3)


def test_no_rung_nearer_where_hardly_a_direction_counts_or_the_budget_is_short(world):
    for settings, looks in (({}, True), ({"max_gradients": 6000}, False), ({"nbeta": NBETA}, False)):
        made = world(error=0.5)
        made.climb(**settings)
        assert (places(made)[1] == (16 * NBETA, 16 * GAMMA)) is looks, settings
    assert 2 * 2 * 400 < 0.25 * (100_000 - 501)
    assert 2 * 2 * 400 > 0.25 * (6000 - 501)


def test_the_step_follows_the_mean_curvature_where_chains_are(world):
    """A degenerate w* is flat where chains are not."""
    made = world(error=0.5)
    made.curvature = 9.0
    made.climb()
    assert made.runs[0]["curvature"] == STEEPEST * NBETA
    assert all(run["curvature"] == pytest.approx(9.0 * run["nbeta"]) for run in made.runs[1:])


def test_no_draws_are_made_that_would_not_do(world):
    """The floor leaves more open than was asked for, and the draws' own error is less than half of that."""
    made = world(error=1.0)
    made.rest_se = 1.5
    found = made.climb(**GIVEN, target_error=0.1)
    assert made.on == []
    assert found.ended == ""
    made = world(error=5.0)
    made.rest_se = 1.5
    made.climb(**GIVEN, target_error=0.1)
    assert made.on  # first until the draws' own error is so small


def test_steps_to_other_temperatures_are_told_in_four_digits():
    climber = SimpleNamespace(nbeta=144.76482, gamma=5.0)
    module._Climber._take(climber, Step(1 / 3, 4.0, ""))
    assert (climber.nbeta, climber.gamma) == (48.25, 1.25)
    module._Climber._take(climber, Step(1, 2.0, ""))
    assert (climber.nbeta, climber.gamma) == (48.25, 0.625)
