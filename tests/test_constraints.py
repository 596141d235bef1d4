"""Both files of versions agree with the bounds in pyproject.toml: the newest versions and the lowest ones."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# PyTorch 2.9 was not run, because an older PyTorch than the one of constraints.txt is a download of gigabytes.
NOT_LOWEST = {"torch"}


def pinned(file: str) -> dict[str, Version]:
    """Return the versions in a file of constraints, by package."""
    lines = [line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def requirements(*extras: str) -> list[Requirement]:
    given = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return [requirement for line in given if (requirement := Requirement(line)).name != PROJECT["name"]]


def test_every_requirement_has_an_exact_version_within_its_bounds() -> None:
    versions = pinned("constraints.txt")
    for requirement in requirements("pipeline", "export", "postgresql", "dev"):
        if requirement.name != "setuptools":  # a part of the environment that `pip freeze` leaves out
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_lowest_versions_are_the_lower_bounds() -> None:
    versions, wanted = pinned("constraints-lowest.txt"), requirements("pipeline", "export", "postgresql")
    assert versions.keys() == {canonicalize_name(requirement.name) for requirement in wanted}
    for requirement in wanted:
        version = versions[canonicalize_name(requirement.name)]
        (bound,) = [Version(item.version) for item in requirement.specifier if item.operator == ">="]
        assert version in requirement.specifier, requirement
        if requirement.name not in NOT_LOWEST:
            assert version.release[: len(bound.release)] == bound.release, requirement
            assert not any(version.release[len(bound.release) :]), f"{requirement}: the bound names a lower version"


def test_the_lowest_python_is_the_first_that_is_stated() -> None:
    stated = re.findall(r"Programming Language :: Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={stated[0]}"
