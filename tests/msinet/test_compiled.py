import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import msinet

# Prints a rank that is computed by a compiled function, after all modules with compiled functions were imported.
RANK = """
import resource, sys
import numpy as np
import msinet
from msinet import metrics, reranking, retrieval
from msinet.data import transforms_cpu

if len(sys.argv) > 1:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # like a full disk: files can be made, but stay empty
result = metrics.evaluate_ranking(np.eye(3), np.eye(3), [1, 2, 3], [3, 2, 2])
print(msinet.__file__, result.num_valid_queries)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a folder with a copy of the package in which no `__pycache__` can be made."""
    folder = tmp_path / "installed"
    package = Path(msinet.__file__).parent
    shutil.copytree(package, folder / "msinet", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [folder / "msinet", *(folder / "msinet").rglob("*/")]:
        (path / "__pycache__").write_bytes(b"a file, so that no folder can be made here")
    return folder


def ranked(installed: Path, *arguments: str, **environment: str) -> str:
    inherited = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    ran = subprocess.run(
        [sys.executable, "-c", RANK, *arguments],
        cwd=installed,
        env={**inherited, "PYTHONPATH": str(installed), "HOME": "/proc/nowhere", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"{installed}/msinet/__init__.py 2\n"
    return ran.stderr


def contents(folder: Path) -> dict[Path, int]:
    return {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_without_any_folder_to_write_to_every_process_compiles(installed: Path) -> None:
    before = contents(installed)
    ranked(installed)
    assert contents(installed) == before


def test_compiled_code_is_kept_where_that_is_possible(installed: Path, tmp_path: Path) -> None:
    ranked(installed, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert any(path.suffix == ".nbc" and "_score_rows" in path.name for path in contents(tmp_path / "cache"))


def test_a_damaged_cache_is_written_anew(installed: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    ranked(installed, NUMBA_CACHE_DIR=str(cache))
    whole = contents(cache)
    for path in whole:
        (cache / path).write_bytes(b"torn")
    ranked(installed, NUMBA_CACHE_DIR=str(cache))
    assert contents(cache).keys() == whole.keys()
    ranked(installed, NUMBA_CACHE_DIR=str(cache))
    assert contents(cache) == whole


def test_a_full_disk_costs_only_the_cache(installed: Path, tmp_path: Path) -> None:
    ranked(installed, "full", NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert not any(path.suffix == ".nbc" for path in contents(tmp_path / "cache"))


def test_numba_is_used_in_one_place() -> None:
    package = Path(msinet.__file__).parent
    users = [path.name for path in package.rglob("*.py") if "import numba" in path.read_text(encoding="utf-8")]
    assert users == ["compiled.py"]
