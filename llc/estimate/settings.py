"""How one estimate is made: the settings that one model and a whole study have in common."""

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from torch import nn

from llc.config import Config
from llc.devices import Precision, double
from llc.errors import InvalidInput, did_you_mean, shown
from llc.sampling import LEAST_DRAWS, Restriction, chosen_weights, known_samplers

# Where the prior alone would leave chains, in units of ‖w*‖, unless the user says otherwise.
DEFAULT_RADIUS = 1.0


# Settings whose squares single precision holds; losses in small units take a large nβ.
_LARGEST = 1e18
# Of all chains, which keep a few numbers each.
_MOST_DRAWS = 10**9


def _known_sampler(value: object) -> object:
    if isinstance(value, str) and value not in (known := known_samplers()):
        raise ValueError(did_you_mean(value, known))
    if hasattr(value, "step"):
        raise ValueError(
            "expected a name; llc.sampling.SAMPLERS['mine'] = … gives a sampler of one's own the name 'mine'"
        )
    return value


class SamplingConfig(Config):
    """How λ̂ is estimated at one w*; None stands for a choice made from the model and data, and recorded.

    Args:
        sampler: one of kinetic, gle, sgld, rmsprop-sgld, mala and hmc, or devinterp-sgld or devinterp-rmsprop-sgld; by
            default gle on full batches, else kinetic.
        chains: how many at each of two temperatures, nbeta and a quarter of it.
        draws: how many a chain keeps; by default rounds of draws until `target_error` is reached.
        warmup: how many draws before those, kept apart and never averaged; by default until burn-in is found to end.
        batch_size: samples a draw; by default all where that is cheap or the sampler needs it, else 256 or more.
        control_variates: correct minibatch gradients by their error at w*; by default where that lowers their noise,
            and not in a study whose nbeta and gamma are given.
        target_error: half-width of the 90 % interval, relative to llc, at which rounds end.
        max_gradients: minibatch gradients, of all chains, after which no new round is begun.
        headline: which llc is reported: w*, at the weights; basin, of the basin below them; auto, w* where gamma is
            given and the weights are on the floor, else basin.
        plateau: whether llc is known to be, or not to be, a plateau at the nbeta and gamma given; None where nobody
            looked.
        parameters: patterns such as 'blocks.0.*' or 'blocks.0.attention.qkv.weight[0:16]'; only weights that they name
            move. By default all.
        nbeta: inverse temperature, of the mean loss; chosen where it is not given.
        gamma: localisation, gamma/2 |w - w*|^2; chosen where it is not given.
        radius: gamma, said as the prior's radius √(P/gamma) over |w*|.
        step_size: of the sampler, epsilon of sgld, rmsprop-sgld and mala, h of the others; by default it follows the
            curvature.
        full_loss_every: look at the whole dataset's loss at every k-th draw; by default a few times.
        precision: of matrix products: float32, tf32 or bf16; what that adds to llc is measured and taken off.
        compile: compile the gradient first, which takes half a minute and makes it faster.
        seed: of the chains' noise and minibatches.
        max_rhat: R-hat and nested R-hat above which chains disagree, by default 1.2, or 1.05 where draws are given; it
            takes two chains.
    """

    sampler: Annotated[str | None, BeforeValidator(_known_sampler)] = None
    chains: int = Field(2, ge=1, le=10_000)
    draws: int | None = Field(None, ge=LEAST_DRAWS, le=10_000_000)
    warmup: int | None = Field(None, ge=0)
    batch_size: int | None = Field(None, ge=1)
    control_variates: bool | None = None
    target_error: float = Field(0.1, gt=0)
    max_gradients: int = Field(100_000, ge=1)
    headline: Literal["auto", "w*", "basin"] = "auto"
    plateau: bool | None = None
    parameters: list[str] | None = None
    nbeta: float | None = Field(None, gt=0, le=_LARGEST)
    gamma: float | None = Field(None, ge=0, le=_LARGEST)
    radius: float | None = Field(None, ge=1 / _LARGEST, le=_LARGEST)
    step_size: float | None = Field(None, gt=0, le=_LARGEST)
    full_loss_every: int | None = Field(None, ge=1)
    precision: Precision = "float32"
    compile: bool | None = None
    seed: int = Field(0, ge=0)
    max_rhat: float | None = Field(None, gt=1)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.gamma is not None and self.radius is not None:
            raise ValueError(f"gamma = {self.gamma} and radius = {self.radius} given; they are one setting, give one")
        if self.chains * (self.draws or 1) > _MOST_DRAWS:
            raise ValueError(f"chains = {self.chains} and draws = {self.draws} given, expected {_MOST_DRAWS:,} draws "
                             "of all chains at most")  # fmt: skip
        if self.max_rhat is not None and self.chains < 2:
            raise ValueError(f"R-hat compares chains: max_rhat = {self.max_rhat} given with chains = {self.chains}, "
                             "expected at least 2 chains")  # fmt: skip
        return self


def choose_gamma(models: Iterable[nn.Module], config: SamplingConfig, restriction: Restriction | None = None) -> float:
    """γ as it was given, or from the radius: P/(radius·‖w*‖)², geometric mean over models.

    Only weights that move count. One value has to serve every checkpoint that is compared, for λ̂ depends on γ.
    """
    if config.gamma is not None:
        return config.gamma
    radius = config.radius or DEFAULT_RADIUS
    logs = []
    for model in models:
        moving = chosen_weights(model, config.parameters if restriction is None else restriction)
        weights = [double(chosen.elements) for chosen in moving.values()]
        square = sum(float(w.square().sum()) for w in weights)
        if 0 < square < math.inf:
            logs.append(math.log(sum(w.numel() for w in weights) / (radius**2 * square)))
    if not logs:
        return 1.0
    log_gamma = sum(logs) / len(logs)
    if not log_gamma < math.log(_LARGEST):
        raise InvalidInput(
            f"radius = {radius:g} given, which makes gamma = 1e{log_gamma / math.log(10):.0f}; give more"
        )
    return float(f"{math.exp(log_gamma):.3g}")


def checked_reference_losses(given: Mapping[str, float] | None) -> dict[str, float]:
    """Losses by name, each a finite number, or InvalidInput."""
    losses = {} if given is None else given
    if not isinstance(losses, Mapping) or not all(
        isinstance(name, str) and isinstance(loss, numbers.Real) and math.isfinite(loss)
        for name, loss in losses.items()
    ):
        raise InvalidInput(
            f"reference_losses = {given!r} given, expected finite numbers by name, such as {{'zero': 4.1}}"
        )
    return {name: float(loss) for name, loss in losses.items()}


def patterns_of(given: Any) -> list[str]:
    """Patterns of names as a list, or InvalidInput."""
    patterns = [given] if isinstance(given, str) else list(given) if isinstance(given, Sequence) else []
    if not patterns:
        raise InvalidInput(
            f"parameters = {shown(given)} given, expected patterns of names or masks by name; leave it out to move all"
        )
    return patterns
