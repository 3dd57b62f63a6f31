"""The list of mutations is true: what each breaks is in its file, once, and the test that must notice is there."""

import importlib.util
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("mutate", Path(__file__).with_name("mutate.py"))
mutate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mutate)


@pytest.mark.parametrize("mutation", mutate.MUTATIONS, ids=lambda mutation: f"{mutation[0]}: {mutation[1][:40]!r}")
def test_what_a_mutation_breaks_is_in_its_file(mutation):
    """Seen red: seven lines that had moved or changed."""
    file, old, new, tests = mutation
    assert (REPOSITORY / file).read_text(encoding="utf-8").count(old) == 1 and new != old
    assert (REPOSITORY / tests.split()[0]).is_file()
