"""Steps one by one, as tests look at them."""

from fer_model.engine.steps import Steps

__all__ = ["batch_at", "do"]


def batch_at(stage, step, member=0):
    """Return the batch that a classifier learns from at `step`."""
    return stage.batch(stage.row(step), member)


def do(stage, step):
    """Do step `step` of a stage; return its losses by name."""
    return Steps(stage).do(step, step + 1)[0]
