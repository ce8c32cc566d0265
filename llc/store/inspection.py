"""What a folder holds, and whether it is whole."""

import itertools

from llc.errors import StoreError
from llc.store.checkpoints import checkpoint_path, checkpoint_steps, read_checkpoint
from llc.store.experiment import RESULTS, Experiment, Run
from llc.store.results import read_dataset
from llc.store.tables import flat


def describe(found: Experiment | Run) -> str:
    """What a folder holds, for a reader: a few lines of text."""
    if isinstance(found, Run):
        steps = found.steps
        held = f"{len(steps)} checkpoints, steps {steps[0]} to {steps[-1]}" if steps else "no checkpoints yet"
        state = "finished" if found.finished else "not finished; run the same `llc train` command to go on"
        lines = [f"Run {found.path}: {held}; {state}"]
        return "\n".join(lines + [f"  {line}" for line in flat(found.config)])
    lines = [f"Experiment {found.path}: preset {found.config['preset']}, {len(found.wanted)} runs"]
    if "imported_from" in found.provenance:
        lines.append(f"  weights imported from {found.provenance['imported_from']}")
    for run in found.runs:
        lines.append(f"  {run.name}: {len(run.steps)} checkpoints{'' if run.finished else ', not finished'}")
    not_begun = [name for name in found.wanted if not (found.path / name).exists()]
    lines += [f"  {name}: not begun" for name in not_begun]
    if not found.finished:
        command = "import" if "imported_from" in found.provenance else "train"
        lines.append(f"  not finished; run the same `llc {command}` command to go on")
    for name in ("metrics", "llc", "pca"):
        if not (found.path / f"{name}.nc").exists():
            lines.append(f"  no {name}.nc yet")
    for look, name in itertools.product((found.outdated, found.incomplete), RESULTS):
        try:
            why = look(name)
        except StoreError as error:
            why = str(error)
        lines += [f"  {why}"] if why and f"  {why}" not in lines else []
    return "\n".join(lines)


def verify(found: Experiment | Run) -> list[str]:
    """What is wrong with the files of a folder, a sentence each; reads every byte of them.

    Checkpoints that are not what was written, or of another config, and results that cannot be read.
    """
    said = []
    for run in [found] if isinstance(found, Run) else found.runs:
        for folder in (run.checkpoints, run.predicted):
            for step in checkpoint_steps(folder):
                try:
                    read_checkpoint(checkpoint_path(folder, step), config_hash=run.config_hash)
                except StoreError as error:
                    said.append(str(error))
    for path in sorted(found.path.rglob("*.nc")):
        try:
            read_dataset(path)
        except StoreError as error:
            said.append(str(error))
    return said
