"""What a report says about how sure the searches are, from histories that are written by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.filled import filled, scores
from support.grids import tiny_document

from msinet.genotype import Genotype
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.certainty import HEADER, certainty_panels, certainty_pictures, searched
from pipeline.results import Result
from pipeline.storage.workspace import Workspace

EPOCHS = 8


class Histories(Workspace):
    """Holds the histories of searches: each ends in the genotype of its seed."""

    def __init__(self, folder: Path, ends: list[str], *, with_alphas: bool = True) -> None:
        super().__init__(folder)
        self.folder = folder
        for seed, letters in enumerate(ends):
            alphas = np.zeros((EPOCHS, 12, 4))
            for slot, letter in enumerate(letters):
                alphas[2:, slot, "NGAE".index(letter)] = 0.1
            lines = [{"epoch": n, "alphas": a.tolist() if with_alphas else None} for n, a in enumerate(alphas)]
            (folder / f"{seed}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def file(self, result: Result, name: str) -> Path | None:
        path = self.folder / f"{result['seed']}.jsonl"
        return path if path.is_file() else None


def grid(ends: list[str]) -> Plan:
    """Return a finished plan whose searches of seeds 0, 1, … found `ends`."""

    def answer(stage: Stage) -> Result:
        if stage.kind == "search":
            return {"genotype": ends[int(stage.labels["seed"])], "seed": stage.labels["seed"]}
        return scores(0.5, 0.5)

    return filled({**tiny_document(), "search_seeds": list(range(len(ends)))}, answer)


def test_each_search_has_a_row(tmp_path: Path) -> None:
    ends = ["GGEGAGGNGAEA", "GGEGAGGNGAEA", "GGEGAGGNGAEE"]
    (panel,) = certainty_panels(list(searched(grid(ends), Histories(tmp_path, ends))))
    assert panel.rows[0] == HEADER
    assert [row[:2] for row in panel.rows[1:]] == [[f"street 60-80 seed {n}", e] for n, e in enumerate(ends)]
    likely = (4 * np.exp(0.1) / (np.exp(0.1) + 3)) ** 12
    assert float(panel.rows[1][2]) == pytest.approx(likely, rel=0.01)
    assert float(panel.rows[1][3]) == pytest.approx(np.exp(-0.1), abs=1e-3)
    assert panel.rows[1][4] == "3 of 8"
    assert panel.rows[1][7] == " ".join(["0"] * 12), "nothing moves in the last quarter"
    told = panel.notes[0]
    assert "Fleiss' κ 0.9" in told
    assert "They all agree on slots 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11." in told
    assert not [note for note in panel.notes if note.startswith("Warning")]


def test_a_search_of_one_operation_is_warned_about(tmp_path: Path) -> None:
    ends = ["NNNNNNNNNNGA"]
    (panel,) = certainty_panels(list(searched(grid(ends), Histories(tmp_path, ends))))
    (warning,) = [note for note in panel.notes if note.startswith("Warning")]
    assert "none holds 10 of 12 slots, and at least three quarters since epoch 1." in warning
    assert not [note for note in panel.notes if "κ" in note], "one seed agrees with nobody"


def test_a_search_without_alpha_or_without_its_file_has_no_certainty(tmp_path: Path) -> None:
    ends = ["NNNNNNNNNNGA"]
    assert not list(searched(grid(ends), Histories(tmp_path, ends, with_alphas=False)))
    (tmp_path / "0.jsonl").unlink()
    workspace = Histories(tmp_path, [])
    found = list(searched(grid(ends), workspace))
    assert not found
    assert not certainty_panels(found)
    assert not certainty_pictures(found)


def test_a_real_search_agrees_with_its_result(finished: tuple[Plan, Workspace]) -> None:
    planned, workspace = finished
    (search,) = searched(planned, workspace)
    assert search.likely[0][0] == search.letters
    assert Genotype(search.letters).letters == search.stage.result["genotype"]  # type: ignore[index]
    pictures = certainty_pictures([search])
    assert [caption for caption, _ in pictures] == [
        "search street 60-80 seed 0: mixture of each slot",
        "search street 60-80 seed 0: certainty over the epochs",
    ]
    assert all(isinstance(svg, str) and svg.startswith("<svg") for _, svg in pictures)
    assert pictures == certainty_pictures([search]), "a drawing is the same each time"
