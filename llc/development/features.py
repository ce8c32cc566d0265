"""What of a checkpoint a trajectory is made of: its predictions on fixed sequences, all its outputs, or its weights."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from llc import behaviour, store
from llc.errors import InvalidInput, did_you_mean
from llc.training import RunConfig, load_model

Kind = Literal["predictions", "outputs", "weights"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Features:
    """A map from checkpoints to vectors f(w).

    Attributes:
        kind: `predictions` on the probe (B, K), `outputs` at every token of it (B, T, d_out), or `weights` (P,).
        probe: inputs (B, K, D) and (B, K); not looked at for weights.
        shape: of f(w) before it is made a vector. dims: their names.
    """

    kind: Kind
    probe: behaviour.Batch
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
            return torch.cat([p.detach().flatten() for p in load_model(run, step).parameters()]).float().numpy()
        if self.kind == "outputs":
            return behaviour.outputs(load_model(run, step), *self.probe).float().flatten().numpy()
        if step in run.steps:
            return behaviour.predict(load_model(run, step), *self.probe).float().flatten().numpy()
        return self._kept(run, step)

    def of_references(self, run: store.Run) -> dict[str, np.ndarray]:
        """f of ridge and of the run's own dMMSE_M; of predictors there are predictions only."""
        if self.kind != "predictions":
            return {}
        found = behaviour.reference_predictions(RunConfig.from_table(run.config).task, *self.probe)
        return {name: values.double().flatten().numpy() for name, values in found.items()}

    def _kept(self, run: store.Run, step: int) -> np.ndarray:
        """Predictions that were kept in place of weights (`checkpoints.weights_every`)."""
        found, number = run.predictions(step), len(self.probe[1])
        theirs, _ = behaviour.probe(RunConfig.from_table(run.config).task, number)
        if not torch.equal(theirs, self.probe[0]):
            raise InvalidInput(
                f"{run.path} keeps predictions on sequences of q_1 in place of the weights of step {step} "
                "(checkpoints.weights_every), and another probe was given; leave --probe at 1"
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


def make_features(runs: list[store.Run], kind: str, probe: int | float | behaviour.Batch, sequences: int) -> Features:
    """The features of a sweep's runs.

    Args:
        kind: see `Features`.
        probe: M whose q_M the B sequences come from (`inf` for the Gaussian prior), or inputs of the user's own.
        sequences: B; of a user's own probe all are taken.
    Raises:
        InvalidInput: an unknown kind, a probe of the wrong shape, no sequences, or a model without outputs.
    """
    if kind not in KINDS:
        raise InvalidInput(f"unknown features {kind}; {did_you_mean(kind, KINDS)}")
    if sequences < 1:
        raise InvalidInput(f"sequences = {sequences} given, expected at least 1")
    task = RunConfig.from_table(runs[0].config).task
    batch = _user_probe(probe, task) if isinstance(probe, tuple | list) else _drawn_probe(probe, task, sequences)
    if kind == "weights":
        size = sum(p.numel() for p in load_model(runs[0], runs[0].steps[0]).parameters())
        return Features("weights", batch, (size,), ("parameter",))
    if kind == "outputs":
        found = behaviour.outputs(load_model(runs[0], runs[0].steps[0]), batch[0][:1], batch[1][:1])
        return Features("outputs", batch, (len(batch[1]), *found.shape[1:]), ("sequence", "token", "output"))
    return Features("predictions", batch, tuple(batch[1].shape), ("sequence", "position"))


def _drawn_probe(num_tasks: int | float, task, sequences: int) -> behaviour.Batch:
    if num_tasks == 1:
        return behaviour.probe(task, sequences)
    if num_tasks != np.inf and (num_tasks < 1 or num_tasks != int(num_tasks)):
        raise InvalidInput(f"probe = {num_tasks} given, expected a number of tasks M, such as 1, or inf")
    source = task.with_num_tasks(None if num_tasks == np.inf else int(num_tasks))
    return source.sample(sequences, stream="probe")


def _user_probe(probe: behaviour.Batch, task) -> behaviour.Batch:
    xs, ys = probe
    expected = (len(ys), task.num_examples, task.dim)
    if tuple(xs.shape) != expected or tuple(ys.shape) != expected[:2]:
        raise InvalidInput(
            f"a probe of shapes {tuple(xs.shape)} and {tuple(ys.shape)} given, expected (B, {task.num_examples}, "
            f"{task.dim}) and (B, {task.num_examples})"
        )
    return xs.float(), ys.float()
