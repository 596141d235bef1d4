"""MSMT17: 4,101 pedestrians under fifteen cameras of a campus, on four days.

Wei, Zhang, Gao, Tian: "Person Transfer GAN to Bridge Domain Gap for Person Re-Identification", CVPR 2018.
Folder `MSMT17_V1`, or `MSMT17_V2` with masked faces, on request from https://www.pkuvmc.com/dataset.html
"""

import re
from collections.abc import Iterator
from pathlib import Path

from msinet.data.dataset import Counts, Dataset
from msinet.data.readers.layout import ENDING, Layout, find_folder, list_lines, pictures_by_list
from msinet.data.records import Record

LISTS = {"list_train.txt": "train", "list_val.txt": "train", "list_query.txt": "query", "list_gallery.txt": "gallery"}
# The first folder contains the training pictures, the second those of queries and gallery.
V1 = Layout("MSMT17 V1", "MSMT17_V1", ("train", "test", *LISTS))
V2 = Layout("MSMT17 V2", "MSMT17_V2", ("mask_train_v2", "mask_test_v2", *LISTS))
EXPECTED = {  # the same for both versions; train and val are counted together
    "train": Counts(identities=1_041, images=32_621, cameras=15),
    "query": Counts(identities=3_060, images=11_659, cameras=15),
    "gallery": Counts(identities=3_060, images=82_161, cameras=15),
}
# The path contains identity and camera: 0000/0000_000_01_0303morning_0015_0.jpg 0 (at the end, the identity again)
LINE = re.compile(r"((?:[\w-]+/)*(\d{4})_\d+_(\d{1,9})_[\w-]+" + ENDING + r")(?:\s+\d+)?", re.IGNORECASE)
# Training and test identities are both numbered from 0000. Test identity 0012 becomes 10012 here, so that it differs
# from training identity 0012.
TEST_OFFSET = 10_000


def read_msmt17(root: Path) -> Dataset:
    """Read MSMT17 V1 or V2 from its folder, or from the folder that holds it.

    The dataset's name says which version it is. Only listed pictures belong to the dataset: those of `list_train.txt`
    and `list_val.txt` together are the training images. No picture is junk. Test identities are counted from
    `TEST_OFFSET`.

    Raises:
        DataError: Folders or lists are missing, both versions are there, or a line is malformed.
    """
    layout, folder = find_folder(root, V1, V2)
    records, left_out = pictures_by_list(folder, layout.contents[:2], _listed(layout, folder))
    return Dataset(layout.name, folder, records, left_out, EXPECTED)


def _listed(layout: Layout, folder: Path) -> Iterator[tuple[str, Record]]:
    train_folder, test_folder = layout.contents[:2]
    for name, subset in LISTS.items():
        pictures, offset = (train_folder, 0) if subset == "train" else (test_folder, TEST_OFFSET)
        for where, line in list_lines(folder / name, LINE, example="0000/0000_000_01_0303morning_0015_0.jpg 0"):
            yield where, Record(f"{pictures}/{line[1]}", int(line[2]) + offset, int(line[3]), subset)
