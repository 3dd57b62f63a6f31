"""Errors of training and evaluation that a user can act on, each one sentence.

In:  nothing.
Out: children of fer_data.errors.FerError, which the command line turns into exit code 1.
"""

from fer_data.errors import FerError

__all__ = ["CheckpointError", "ConfigError", "DeviceError", "DivergedError", "FoldError", "RunError", "ShapeError"]


class ConfigError(FerError):
    """A configuration has an unknown key, a value out of its range, or differs from the one a run was started with."""


class DeviceError(FerError):
    """The device that was asked for is not there."""


class FoldError(FerError):
    """The manifest cannot be trained on: a person in two folds, a fold that does not exist, too few people."""


class RunError(FerError):
    """A run folder is not what a command needs: not finished, not a run, damaged."""


class CheckpointError(FerError):
    """A checkpoint cannot be read, or does not fit the networks it is loaded into."""


class DivergedError(FerError):
    """A loss is not finite; the batch that did it is on disk."""


class ShapeError(FerError):
    """A tensor at the edge of a network does not have the shape that the network was built for."""
