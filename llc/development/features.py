"""What of a checkpoint a trajectory is made of: its predictions on fixed sequences, all its outputs, or its weights."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from llc import behaviour, store
from llc.errors import InvalidInput, did_you_mean, shown, shown_name
from llc.predictors import is_baseline
from llc.tasks import Batch, Task

Kind = Literal["predictions", "outputs", "weights"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Features:
    """A map from checkpoints to vectors f(w).

    Attributes:
        kind: `predictions` on the probe, in the shape of its targets; `outputs` at every token of it (B, T, d_out);
            or `weights` (P,).
        probe: not looked at for weights.
        shape: of f(w) before it is made a vector.
        dims: their names.
    """

    kind: Kind
    probe: Batch
    shape: tuple[int, ...]
    dims: tuple[str, ...]

    @property
    def columns(self) -> int:
        """Numbers in a vector."""
        return int(np.prod(self.shape))

    def of(self, run: store.Run, step: int) -> np.ndarray:
        """f(w), float32, (columns,).

        Raises:
            InvalidInput: the weights at this step were not kept, and what was kept in their place will not do.
        """
        if self.kind == "weights":
            return torch.cat([p.detach().flatten() for p in run.model(step).parameters()]).float().numpy()
        if self.kind == "outputs":
            return behaviour.token_outputs(run.model(step), self.probe).float().flatten().numpy()
        if step in run.steps:
            return behaviour.predict(run.model(step), self.probe).float().flatten().numpy()
        return self._kept(run, step)

    def of_references(self, run: store.Run) -> dict[str, np.ndarray]:
        """f of the run's references, but those that know nothing; of predictors there are predictions only."""
        if self.kind != "predictions":
            return {}
        known = [name for name, predictor in run.task.predictors().items() if not is_baseline(predictor)]
        found = behaviour.reference_outputs(run.task, self.probe)
        return {name: found[name].double().flatten().numpy() for name in known}

    def _kept(self, run: store.Run, step: int) -> np.ndarray:
        """Predictions that were kept in place of weights (`checkpoints.weights_every`)."""
        found, number = run.predictions(step), self.probe.size
        theirs = run.task.probe(number).inputs
        if not all(map(torch.equal, theirs, self.probe.inputs)):
            raise InvalidInput(
                f"{run.path} keeps predictions on the task's own probe in place of the weights of step {step} "
                "(checkpoints.weights_every), and another was given; leave --probe out"
            )
        if len(found) < number:
            raise InvalidInput(
                f"sequences = {number} given, but {run.path} keeps {len(found)} predictions in place of the weights "
                f"of step {step} (checkpoints.weights_every); expected at most {len(found)}"
            )
        return found[:number].float().flatten().numpy()


def steps_of(run: store.Run, kind: str) -> list[int]:
    """Steps of a run at which there is something to take features from."""
    return run.recorded_steps if kind == "predictions" else run.steps


def make_features(runs: list[store.Run], kind: str, probe: str | Batch, sequences: int) -> Features:
    """The features of a sweep's runs.

    Args:
        kind: see `Features`.
        probe: where the B sequences come from: `own`, the probe of the task; the name of one of its test sets, as the
            first run has it; or a batch of the user's own.
        sequences: B; of a user's own probe all are taken.
    Raises:
        InvalidInput: an unknown kind, a probe of the wrong shape, no sequences, or a model without outputs.
    """
    if kind not in KINDS:
        raise InvalidInput(f"unknown features {shown_name(kind)}; {did_you_mean(kind, KINDS)}")
    if sequences < 1:
        raise InvalidInput(f"sequences = {sequences} given, expected at least 1")
    task = runs[0].task
    batch = _drawn_probe(probe, task, sequences) if isinstance(probe, str) else _user_probe(probe, task)
    if kind == "weights":
        sizes = {sum(p.numel() for p in run.untrained().parameters()) for run in runs}
        if len(sizes) > 1:
            raise InvalidInput(
                f"features = weights given, but the runs have models of {', '.join(map(str, sorted(sizes)))} "
                "parameters; expected models of one shape"
            )
        return Features("weights", batch, (sizes.pop(),), ("parameter",))
    if kind == "outputs":
        found = behaviour.token_outputs(runs[0].model(runs[0].steps[0]), batch.take(slice(1)))
        return Features("outputs", batch, (batch.size, *found.shape[1:]), ("sequence", "token", "output"))
    dims = ("sequence", "position", "output")[: batch.targets.ndim]
    return Features("predictions", batch, tuple(batch.targets.shape), dims)


OWN_PROBE = "own"


def _drawn_probe(name: str, task: Task, sequences: int) -> Batch:
    if name == OWN_PROBE:
        return task.probe(sequences)
    sources = task.test_tasks()
    if name not in sources:
        raise InvalidInput(f"unknown probe {shown_name(name)}; {did_you_mean(name, [OWN_PROBE, *sources])}")
    return sources[name].sample(sequences, stream="probe")


def _user_probe(probe: Batch, task: Task) -> Batch:
    try:
        batch = Batch(*probe)
        sizes = {tuple(tensor.shape[:1]) for tensor in batch.flat}
    except (TypeError, AttributeError):  # no batch, or none of tensors
        sizes = set()
    if len(sizes) != 1 or sizes <= {(), (0,)}:
        raise InvalidInput(
            f"probe = {shown(probe)} given, expected {OWN_PROBE}, the name of a test set, or an "
            "llc.tasks.Batch(inputs=(…), targets=…) of as many sequences each"
        )
    given, expected = ([tuple(tensor.shape[1:]) for tensor in one.flat] for one in (batch, task.probe(1)))
    if given != expected:
        raise InvalidInput(f"a probe of shapes (B, …) {given} given, expected {expected}, inputs and targets")
    return batch.float()
