"""A wheel of the project works in an environment that has no sources: commands, experiments, spaces and templates."""

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path

import pytest
from support.command_line import ROOT, environment

from pipeline.storage.workspace import Workspace

PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
WITHOUT_NETWORK = ["--no-deps", "--no-index"]
FILES = "import json, sys, msinet, pipeline.cli\nprint(json.dumps([msinet.__file__, pipeline.__file__, sys.path]))"


def printed(*words: str | Path, folder: Path) -> str:
    """Run a program that nothing tells of the sources, and return what it printed."""
    env = {name: value for name, value in environment(folder).items() if name != "PYTHONPATH"}
    ran = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=250, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the programs of an environment into which a wheel was installed.

    The environment sees the other packages of the running one, but not the project there: Python does not follow the
    `.pth` files of a folder that a `.pth` file names.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("msinet", "pipeline", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [*PIP, "wheel", *WITHOUT_NETWORK, "--no-build-isolation", "--wheel-dir", folder, source]
    printed(*build, folder=folder)
    shutil.rmtree(source)
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    place = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder / "env")}))
    others = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (place / "others.pth").write_text("\n".join(sorted(others)))
    wheel = next(folder.glob("*.whl"))
    printed(*PIP, "--python", python, "install", *WITHOUT_NETWORK, "--no-compile", wheel, folder=folder)
    return python.parent


def data_files(root: Path, name: str) -> set[Path]:
    """Return the files of a folder that are no code and no pages for people, as paths below the root."""
    return {path.relative_to(root) for path in (root / name).rglob("*.*") if path.suffix not in (".py", ".pyc", ".md")}


def test_nothing_comes_from_the_sources(programs: Path, tmp_path: Path) -> None:
    msinet, pipeline, path = json.loads(printed(programs / "python", "-c", FILES, folder=tmp_path))
    for file in (msinet, pipeline):
        assert Path(file).is_relative_to(programs.parent), file
    assert not [item for item in path if item and Path(item).resolve() == ROOT]


def test_the_wheel_has_no_other_top_level_name(programs: Path) -> None:
    place = next(programs.parent.glob("lib/*/site-packages"))
    names = {item.name for item in place.iterdir() if item.name not in ("others.pth", "__pycache__")}
    assert {name for name in names if not name.endswith(".dist-info")} == {"msinet", "pipeline"}
    for name in ("pipeline/configs", "pipeline/reports", "msinet/spaces"):
        assert data_files(place, name) == data_files(ROOT, name)
    assert (place / "msinet" / "py.typed").is_file()


def test_verbs_work_far_from_the_sources(programs: Path, tmp_path: Path) -> None:
    msinet = programs / "msinet"
    assert printed(msinet, "--version", folder=tmp_path) == f"msinet {version('msinet')}\n"
    workspace = Workspace(tmp_path / "workspace")
    workspace.make()
    at = ("--workspace", workspace.address)
    assert "60-80" in printed(msinet, "plan", "demo", *at, folder=tmp_path)
    assert "half_width" in printed(msinet, "plan", "lab/spaces", *at, "--all", folder=tmp_path)
    assert "memory of one stage" in printed(msinet, "check", "demo", *at, folder=tmp_path)
    printed(msinet, "report", "paper/table9", *at, "--out", "report", folder=tmp_path)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "<style>" in page
    assert "89.6" in page or "Table 9" in page, "a figure of the paper"


def test_the_library_works_alone(programs: Path, tmp_path: Path) -> None:
    code = (
        "import msinet, msinet.spaces\n"
        "space = msinet.spaces.load('half_width')\n"
        "model = msinet.build_model('msinet', num_classes=3, genotype='half_width:GGEGAGGNGAEA', space=space)\n"
        "print(sum(p.numel() for p in model.parameters()))"
    )
    assert int(printed(programs / "python", "-c", code, folder=tmp_path)) > 500_000
