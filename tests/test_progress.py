"""Progress of long work: what is said, and when."""

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
