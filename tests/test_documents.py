"""The documents say what is there: their examples run, and no layout of a dataset is left out."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.exports import LETTERS, trained
from support.networks import golden_state

from msinet.data.readers import READERS
from msinet.interop.card import Card

ROOT = Path(__file__).parents[1]


def test_the_library_examples_run_as_they_are_written(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    card = Card("msinet", {"genotype": LETTERS}, 5, (64, 32))
    save_file(trained().state_dict(), tmp_path / "weights.safetensors", card.to_metadata())
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (30, 70)).save(tmp_path / name)
    torch.save(golden_state("msinet"), tmp_path / "msinet_market.pth")
    np.save(tmp_path / "gallery.npy", np.random.default_rng(0).normal(size=(60, 768)).astype(np.float32))
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join([*examples, "assert similarity > 0.99", "assert index_QK.shape == (8, 50)"])],
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
