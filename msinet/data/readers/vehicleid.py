"""VehicleID: 26,267 vehicles, seen from the front or from behind; cameras are not stated.

Liu, Tian, Yang, Pang, Huang: "Deep Relative Distance Learning: Tell the Difference Between Similar Vehicles",
CVPR 2016. Folder `VehicleID`, on request from https://www.pkuml.org/resources/pku-vehicleid.html
"""

import re
from collections.abc import Iterator
from pathlib import Path

from msinet.data.dataset import RANDOM_GALLERY, Counts, Dataset
from msinet.data.readers.layout import Layout, file_names, find_folder, list_lines, pictures_by_list
from msinet.data.records import Record

IMAGES, LISTS = "image", "train_test_split"
TRAIN = Counts(identities=13_164, images=113_346)
# A line contains image and identity (not padded): 0022000 12345
LINE = re.compile(r"(\w+)\s+(\d+)")


def read_vehicleid(root: Path, num_test_ids: int = 2400) -> Dataset:
    """Read VehicleID from its folder, or from the folder that holds it.

    All test images are recorded as queries; the gallery is drawn from them several times (`msinet.data.galleries`).
    No picture is junk. Pictures of the other test lists are left out.

    Args:
        root: Folder of the dataset, or the folder that holds it.
        num_test_ids: Number of identities in the test list: 800, 1600 or 2400 (as in the MSINet paper).

    Raises:
        DataError: The images or the lists are missing, or a line is malformed.
    """
    lists = {f"{LISTS}/train_list.txt": "train", f"{LISTS}/test_list_{num_test_ids}.txt": "query"}
    _, folder = find_folder(root, Layout("VehicleID", "VehicleID", (IMAGES, *lists)))
    records, left_out = pictures_by_list(folder, (IMAGES,), _listed(folder, lists))
    expected = {"train": TRAIN, "query": Counts(identities=num_test_ids)}
    return Dataset(f"vehicleid{num_test_ids}", folder, records, left_out, expected, RANDOM_GALLERY)


def _listed(folder: Path, lists: dict[str, str]) -> Iterator[tuple[str, Record]]:
    files = file_names(folder / IMAGES)
    for name, subset in lists.items():
        for where, line in list_lines(folder / name, LINE, example="0022000 12345"):
            file = files.get(line[1], f"{line[1]}.jpg")
            yield where, Record(f"{IMAGES}/{file}", int(line[2]), None, subset)
