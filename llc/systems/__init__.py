"""The systems of the literature, one paper a file; and every preset by name."""

from collections.abc import Callable

from llc.systems.he2025 import he2025
from llc.systems.oswald2023 import oswald2023
from llc.training import ExperimentConfig, presets

# The line to add for a system.
PRESETS: dict[str, Callable[[], ExperimentConfig]] = {**presets.PRESETS, "he2025": he2025, "oswald2023": oswald2023}


def preset(name: str) -> ExperimentConfig:
    """A preset or system by name; see `llc.training.presets.preset`."""
    return presets.preset(name, PRESETS)


__all__ = ["PRESETS", "he2025", "oswald2023", "preset"]
