"""The verbs `check` and `evaluate`, in this process: what they print about data, and what they refuse."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import manifest, write

from msinet import build_model
from pipeline.by_hand import evaluate_by_hand
from pipeline.checking import check_experiment
from pipeline.errors import RequestError
from pipeline.storage.workspace import Workspace


@pytest.fixture
def unwritable(tmp_path: Path) -> str:
    """Return the address of a workspace that nobody can make, not even root."""
    (tmp_path / "file").touch()
    return str(tmp_path / "file" / "workspace")


def evaluated(tmp_path: Path, data: Path, workspace: str) -> str:
    """Evaluate an untrained network on a manifest."""
    torch.manual_seed(0)
    weights = tmp_path / "model.pth"
    torch.save(build_model("osnet", num_classes=3, scales=[3]).state_dict(), weights)
    return evaluate_by_hand(
        weights,
        "osnet",
        {"scales": [3]},
        [f"manifest={data}"],
        (32, 16),
        Workspace(workspace),
        after_neck=False,
        rerank=False,
    )


def test_a_check_prints_its_findings_also_if_the_workspace_cannot_be_written_to(
    tiny: dict[str, Any], tmp_path: Path, unwritable: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny["datasets"]["mine"] = {"kind": "manifest", "path": str(manifest(tmp_path / "mine"))}
    tiny["sources"] = ["mine"]
    with pytest.raises(RequestError, match=r"workspace must be writable, but .* \(--workspace\)"):
        check_experiment(write(tmp_path, tiny), unwritable, None, None)
    assert "problems: none" in capsys.readouterr().out


def test_an_evaluation_needs_a_workspace_that_can_be_written_to(tmp_path: Path, unwritable: str) -> None:
    with pytest.raises(RequestError, match=r"workspace must be writable, but .* \(--workspace\)"):
        evaluated(tmp_path, manifest(tmp_path / "mine"), unwritable)
