"""Everything that touches disk: run folders, checkpoints, results. Configs are plain tables here."""

from llc.store import labels, places
from llc.store.again import is_made, recipe
from llc.store.arguments import takes_experiment
from llc.store.atomic import atomic_path, check_readable, check_regular, is_there, own_folder, scratch_file, write_text
from llc.store.checkpoints import (
    PREDICTIONS,
    apart,
    checkpoint_path,
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)
from llc.store.claiming import check_belongs, claim, extend_sweep
from llc.store.experiment import Experiment, open_folder, open_results
from llc.store.folder_code import check_code_unchanged, code_of, distrust, keep_code, remember, trust
from llc.store.foreign_checkpoints import checkpoints_in, read_foreign, state_in, without_steps
from llc.store.inspection import describe, passed_over, verify, without_checksum
from llc.store.lock import LOCK_FILE, folder_lock
from llc.store.merging import merge
from llc.store.numbered import check_numbered, numbered_path, numbered_steps, settings_folders
from llc.store.places import run_name
from llc.store.reading import large, read_dataset, read_numbered
from llc.store.registry import MADE, RESULTS, Result
from llc.store.removal import own_folders, remove_file, remove_folder, remove_if_empty, remove_scratch
from llc.store.results import (
    carries,
    check_made_with,
    labelled,
    provenance,
    settings_of,
    write_as_it_is,
    write_dataset,
    write_merged,
)
from llc.store.run import EXPERIMENT_FILE, RUN_FILE, Run
from llc.store.state import read_state, write_state
from llc.store.summary import format_table, summary_table
from llc.store.tables import differences, read_table, table_hash, write_table

__all__ = [
    "EXPERIMENT_FILE",
    "LOCK_FILE",
    "MADE",
    "PREDICTIONS",
    "RESULTS",
    "RUN_FILE",
    "Experiment",
    "Result",
    "Run",
    "apart",
    "atomic_path",
    "carries",
    "check_belongs",
    "check_code_unchanged",
    "check_made_with",
    "check_numbered",
    "check_readable",
    "check_regular",
    "checkpoint_path",
    "checkpoints_in",
    "claim",
    "code_of",
    "describe",
    "differences",
    "distrust",
    "extend_sweep",
    "folder_lock",
    "format_table",
    "is_made",
    "is_there",
    "keep_code",
    "labelled",
    "labels",
    "large",
    "merge",
    "numbered_path",
    "numbered_steps",
    "open_folder",
    "open_results",
    "own_folder",
    "own_folders",
    "passed_over",
    "places",
    "provenance",
    "read_checkpoint",
    "read_dataset",
    "read_foreign",
    "read_numbered",
    "read_state",
    "read_table",
    "recipe",
    "remember",
    "remove_checkpoint",
    "remove_file",
    "remove_folder",
    "remove_if_empty",
    "remove_scratch",
    "run_name",
    "scratch_file",
    "settings_folders",
    "settings_of",
    "state_in",
    "summary_table",
    "table_hash",
    "takes_experiment",
    "trust",
    "verify",
    "without_checksum",
    "without_steps",
    "write_as_it_is",
    "write_checkpoint",
    "write_dataset",
    "write_merged",
    "write_state",
    "write_table",
    "write_text",
]
