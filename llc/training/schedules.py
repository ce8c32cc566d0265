"""Learning rates as pure functions of the step."""

from llc.training.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The learning rate η_s of the update that leads from step s to s + 1, with peak η and T updates in all.

    constant:  η_s = η · min(1, (s + 1)/warmup_steps)
    linear:    the same times 1 − s/T, down to 0 at the end
    triangle:  η_s = η · (1 − |2s/T − 1|), from 0 up to η at half time and down again

    Args:
        config: gives η, T, the schedule and its warm-up.
        step: s, from 0 to T − 1.
    """
    if config.schedule == "triangle":
        return config.learning_rate * (1 - abs(2 * step / config.steps - 1))
    rate = config.learning_rate
    if step + 1 < config.warmup_steps:
        rate = rate * (step + 1) / config.warmup_steps
    return rate * (1 - step / config.steps) if config.schedule == "linear" else rate
