"""A fixture of the tiny dataset of `tiny_data`, which is generated once."""

import pytest
from support.tiny_data import Tiny

from msinet.data.packed import PackedDataset, write_shards
from msinet.data.synthetic import SyntheticSpec, render


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny")
    write_shards(render(SyntheticSpec(train_ids=12, test_ids=3, cameras=2, height=32)), folder / "shards")
    return Tiny(folder, PackedDataset(folder / "shards"))
