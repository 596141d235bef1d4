"""Imports of `msinet`: it needs none of the orchestration's packages, and torch only for its models."""

import subprocess
import sys


def run(code: str) -> None:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_module_imports_without_the_orchestration():
    run(
        "import sys, pkgutil, importlib\n"
        "for name in ('ray', 'mlflow', 'optuna', 'pydantic', 'pipeline'):\n"
        "    sys.modules[name] = None\n"  # makes an import of this name raise ImportError
        "import msinet\n"
        "modules = [m.name for m in pkgutil.walk_packages(msinet.__path__, 'msinet.')]\n"
        "assert 'msinet.models.supernet' in modules\n"
        "for name in modules:\n"
        "    importlib.import_module(name)\n"
    )


def test_a_genotype_does_not_need_torch():
    run(
        "import sys\n"
        "import msinet, msinet.genotype\n"
        "assert msinet.Genotype.parse('MSINet') == msinet.PUBLISHED['MSINet']\n"
        "assert 'torch' not in sys.modules\n"
    )


def test_build_model_is_a_public_name():
    run("import msinet\nassert msinet.build_model('osnet', num_classes=3).embed")
