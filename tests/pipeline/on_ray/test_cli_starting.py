"""The real command line on machines where Ray starts with difficulty, or not at all."""

from pathlib import Path
from typing import Any

import pytest
from support.command_line import msinet, write


@pytest.fixture
def experiment(tiny: dict[str, Any], tmp_path: Path) -> Path:
    """Return an experiment of one short stage."""
    return write(tmp_path, tiny | {"sources": ["street"], "targets": ["street"]})


def test_a_home_that_cannot_be_written_is_no_obstacle(experiment: Path, tmp_path: Path) -> None:
    ran = msinet("prepare", experiment, folder=tmp_path, HOME="/proc/nohome")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 done" in ran.stdout.splitlines()[-3]


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_whose_path_is_too_long(experiment: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a_scratch_folder_of_the_batch_system" / "job_1234567.0" / "tmp_of_the_user"
    folder.mkdir(parents=True)
    ran = msinet("prepare", experiment, folder=tmp_path, **{name: str(folder)})
    require_one_sentence(ran.returncode, ran.stderr, "AF_UNIX path length cannot exceed 107 bytes", "(RAY_TMPDIR")


def test_a_temporary_folder_that_cannot_be_written(experiment: Path, tmp_path: Path) -> None:
    ran = msinet("prepare", experiment, folder=tmp_path, RAY_TMPDIR="/proc/nowhere")
    require_one_sentence(ran.returncode, ran.stderr, "/proc/nowhere", "(RAY_TMPDIR")


@pytest.mark.parametrize(
    ("address", "words"), [("127.0.0.1:1", "but none does"), ("http://127.0.0.1:8265", "HOST:6379")]
)
def test_an_address_without_a_cluster(experiment: Path, tmp_path: Path, address: str, words: str) -> None:
    ran = msinet("prepare", experiment, folder=tmp_path, RAY_ADDRESS=address)
    require_one_sentence(ran.returncode, ran.stderr, words, "(--address, RAY_ADDRESS)")


def require_one_sentence(code: int, told: str, *words: str) -> None:
    """A wrong request ends with code 2 and one sentence, which is the last line."""
    assert code == 2, told
    assert "Traceback" not in told
    last = told.splitlines()[-1]
    assert last.startswith("error: ")
    assert all(word in last for word in words), last
