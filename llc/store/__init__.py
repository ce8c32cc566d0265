"""Everything that touches disk: run folders, checkpoints, results. Configs are plain tables here."""

from llc.store.atomic import atomic_path, remove_scratch, scratch_file, write_text
from llc.store.checkpoints import checkpoint_path, read_checkpoint, write_checkpoint
from llc.store.experiment import (
    EXPERIMENT_FILE,
    RUN_FILE,
    Experiment,
    Run,
    claim,
    extend_sweep,
    merge,
    open_folder,
    run_name,
)
from llc.store.inspection import describe, verify
from llc.store.lock import folder_lock
from llc.store.results import (
    labelled,
    large,
    library_version,
    made_with,
    provenance,
    read_dataset,
    write_dataset,
    write_merged,
)
from llc.store.tables import differences, read_table, table_hash, write_table

__all__ = [
    "EXPERIMENT_FILE",
    "RUN_FILE",
    "Experiment",
    "Run",
    "atomic_path",
    "checkpoint_path",
    "claim",
    "describe",
    "differences",
    "extend_sweep",
    "folder_lock",
    "labelled",
    "large",
    "library_version",
    "made_with",
    "merge",
    "open_folder",
    "provenance",
    "read_checkpoint",
    "read_dataset",
    "read_table",
    "remove_scratch",
    "run_name",
    "scratch_file",
    "table_hash",
    "verify",
    "write_checkpoint",
    "write_dataset",
    "write_merged",
    "write_table",
    "write_text",
]
