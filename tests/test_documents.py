"""The documents say what is there: their examples run, and no layout of a dataset is left out."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.networks import golden_state

from msinet.data.readers import READERS

ROOT = Path(__file__).parents[1]


def test_the_library_example_runs_as_it_is_written(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    torch.save(golden_state("msinet"), tmp_path / "msinet_market.pth")
    np.save(tmp_path / "gallery.npy", np.random.default_rng(0).normal(size=(60, 768)).astype(np.float32))
    ran = subprocess.run(
        [sys.executable, "-c", f"{example}\nassert index_QK.shape == (8, 50)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("kind", READERS)
def test_every_layout_of_a_dataset_is_documented(kind: str) -> None:
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    assert re.search(rf"(`|kind: ){kind}\b", page)
