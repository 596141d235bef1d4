"""The notebooks of examples/ run from start to end, with the library alone."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def test_there_is_an_example() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert not re.search(r"^\s*(?:from|import) (?:pipeline|ray|mlflow)\b", code, re.MULTILINE)
    stored = [said(cell) for cell in notebook.cells]
    NotebookClient(
        notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    # The numbers depend on the processor, but the words do not.
    assert [re.sub(r"\d+|[A-Z]{12}", "#", said(cell)) for cell in notebook.cells] == [
        re.sub(r"\d+|[A-Z]{12}", "#", text) for text in stored
    ]


def said(cell: nbformat.NotebookNode) -> str:
    """Return what a cell has printed."""
    return "".join(output.text for output in cell.get("outputs", []) if output.output_type == "stream")
