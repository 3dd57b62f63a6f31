"""What tests of commands share."""

from click.testing import CliRunner

from cli.fer_model import main

__all__ = ["call", "call_in_one_line"]


def call(*words, code=0):
    """Run fer-model and return what it printed."""
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output + str(done.exception)
    return done.output


def call_in_one_line(*words, code=0):
    """Run fer-model and return what it printed, as one line."""
    return call(*words, code=code).replace("\n", " ")
