"""llc: how a network's complexity develops over training, by the local learning coefficient.

    import llc
    experiment = llc.train(llc.presets.tiny(), out="runs/tiny")
    llc.estimate_llc_over_training(experiment)
    llc.joint_pca(experiment)
    experiment.metrics, experiment.llc, experiment.pca     # labelled xarray datasets

Names are imported when first used, so that `import llc` is quick.
"""

import importlib
from typing import Any

# Public name -> where it lives: a module, or a module and an attribute of it. Type checkers read `__init__.pyi`.
_PUBLIC = {
    "tasks": "llc.tasks",
    "predictors": "llc.predictors",
    "models": "llc.models",
    "behaviour": "llc.behaviour",
    "store": "llc.store",
    "training": "llc.training",
    "presets": "llc.training.presets",
    "sampling": "llc.sampling",
    "estimate": "llc.estimate",
    "validation": "llc.validation",
    "study": "llc.study",
    "systems": "llc.systems",
    "development": "llc.development",
    "figures": "llc.figures",
    "errors": "llc.errors",
    "Run": "llc.store:Run",
    "Experiment": "llc.store:Experiment",
    "open": "llc.store:open_folder",
    "open_results": "llc.store:open_results",
    "trust": "llc.store:trust",
    "train": "llc.training:train",
    "import_weights": "llc.training:import_weights",
    "export_weights": "llc.training:export_weights",
    "learning_coefficient": "llc.validation.learning_coefficient",
    "estimate_llc": "llc.estimate:estimate_llc",
    "from_devinterp": "llc.estimate:from_devinterp",
    "Losses": "llc.sampling:Losses",
    "influence": "llc.estimate:influence",
    "loss_kernel": "llc.estimate:loss_kernel",
    "per_sample_llc": "llc.estimate:per_sample_llc",
    "susceptibilities": "llc.estimate:susceptibilities",
    "susceptibility": "llc.estimate:susceptibility",
    "waic": "llc.estimate:waic",
    "estimate_llc_over_checkpoints": "llc.study:estimate_llc_over_checkpoints",
    "estimate_llc_over_training": "llc.study:estimate_llc_over_training",
    "susceptibilities_over_checkpoints": "llc.study:susceptibilities_over_checkpoints",
    "response_components": "llc.development:response_components",
    "heads": "llc.models:heads",
    "compare": "llc.development:compare",
    "joint_pca": "llc.development:joint_pca",
    "summary_table": "llc.store:summary_table",
    "write_report": "llc.report:write_report",
    "LLCError": "llc.errors:LLCError",
    "__version__": "llc.version:__version__",
}

__all__ = [  # noqa: PLE0604
    *_PUBLIC
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'llc' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
