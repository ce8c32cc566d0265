"""A posterior over two strategies with three numbers, fitted to where checkpoints lie between them. Plain arrays."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

Form = Literal["power", "log"]
# Where fits begin, (a, log b, log c): the least is taken of what they come to.
_STARTS = [(a, b, c) for a in (-1.0, 1.0) for b in (-2.0, -0.5) for c in (-6.0, -3.0, 0.0)]


@dataclass(frozen=True)
class Entries:
    """Checkpoints that a posterior is fitted to, (N,) each.

    Attributes:
        samples: n, sequences seen.
        loss_gap: ℓ_A − ℓ_B, of the two references on the training distribution, in nats.
        cost_a, cost_b: complexities of the two.
        share: w_A, what was measured.
        weight: of its square.
    """

    samples: np.ndarray
    loss_gap: np.ndarray
    cost_a: np.ndarray
    cost_b: np.ndarray
    share: np.ndarray
    weight: np.ndarray

    def take(self, chosen: np.ndarray) -> "Entries":
        """Some of them."""
        return Entries(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Posterior:
    """p_s ∝ exp(−c n^{1−a} ℓ_s − P_s) with P_s = (ln 2) K_s^b (`power`) or P_s = b K_s ln n (`log`).

    The first is Wurgaft et al.'s (2025, arXiv 2506.17859), with K the bits of a strategy's description; the second has
    the form of a free energy, with K a learning coefficient.

    Attributes:
        form: of P.
        a: how much less than all samples count, from 0 to 1.
        b, c: above 0.
    """

    form: Form
    a: float
    b: float
    c: float

    def log_odds(self, of: Entries) -> np.ndarray:
        """log p_A − log p_B, (N,)."""
        evidence = -self.c * of.samples ** (1 - self.a) * of.loss_gap
        if self.form == "power":
            return evidence - np.log(2) * (of.cost_a**self.b - of.cost_b**self.b)
        return evidence - self.b * (of.cost_a - of.cost_b) * np.log(of.samples)

    def share(self, of: Entries) -> np.ndarray:
        """The probability of A, (N,)."""
        return expit(self.log_odds(of))


def fit(entries: Entries, form: Form) -> Posterior:
    """The posterior with the least Σ weight (share − predicted)², by L-BFGS from several starts.

    With the squared distance of the references as weight, that is the squared distance between what a checkpoint says
    and the posterior's mixture of the two, but for what no mixture of them says.
    """

    def posterior(at: np.ndarray) -> Posterior:
        return Posterior(form, float(expit(at[0])), float(np.exp(at[1])), float(np.exp(at[2])))

    def missed(at: np.ndarray) -> float:
        return float(np.average((posterior(at).share(entries) - entries.share) ** 2, weights=entries.weight))

    bounds = [(-8.0, 8.0), (-12.0, 3.0), (-25.0, 10.0)]
    with np.errstate(over="ignore"):
        found = [minimize(missed, start, method="L-BFGS-B", bounds=bounds) for start in _STARTS]
    return posterior(min(found, key=lambda one: one.fun).x)


def held_out(entries: Entries, groups: np.ndarray, form: Form) -> np.ndarray:
    """Predicted shares (N,), of each group by a fit to the others; NaN where there are fewer than three groups."""
    predicted = np.full(len(entries.share), np.nan)
    names = np.unique(groups)
    for name in names if len(names) > 2 else ():
        theirs = groups == name
        predicted[theirs] = fit(entries.take(~theirs), form).share(entries.take(theirs))
    return predicted


def root_mean_square(entries: Entries, predicted: np.ndarray) -> float:
    """√ of the weighted mean of (share − predicted)²."""
    return float(np.sqrt(np.average((predicted - entries.share) ** 2, weights=entries.weight)))
