"""t_crit, the step of the smallest loss on a task's headline test set, and how well a finite test set knows it."""

from dataclasses import dataclass

import numpy as np

from llc import behaviour, store
from llc.development.boundaries import check_resamples
from llc.parallel import Progress, quiet

_ENDS = (0.05, 0.95)


@dataclass(frozen=True)
class CriticalStep:
    """t_crit with its 90 % interval.

    Attributes:
        step, low, high: steps of checkpoints.
        is_last: whether it is the run's last one, so that nothing rose since.
    """

    step: int
    low: int
    high: int
    is_last: bool


def critical_step(
    run: store.Run, *, resamples: int = 1000, seed: int = 0, progress: Progress = quiet
) -> CriticalStep | None:
    """argmin_t of the mean loss on the headline's test set; None where the task has no headline.

    Again for test sets resampled from the sequences there are.

    Every checkpoint is evaluated on the same sequences, so that only what differs between checkpoints counts. The
    interval knows the sampling of the test set; the jitter of training from one checkpoint to the next is part of what
    it looks at. Only steps whose weights were kept can be looked at again.

    Raises:
        InvalidInput: resamples or a seed out of range.
        StoreError: a checkpoint is damaged, or there is none.
    """
    check_resamples(resamples, seed)
    if run.task.headline is None:
        return None
    test = behaviour.eval_sets(run.task, run.sequences)[run.task.headline]
    losses = []
    for number, step in enumerate(run.steps):
        progress("critical steps", number, len(run.steps), f"{run.name} step {step}")
        losses.append(behaviour.losses_by_sequence(run.model(step), test).numpy())
    return critical_step_of(np.array(run.steps), np.stack(losses), resamples=resamples, seed=seed)


def critical_step_of(steps: np.ndarray, losses: np.ndarray, *, resamples: int, seed: int) -> CriticalStep:
    """The same from losses of every sequence at every step, (T, B)."""
    rng = np.random.default_rng(seed)
    sequences = losses.shape[1]
    counts = rng.multinomial(sequences, np.full(sequences, 1 / sequences), size=resamples)
    again = steps[(counts @ losses.T).argmin(1)]
    best = int(losses.mean(1).argmin())
    low, high = np.quantile(again, _ENDS, method="inverted_cdf")
    step = int(steps[best])
    return CriticalStep(step, min(int(low), step), max(int(high), step), best == len(steps) - 1)
