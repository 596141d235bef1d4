"""Saved states: a file is whole or absent, and reading it never runs code."""

import os
import pickle

import pytest
import torch

from msinet.engine.state import load_state, save_state

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
    with pytest.raises(ValueError, match=r"must be whole and hold tensors and plain values only, but .*state\.pt"):
        load_state(tmp_path / "state.pt")
    assert not trap.exists()
    pickle.loads(pickle.dumps(Malicious(str(trap))))
    assert trap.exists()  # this shows that the trap works


@pytest.mark.parametrize("kept", [0, 10, 500])
def test_a_torn_file_is_an_error(tmp_path, kept):
    save_state(tmp_path / "state.pt", STATE)
    (tmp_path / "state.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:kept])
    with pytest.raises(ValueError, match="must be whole"):
        load_state(tmp_path / "state.pt")


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_state(tmp_path / "state.pt")
