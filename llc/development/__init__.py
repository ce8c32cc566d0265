"""Development: what trajectories of checkpoints say, from joint PCA on."""

from llc.development.pca import joint_pca
from llc.development.summary import format_table, summary_table

__all__ = ["format_table", "joint_pca", "summary_table"]
