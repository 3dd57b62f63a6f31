"""Checkpoints: exact, whole or not there, and never a pickle."""

import json
import pickle

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer_model.engine import checkpoint
from fer_model.errors import CheckpointError
from fer_model.runs.folder import locked

TENSORS = {"a/weight": torch.arange(6.0).reshape(2, 3), "a/count": torch.tensor(7)}


def test_saved_and_read_back_with_the_last_two_kept(tmp_path):
    """Seen red: KEPT = 1."""
    for step in (10, 20, 100):
        checkpoint.save(tmp_path, "gan", step, {**TENSORS, "step": torch.tensor(step)}, {"d_interval": step})
    checkpoint.save(tmp_path, "head", 5, TENSORS, {})
    found = checkpoint.latest(tmp_path, "gan")
    assert (found.step, found.facts, found.passed_over) == (100, {"d_interval": 100}, ())
    assert torch.equal(found.tensors["a/weight"], TENSORS["a/weight"]) and found.tensors["step"] == 100
    assert sorted(path.name for path in tmp_path.glob("gan-*.json")) == ["gan-00000020.json", "gan-00000100.json"]
    checkpoint.remove(tmp_path, "gan")
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"], "the head's are left"
    assert checkpoint.latest(tmp_path, "gan") is None


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda stem: stem.with_suffix(".json").unlink(), "writing it was interrupted"),
        (lambda stem: stem.with_suffix(".json").write_text('{"schema_'), "gan-00000020.json is damaged"),
        (lambda stem: stem.with_suffix(".json").write_text("[1]"), "gan-00000020.json is damaged"),
        (lambda stem: stem.with_suffix(".json").write_text("[" * 100_000), "gan-00000020.json is damaged"),
        (lambda stem: stem.with_suffix(".json").write_text('{"schema_version": 1}'), "gan-00000020.json is damaged"),
        (lambda stem: stem.with_suffix(".safetensors").unlink(), "there is no gan-00000020.safetensors"),
        (lambda stem: stem.with_suffix(".safetensors").write_bytes(stem.with_suffix(".safetensors").read_bytes()[:-1]), "bytes of"),
        (lambda stem: stem.with_suffix(".safetensors").write_bytes(bytes(stem.with_suffix(".safetensors").stat().st_size)), "bytes of"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_with_its_reason(tmp_path, harm, reason):
    """Where it is the only one, training does not begin again of itself: hours may be lost. Seen red: no comparison of hashes; json.loads,
    which a list and deep nesting passed (AttributeError, RecursionError); content["sha256"] of what has none (KeyError); nothing said of a
    description alone; None, "nothing of it had been saved" and step 0, where no older one was whole."""
    for step in (10, 20):
        checkpoint.save(tmp_path, "gan", step, TENSORS, {"at": step})
    harm(tmp_path / "gan-00000020")
    found = checkpoint.latest(tmp_path, "gan")
    assert found.step == 10 and found.facts == {"at": 10}
    assert len(found.passed_over) == 1 and reason in found.passed_over[0]
    for path in tmp_path.glob("gan-00000010.*"):
        path.unlink()
    left = sorted(path.read_bytes() for path in tmp_path.iterdir())
    if reason == "writing it was interrupted":                           # nothing was lost that had been whole
        assert checkpoint.latest(tmp_path, "gan") is None and checkpoint.stems(tmp_path, "gan") == ["gan-00000020"]
    else:
        with pytest.raises(CheckpointError, match=rf"no checkpoint of gan in .* is whole \(gan-00000020: .*{reason}.*; bring one back"):
            checkpoint.latest(tmp_path, "gan")
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == left


def test_a_part_file_of_an_interrupted_write_is_no_checkpoint(tmp_path):
    checkpoint.save(tmp_path, "gan", 10, TENSORS, {})
    (tmp_path / "gan-00000020.safetensors.0123456789abcdef.part").write_bytes(b"half")
    assert checkpoint.latest(tmp_path, "gan").step == 10


def test_weights_that_were_half_written_go_when_training_begins_again(tmp_path):
    """An export may be writing its own next to them. Seen red: a copy of the weights for each time that training was killed."""
    token = "0123456789abcdef"
    ours = [tmp_path / f"checkpoints/gan-00000020.safetensors.{token}.part", tmp_path / f"gan.safetensors.{token}.part"]
    theirs = [tmp_path / f"model.safetensors.{token}.part", tmp_path / "checkpoints/mine.part.txt", tmp_path / "gan.safetensors"]
    (tmp_path / "checkpoints").mkdir()
    for path in (*ours, *theirs):
        path.write_bytes(b"half")
    with locked(tmp_path):
        assert [path.exists() for path in (*ours, *theirs)] == [False, False, True, True, True]


def test_another_schema_version_is_refused_with_both_named(tmp_path):
    checkpoint.save(tmp_path, "gan", 10, TENSORS, {})
    path = tmp_path / "gan-00000010.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    with pytest.raises(CheckpointError, match=r"has schema version 99, this program reads 1"):
        checkpoint.latest(tmp_path, "gan")


class Bomb:
    """A pickle that would leave a trace if it were opened."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


def as_pickle(path, thing):
    path.write_bytes(pickle.dumps(thing))


def as_torch_file(path, thing):
    torch.save(thing, path)


@pytest.mark.parametrize("write", [as_pickle, as_torch_file])
def test_a_pickle_is_refused_and_not_opened(tmp_path, write):
    """A plain pickle, and the zip that torch.save writes. Seen red: without the look at the first bytes the message was another."""
    path = tmp_path / "gan.safetensors"
    write(path, Bomb(tmp_path / "trace"))
    with pytest.raises(CheckpointError, match=r"gan.safetensors is a pickle"):
        checkpoint.read_tensors(path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(("header", "begins"), [(640, b"\x80\x02"), (0x4B50, b"PK")])
def test_a_whole_file_whose_first_bytes_are_those_of_a_pickle_is_read(tmp_path, header, begins):
    """The first eight bytes of safetensors are the length of its header, and any length may come. Seen red: told by its first
    bytes alone, both were refused."""
    path, names = tmp_path / "gan.safetensors", 1
    one = len(safetensors.torch.save({"a": torch.zeros(1)})) - 12                    # the header of a name of one letter; then 4 bytes
    while len(data := safetensors.torch.save({"a" * (names + header - one - 7): torch.zeros(1)})) - 12 < header:
        names += 1
    path.write_bytes(data)
    assert data.startswith(begins) and len(checkpoint.read_tensors(path)) == 1


@given(data=st.binary(max_size=64))
def test_any_other_bytes_are_refused_in_one_sentence(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "some.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="reading tensors"):
        checkpoint.read_tensors(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no .*gone.safetensors"):
        checkpoint.read_tensors(tmp_path / "gone.safetensors")


def test_weights_that_do_not_fit_are_refused():
    module = torch.nn.Linear(3, 2)
    checkpoint.load_module("a", module, checkpoint.module_tensors("a", module), "here")
    with pytest.raises(CheckpointError, match=r"loading a from here: .*size mismatch for weight"):
        checkpoint.load_module("a", module, {"a/weight": torch.zeros(9, 9), "a/bias": torch.zeros(2)}, "here")
    with pytest.raises(CheckpointError, match=r"Missing key\(s\) in state_dict: \"bias\""):
        checkpoint.load_module("a", module, {"a/weight": torch.zeros(2, 3)}, "here")


def test_adam_goes_on_as_if_it_had_never_stopped():
    """With and without a stop after 3 of 6 steps; into one that has gone elsewhere meanwhile, in place. Seen red: the step count not
    saved."""

    def network():
        made = torch.nn.Conv2d(2, 3, 3, bias=True)
        torch.nn.init.normal_(made.weight, generator=torch.Generator().manual_seed(0))
        torch.nn.init.zeros_(made.bias)
        return made.to(memory_format=torch.channels_last)

    def train(module, adam, steps):
        for step in steps:
            x = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(step))
            adam.zero_grad()
            module(x).square().mean().backward()
            adam.step()

    whole, first, second = network(), network(), network()
    adams = {id(m): torch.optim.AdamW(m.parameters(), 1e-2, fused=True) for m in (whole, first, second)}
    for adam in adams.values():
        checkpoint.begin_adam(adam)
    train(whole, adams[id(whole)], range(6))
    train(first, adams[id(first)], range(3))
    saved = checkpoint.module_tensors("net", first) | checkpoint.adam_tensors("adam", first, adams[id(first)])
    saved = {name: tensor.clone().contiguous() for name, tensor in saved.items()}
    train(second, adams[id(second)], range(7, 9))
    places = {name: tensor.data_ptr() for name, tensor in checkpoint.adam_tensors("adam", second, adams[id(second)]).items()}
    checkpoint.load_module("net", second, saved, "memory")
    checkpoint.load_adam("adam", second, adams[id(second)], saved)
    assert places == {name: tensor.data_ptr() for name, tensor in checkpoint.adam_tensors("adam", second, adams[id(second)]).items()}
    train(second, adams[id(second)], range(3, 6))
    assert torch.equal(whole.weight, second.weight) and torch.equal(whole.bias, second.bias)
