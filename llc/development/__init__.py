"""Development: what trajectories of checkpoints say, from joint PCA on."""

from llc.development.boundaries import Boundary, trend_changes, turns
from llc.development.claims import study_claims
from llc.development.comparison import compare, compare_rows
from llc.development.essential import geometry
from llc.development.forms import essential_dynamics, form_rows
from llc.development.pca import format_pca, joint_pca, project
from llc.development.readouts import readouts
from llc.development.responses import Flip, response_components, sign_flips
from llc.development.robustness import pca_robustness
from llc.development.shifts import format_behaviour, shifted_behaviour
from llc.development.stage_table import Curve, format_stages, latex_stages, stage_table
from llc.development.stages import NothingToStage, find_stages, stage_rows
from llc.development.strategies import format_strategies, strategies, strategy_rows
from llc.development.tradeoff import check_pair, format_tradeoff, tradeoff

__all__ = [
    "Boundary",
    "Curve",
    "Flip",
    "NothingToStage",
    "check_pair",
    "compare",
    "compare_rows",
    "essential_dynamics",
    "find_stages",
    "form_rows",
    "format_behaviour",
    "format_pca",
    "format_stages",
    "format_strategies",
    "format_tradeoff",
    "geometry",
    "joint_pca",
    "latex_stages",
    "pca_robustness",
    "project",
    "readouts",
    "response_components",
    "shifted_behaviour",
    "sign_flips",
    "stage_rows",
    "stage_table",
    "strategies",
    "strategy_rows",
    "study_claims",
    "tradeoff",
    "trend_changes",
    "turns",
]
