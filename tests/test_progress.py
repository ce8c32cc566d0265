"""Progress of long work: what is said, and when."""

import time

from wells import GAMMA, NBETA, data, diagonal_well, well_loss

import llc
from llc.progress import patient_progress


def test_short_work_is_quiet_and_long_work_is_not(capsys):
    for seconds, said in ((100.0, ""), (0.0, "llc: 3/3 gradients")):
        with patient_progress("gradients", seconds) as progress:
            for done in range(4):
                progress("llc", done, 3, "")
        assert capsys.readouterr().err.strip().startswith(said)
        assert bool(said) or not capsys.readouterr().err


def test_what_was_said_once_is_shown_when_the_work_goes_on(capsys):
    """With what it begins with, where nothing follows for long; and once only."""
    with patient_progress("checkpoints", 0.05) as progress:
        progress("pilots", 0, 2, "choosing nbeta and gamma")
        assert not capsys.readouterr().err
        given_up, said = time.monotonic() + 30, ""
        while not said and time.monotonic() < given_up:
            time.sleep(0.01)
            said = capsys.readouterr().err
        progress("pilots", 0, 2, "choosing nbeta and gamma")
    assert said == "pilots: 0/2 checkpoints; choosing nbeta and gamma\n"
    assert not capsys.readouterr().err


def test_an_estimate_counts_its_gradients():
    """All rounds and rungs as one count, which ends near what the estimate says that it took."""
    said = []
    tree = llc.estimate_llc(
        diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, max_gradients=1000,
        progress=lambda *report: said.append(report),
    )  # fmt: skip
    counts = [done for _, done, _, _ in said]
    assert counts == sorted(counts)
    assert {(unit, most) for unit, _, most, _ in said} == {("llc", 1000)}
    assert 0.5 * float(tree.gradients) <= counts[-1] <= float(tree.gradients)
