"""The structure that docs and recipes rely on: imports run one way, and planning needs no heavy library."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.grids import tiny_document

from pipeline.storage.workspace import Workspace

ROOT = Path(__file__).parents[1]
# From the top down: a room may import from the rooms below it only.
ROOMS = {
    "msinet": [
        "export",
        "visual",
        "interop",
        "engine",
        "retrieval",
        "reranking",
        "metrics",
        "labels",
        "distances",
        "losses",
        "models",
        "data",
        "bench",
        "statistics",
        "ranks",
        "recipes",
        "schemes",
        "settings",
        "random_genotypes",
        "parameters",
        "genotype",
        "spaces",
        "files",
        "compiled",
        "blocks",
    ],
    "pipeline": [
        "run_grid",
        "cli",
        "export",
        "by_hand",
        "checking",
        "own_data",
        "bench",
        "racing",
        "cleaning",
        "grid",
        "tuning",
        "reports",
        "tracking",
        "cluster",
        "stages",
        "plan",
        "storage",
        "config",
        "results",
        "paths",
        "output",
        "errors",
    ],
}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ROOMS
    for path in (ROOT / package).rglob("*.py")
}


def imported(path: Path) -> Iterator[str]:
    """The modules of this project that a file imports anywhere, also within functions and for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import, which this test does not follow"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in MODULES:
                    yield name
                elif node.module in MODULES:
                    yield str(node.module)


ARROWS = {name: set(imported(path)) - {name} for name, path in MODULES.items()}


def test_no_module_imports_itself_by_a_detour():
    left = dict(ARROWS)
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    assert not left, "these modules form circles, or lead into one"


@pytest.mark.parametrize("package", ROOMS)
def test_imports_run_in_the_order_of_the_rooms(package: str):
    order = ROOMS[package]
    rooms = {name.split(".")[1] for name in MODULES if name.startswith(f"{package}.")}
    assert rooms == set(order), "a new room needs its place in this test"
    against = [
        f"{name} -> {target}"
        for name, targets in ARROWS.items()
        for target in targets
        if name.startswith(f"{package}.") and target.startswith(f"{package}.")
        if order.index(name.split(".")[1]) > order.index(target.split(".")[1])
    ]
    assert not against


def test_msinet_imports_nothing_of_the_pipeline():
    assert not [name for name, targets in ARROWS.items() if name.startswith("msinet") and "pipeline" in str(targets)]


def test_all_json_is_written_in_one_way():
    """`json_text` refuses NaN and infinite numbers, which Python writes and other programs cannot read."""
    writers = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("dump", "dumps") and ast.unparse(node.value) == "json"
    }
    assert writers == {"msinet.files"}


@pytest.mark.parametrize("verb", ["--help", "plan", "status", "report", "check", "compare"])
def test_planning_imports_neither_torch_nor_numba(tmp_path: Path, verb: str):
    import yaml

    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny_document()))
    Workspace(tmp_path / "workspace").keep_fingerprint("signature", "fingerprint")  # verbs that only read need one
    arguments = [verb] if verb == "--help" else [verb, str(file), "--workspace", str(tmp_path / "workspace")]
    code = (
        "import sys\n"
        "from pipeline.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "assert 'pipeline.cli' in sys.modules\n"
        f"heavy = ('torch', 'numba', 'ray', 'mlflow', 'rich', *{[] if verb in ('report', 'compare') else ['scipy']})\n"
        "print('LOADED', [name for name in heavy if name in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("LOADED []\n")


def test_a_driver_imports_neither_torch_nor_numba():
    code = (
        "import sys, pipeline.cluster.driver\n"
        "print('LOADED', [name for name in ('torch', 'numba', 'scipy', 'mlflow') if name in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == "LOADED []\n"
