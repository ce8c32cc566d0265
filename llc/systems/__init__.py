"""The systems of the literature, one paper a file; and every preset by name."""

from collections.abc import Callable, Mapping
from typing import Any

from llc.errors import InvalidInput, did_you_mean, shown_name
from llc.systems import (
    bhargav2024,
    chen2024,
    garg2022,
    he2025,
    he2025_multitask,
    huang2023,
    li2023,
    oswald2023,
    oswald2023_wide,
    raventos2023,
    transient_ridge,
    zuo2025,
)
from llc.systems.claims import Claim, claim_rows, format_claims
from llc.training import ExperimentConfig, presets

# Settings of λ̂ over training, but for what a system's own ESTIMATES say.
_ESTIMATES: dict[str, Any] = {"steps": "log:8", "max_gradients": 15_000}
# The line to add for a system: its file gives `config()` and `CLAIMS`.
SYSTEMS = {
    "bhargav2024": bhargav2024,
    "chen2024": chen2024,
    "garg2022": garg2022,
    "he2025": he2025,
    "he2025-multitask": he2025_multitask,
    "huang2023": huang2023,
    "li2023": li2023,
    "oswald2023": oswald2023,
    "oswald2023-wide": oswald2023_wide,
    "raventos2023": raventos2023,
    "zuo2025": zuo2025,
}
PRESETS: dict[str, Callable[[], ExperimentConfig]] = {
    **presets.PRESETS,
    **{name: system.config for name, system in SYSTEMS.items()},
}


# Presets whose paper says something of the whole study.
STUDIES = dict.fromkeys(("tiny", "small", "carroll"), transient_ridge)


def study_claims_of(config: Mapping[str, Any]) -> tuple[Claim, ...]:
    """What the paper of a config's preset claims of a whole study, whatever its size; none for other presets.

    Args:
        config: of the experiment, `experiment.config`.
    """
    study = STUDIES.get(str(config.get("preset")))
    return () if study is None else study.CLAIMS


def preset(name: str) -> ExperimentConfig:
    """A preset or system by name; see `llc.training.presets.preset`.

    Args:
        name: a key of `PRESETS`.
    Raises:
        InvalidInput: there is none of that name; the nearest is named.
    """
    return presets.preset(name, PRESETS)


def estimate_settings(name: str) -> dict[str, Any]:
    """What `llc systems --run` gives `estimate_llc_over_training` for a system: `steps`, and fields of `LLCConfig`.

    Args:
        name: a key of `SYSTEMS`.
    Raises:
        InvalidInput: there is none of that name; the nearest is named.
    """
    if name not in SYSTEMS:
        raise InvalidInput(f"unknown system {shown_name(name)}; {did_you_mean(name, SYSTEMS)}")
    return {**_ESTIMATES, **getattr(SYSTEMS[name], "ESTIMATES", {})}


def claims_of(config: Mapping[str, Any]) -> tuple[Claim, ...]:
    """What the paper claims whose preset an experiment is of; none for other studies.

    Nor where settings of the preset were changed: the task, model or training, or what is swept; values of its axes may
    be others.

    Args:
        config: of the experiment, `experiment.config`.
    """
    system = SYSTEMS.get(str(config.get("preset")))
    if system is None:
        return ()
    own = system.config()
    try:  # settings that are newer than the experiment are at their defaults
        found = ExperimentConfig.from_table({key: config[key] for key in own.to_table() if key in config})
    except InvalidInput:
        return ()
    swept = [set(one.sweep.axes) - {"seed"} for one in (found, own)]
    same = (found.task, found.model, found.training) == (own.task, own.model, own.training) and swept[0] == swept[1]
    return system.CLAIMS if same else ()


__all__ = [
    "PRESETS",
    "STUDIES",
    "SYSTEMS",
    "Claim",
    "claim_rows",
    "claims_of",
    "estimate_settings",
    "format_claims",
    "preset",
    "study_claims_of",
]
