"""What type checkers know of the names that `llc` imports when they are first used."""

from llc import (
    behaviour as behaviour,
    development as development,
    errors as errors,
    estimate as estimate,
    figures as figures,
    models as models,
    predictors as predictors,
    sampling as sampling,
    store as store,
    study as study,
    systems as systems,
    tasks as tasks,
    training as training,
    validation as validation,
)
from llc.development import compare as compare, joint_pca as joint_pca, response_components as response_components
from llc.errors import LLCError as LLCError
from llc.estimate import (
    estimate_llc as estimate_llc,
    from_devinterp as from_devinterp,
    influence as influence,
    loss_kernel as loss_kernel,
    per_sample_llc as per_sample_llc,
    susceptibilities as susceptibilities,
    susceptibility as susceptibility,
    waic as waic,
)
from llc.models import heads as heads
from llc.report import write_report as write_report
from llc.sampling import Losses as Losses
from llc.store import (
    Experiment as Experiment,
    Run as Run,
    open_folder as _open_folder,
    open_results as open_results,
    summary_table as summary_table,
    trust as trust,
)
from llc.study import (
    estimate_llc_over_checkpoints as estimate_llc_over_checkpoints,
    estimate_llc_over_training as estimate_llc_over_training,
    susceptibilities_over_checkpoints as susceptibilities_over_checkpoints,
)
from llc.training import (
    export_weights as export_weights,
    import_weights as import_weights,
    presets as presets,
    train as train,
)
from llc.validation import learning_coefficient as learning_coefficient
from llc.version import __version__ as __version__

open = _open_folder
