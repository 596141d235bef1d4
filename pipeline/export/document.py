"""The card beside exported files: `<name>.json`, and `<name>.md` for people."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msinet.files import json_text, written_whole
from pipeline.errors import RequestError
from pipeline.export.page import page

OPENVINO = "_openvino_model"
INT8 = "_int8"


@dataclass(frozen=True)
class Place:
    """Where the files of one export are.

    Attributes:
        folder: Their folder.
        name: First part of their names.
    """

    folder: Path
    name: str

    @property
    def document(self) -> Path:
        """Return the file of the card."""
        return self.folder / f"{self.name}.json"

    @property
    def weights(self) -> Path:
        """Return the file of the weights as they were trained."""
        return self.folder / f"{self.name}.safetensors"

    def read(self) -> dict[str, Any]:
        """Return the card.

        Raises:
            RequestError: There is none, or it is damaged.
        """
        try:
            document = json.loads(self.document.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RequestError(
                f"the card that `msinet export` writes must be {self.document}, but: {error}."
            ) from error
        if not isinstance(document, dict) or "files" not in document:
            raise RequestError(f"{self.document} must be the card of an export, but it is another file.")
        return document

    def write(self, document: dict[str, Any]) -> None:
        """Write the card, and the same for people."""
        for path, text in (
            (self.document, json_text(document, indent=1) + "\n"),
            (self.folder / f"{self.name}.md", page(document)),
        ):
            with written_whole(path) as file:
                file.write(text.encode())


def place_of(file: Path) -> Place:
    """Return the place of an exported file; of OpenVINO the folder, too."""
    if file.parent.name.endswith(OPENVINO) and file.suffix == ".xml":
        file = file.parent
    name = file.name.removesuffix(OPENVINO) if file.name.endswith(OPENVINO) else file.stem.removesuffix(INT8)
    return Place(file.parent, name)


def facts_of(path: Path, folder: Path) -> dict[str, Any]:
    """Return a file's name in a folder, its size in bytes and its SHA-256. OpenVINO's weights count as a part of it."""
    parts = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.read_bytes())
    return {
        "file": path.relative_to(folder).as_posix(),
        "bytes": sum(part.stat().st_size for part in parts),
        "sha256": digest.hexdigest(),
    }
