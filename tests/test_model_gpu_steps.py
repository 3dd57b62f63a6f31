"""What a step asks of a device: work, and no answer. Device `meta` stands for a GPU: it has shapes, and no values that could be read."""

import pytest

from benchmarks.waits import CHAINS, META, Waits, on_meta
from tests.test_model_engine import smoke


@pytest.mark.parametrize("method", CHAINS)
def test_a_step_waits_for_nothing(method):
    """What is drawn for it is one asynchronous copy. Seen red: labels copied by `.to`; the auto-encoder's samples chosen by a mask; a
    loss read."""
    with on_meta(smoke(method)) as stages:
        for steps in stages:
            steps.do(0, 1)                                               # the 110 matrices go to the device
            drawn = steps.draw(1, 2)
            with Waits() as waits:
                steps.start(drawn)
            losses = steps.read()[0]
            assert losses and all(loss.device == META for loss in losses.values()), steps.stage.name
            assert waits.found == [] and waits.sent == [drawn.rows.nbytes], steps.stage.name
