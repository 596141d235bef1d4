"""Saved states: a file is whole or absent, and reading it never runs code."""

import os
import pickle
import stat

import pytest
import safetensors.torch
import torch
from support.full_disk import files_no_larger_than

from msinet.engine.state import load_state, require_finite_tensors, save_state, save_tensors

STATE = {
    "next_epoch": 3,
    "memory": torch.arange(6.0).reshape(2, 3),
    "optimizer": {"param_groups": [{"lr": 0.1, "betas": (0.5, 0.999)}], "state": {0: {"step": torch.tensor(2.0)}}},
    "history": ['{"epoch": 0}'],
}


class Malicious:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class Unwritable:
    def __reduce__(self):
        raise RuntimeError("this cannot be saved")


def test_round_trip(tmp_path):
    save_state(tmp_path / "state.pt", STATE)
    state = load_state(tmp_path / "state.pt")
    assert torch.equal(state.pop("memory"), STATE["memory"])
    assert state == {key: value for key, value in STATE.items() if key != "memory"}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_later_save_replaces_an_earlier_one(tmp_path):
    for epoch in (1, 2):
        save_state(tmp_path / "state.pt", {"next_epoch": epoch})
    assert load_state(tmp_path / "state.pt") == {"next_epoch": 2}


def test_a_failing_save_leaves_the_old_file_and_nothing_else(tmp_path):
    save_state(tmp_path / "state.pt", {"next_epoch": 1})
    with pytest.raises(RuntimeError, match="cannot be saved"):
        save_state(tmp_path / "state.pt", {"next_epoch": 2, "weights": Unwritable()})
    assert load_state(tmp_path / "state.pt") == {"next_epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_the_name_is_given_to_whole_files_only(tmp_path, monkeypatch):
    """A process that dies while writing leaves `path` unchanged, because it writes to a file of another name."""
    seen = []

    def save(state, file):
        seen.append((file.name, (tmp_path / "state.pt").exists()))

    monkeypatch.setattr(torch, "save", save)
    save_state(tmp_path / "state.pt", STATE)
    ((name, existed),) = seen
    assert os.path.dirname(name) == str(tmp_path)
    assert name != str(tmp_path / "state.pt")
    assert not existed


@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state, protocol=2))])
def test_a_malicious_file_is_refused_and_not_run(tmp_path, write):
    trap = tmp_path / "trap"
    write({"next_epoch": Malicious(str(trap))}, tmp_path / "state.pt")
    with pytest.raises(
        ValueError, match=r"must be whole and hold a dictionary of tensors and plain values only, but .*state\.pt"
    ):
        load_state(tmp_path / "state.pt")
    assert not trap.exists()
    pickle.loads(pickle.dumps(Malicious(str(trap))))
    assert trap.exists()  # this shows that the trap works


@pytest.mark.parametrize("content", [[1], None, 7, torch.zeros(2)])
def test_a_state_is_a_dictionary(tmp_path, content):
    torch.save(content, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"must be whole and hold a dictionary"):
        load_state(tmp_path / "state.pt")


@pytest.mark.parametrize("write", [save_state, save_tensors])
@pytest.mark.parametrize("room", [100, 3000, 2**20])
def test_a_full_disk_is_an_error_of_the_file(tmp_path, write, room):
    """The libraries hide it behind errors of their own."""
    tensors = {"first": torch.randn(500, 1000), "second": torch.randn(500, 1000)}
    path = tmp_path / "file"
    write(path, {"before": torch.zeros(1)})
    before = path.read_bytes()
    with files_no_larger_than(room), pytest.raises(OSError, match=rf"File too large: '{path}'"):
        write(path, tensors)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("write", [save_state, save_tensors])
def test_others_can_read_what_is_written(tmp_path, write):
    path, text = tmp_path / "file", tmp_path / "text"
    write(path, {"weight": torch.zeros(2)})
    text.write_text("a file like any other")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(text.stat().st_mode) != 0o600


def test_tensors_are_read_back(tmp_path):
    tensors = {"weight": torch.randn(2, 3), "count": torch.tensor(3), "strided": torch.randn(4, 6)[:, ::2]}
    save_tensors(tmp_path / "file", tensors, {"title": "a text"})
    found = safetensors.torch.load_file(tmp_path / "file")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    with safetensors.safe_open(tmp_path / "file", "pt") as file:
        assert file.metadata() == {"title": "a text"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_tensors_must_be_finite(value):
    tensors = {"good": torch.zeros(2), "count": torch.tensor(3)}
    require_finite_tensors(tensors, "the weights")
    wrong = torch.zeros(2, 2)
    wrong[1, 1] = value
    with pytest.raises(ValueError, match=r"the weights must be finite numbers, but 1 of 3 tensors hold others \(wrong"):
        require_finite_tensors({**tensors, "wrong": wrong}, "the weights")


@pytest.mark.parametrize("kept", [0, 10, 500])
def test_a_torn_file_is_an_error(tmp_path, kept):
    save_state(tmp_path / "state.pt", STATE)
    (tmp_path / "state.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:kept])
    with pytest.raises(ValueError, match="must be whole"):
        load_state(tmp_path / "state.pt")


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_state(tmp_path / "state.pt")
