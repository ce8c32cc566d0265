"""What an estimate's tree holds of losses along its draws, and whether its draws can be believed."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from llc.errors import InvalidInput, did_you_mean
from llc.estimate.observed.pieces import Cut, Found, blocks, cut

# Independent draws of which second moments are known to no better than a fifth.
_LEAST_EFFECTIVE = 50
# Mean losses of the same samples differ by no more than this share.
_SAME_LOSS = 1e-3
# Verdicts that say something of the size of λ̂ and nothing of the draws.
_OF_THE_SIZE = ("off-minimum",)


@dataclass(frozen=True)
class Reading:
    """Losses of a dataset at the draws of one estimate.

    Attributes:
        difference: ℓ_i(w) − ℓ_i(w*), (chain, draw, …); perhaps in a file.
        baseline: ℓ_i(w*), (…).
        dims: of the dataset, sample and perhaps position.
        cut: pieces of the chains, for errors.
        draws: their numbers.
        nbeta, gamma: of the posterior.
        num_samples: n, of the data that are sampled.
        heat: share of second moments that step size and minibatches have added.
        verdict, reason: of what is made of the draws.
        trace: the mean loss at every draw, (chain, draw).
        excess: nats that those and low precision have added to λ̂ at w*, of the loss that is sampled.
        sampled: whether these are all samples that are sampled, with the loss that is sampled.
        weighted: whether the loss of a sample is times its weight over the mean weight.
    """

    name: str
    difference: np.ndarray
    baseline: np.ndarray
    dims: tuple[str, ...]
    cut: Cut
    draws: np.ndarray
    nbeta: float
    gamma: float
    num_samples: float
    heat: float
    verdict: str
    reason: str
    trace: np.ndarray
    excess: float
    sampled: bool
    weighted: bool

    @property
    def by_sample(self) -> np.ndarray:
        """(chain, draw, n), averaged over positions."""
        return self.difference.mean(-1) if self.difference.ndim == 4 else self.difference

    @property
    def flat(self) -> np.ndarray:
        """(chain, draw, n) or (chain, draw, n·K)."""
        return self.difference.reshape(*self.difference.shape[:2], -1)

    def attrs(self, convention: str) -> dict[str, Any]:
        """What a result says of how it was made."""
        convention += "; loss_i is times its weight over the mean weight" if self.weighted else ""
        made = {"dataset": self.name, "nbeta": self.nbeta, "gamma": self.gamma, "convention": convention}
        pieces = {"pieces": self.cut.number, "effective_draws": self.cut.effective, "heat": self.heat}
        return made | pieces | {"verdict": self.verdict, "reason": self.reason}


def read(tree: xr.DataTree, name: str) -> Reading:
    """Losses of a dataset, `llc.Losses(name)`, in an estimate's tree.

    Raises:
        InvalidInput: the tree has no losses of that name, or fewer than eight looks at them.
    """
    if not isinstance(tree, xr.DataTree) or not isinstance(name, str):
        raise InvalidInput(
            f"a {type(tree).__name__} and {name!r} given, expected the tree of an estimate and the name of a dataset"
        )
    there = list(tree["losses"].children) if "losses" in tree.children else []
    if name not in there:
        hint = (
            did_you_mean(name, there) if there else "observables=[llc.Losses('test', data)] in estimate_llc keeps them"
        )
        raise InvalidInput(f"the estimate has no losses of {name!r}; {hint}")
    group = tree["losses"][name].to_dataset()
    if "difference" not in group or group["difference"].dims[:2] != ("chain", "draw") or "verdict" not in tree:
        raise InvalidInput(
            f"the losses of {name} are not as an estimate left them, by chain and draw beside a verdict; give the "
            "whole tree"
        )
    difference = group["difference"].values
    if (draws := difference.shape[1]) < 8:
        raise InvalidInput(f"losses of {name} were looked at in {draws} draws a chain, expected 8 or more")
    trace, broken = _trace(difference, name)
    how = cut(trace)
    verdict, reason = _judged(tree, how)
    if broken:
        reason += f"; {broken} of {int(np.prod(difference.shape[2:]))} losses of {name} are not finite at every draw"
    heat, basin = float(tree["step_excess"]), float(tree["llc_basin"])
    excess, baseline = float(tree["llc_raw"]) - float(tree["llc_at_w"]), group["baseline"].values
    level = float(tree["loss_init"])
    samples = baseline.shape[0] if baseline.ndim else int(tree["num_samples"])
    return Reading(
        name=name,
        difference=difference,
        baseline=baseline,
        dims=tuple("position" if str(dim).startswith("position") else str(dim) for dim in group["baseline"].dims),
        cut=how,
        draws=group["draw"].values,
        nbeta=float(tree["nbeta"]),
        gamma=float(tree["gamma"]),
        num_samples=float(tree["num_samples"]),
        heat=float(np.clip(heat / basin, 0, 1)) if basin > 0 and heat > 0 else 0.0,
        verdict=verdict,
        reason=reason,
        trace=trace,
        excess=excess if np.isfinite(excess) else 0.0,
        sampled=samples == int(tree["num_samples"]) and abs(baseline.mean() - level) <= _SAME_LOSS * abs(level),
        weighted=bool(group.attrs.get("weighted", 0)),
    )


def _trace(difference: np.ndarray, name: str) -> tuple[np.ndarray, int]:
    """The mean loss of what is finite at every draw, (chain, draw), and how many losses are not."""
    flat = difference.reshape(*difference.shape[:2], -1)
    with np.errstate(invalid="ignore"):
        trace = flat.mean(2, dtype=np.float64)
    if np.isfinite(trace).all():
        return trace, 0
    good = np.concatenate(
        [np.isfinite(flat[:, :, block]).all((0, 1)) for block in blocks(flat.shape[2], flat[:, :, 0].size)]
    )
    if not good.any():
        raise InvalidInput(f"no loss of {name} is finite at every draw; keep chains nearer, by a larger gamma")
    return flat[:, :, good].mean(2, dtype=np.float64), int((~good).sum())


def together(tree: xr.DataTree, *names: str) -> list[Reading]:
    """Losses of several datasets at the same draws.

    Raises:
        InvalidInput: they were looked at in different draws.
    """
    found = [read(tree, name) for name in names]
    for other in found[1:]:
        if not np.array_equal(other.draws, found[0].draws):
            raise InvalidInput(
                f"losses of {names[0]} and {other.name} were looked at in different draws; give both the same `every`"
            )
    how = cut(*(reading.trace for reading in found))
    verdict, reason = _judged(tree, how)
    said = [one.reason.removeprefix(str(tree["reason"].item())) for one in found if "not finite" in one.reason]
    return [replace(one, cut=how, verdict=verdict, reason=reason + "".join(dict.fromkeys(said))) for one in found]


def _judged(root: xr.DataTree, how: Cut) -> tuple[str, str]:
    """The estimate's verdict on its draws; `drifting` where they are too few for second moments."""
    verdict, reason = str(root["verdict"].item()), str(root["reason"].item())
    if verdict in _OF_THE_SIZE:
        verdict, reason = "converged", f"a covariance has no part in w* lying above its floor (of llc: {reason})"
    if verdict in {"converged", "scale-dependent"} and how.effective < _LEAST_EFFECTIVE:
        return "drifting", (
            f"the draws that were looked at are worth {how.effective:.0f} independent ones, expected "
            f"{_LEAST_EFFECTIVE} or more: more draws"
        )
    return verdict, reason


def labelled(found: Found, how: Cut, name: str, dims: tuple[str, ...], said: tuple[str, str]) -> dict[str, Any]:
    """A quantity with its error and 90 % interval, as variables of a dataset.

    Args:
        said: what it is, and its units.
    """
    long_name, units = said
    numbers = {
        name: (found.value, long_name),
        f"{name}_se": (found.se, f"standard error of {name}"),
        f"{name}_low": (found.value - how.reach * found.se, f"lower end of the 90 % interval of {name}"),
        f"{name}_high": (found.value + how.reach * found.se, f"upper end of the 90 % interval of {name}"),
    }
    return {key: (dims, values, {"long_name": text, "units": units}) for key, (values, text) in numbers.items()}
