"""The documentation is a site: it is built without a warning, and its links lead to pages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def test_every_page_is_reached_from_the_start(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    pages = {path.name for path in site.glob("*.html")} - {"404.html"}
    assert pages <= set(re.findall(r'href="([\w-]+\.html)"', start)) | {"index.html"}
    assert {"laboratory.html", "contributing.html", "clusters.html", "results.html"} <= pages


def test_links_of_pages_from_elsewhere_lead_to_pages(site: Path) -> None:
    assert 'href="promises.html"' in (site / "index.html").read_text(encoding="utf-8")
    assert 'href="results.html#search-schemes"' in (site / "laboratory.html").read_text(encoding="utf-8")
    assert (site / "growth.png").is_file()


def test_the_reference_shows_docstrings(site: Path) -> None:
    reference = (site / "reference.html").read_text(encoding="utf-8")
    for name in ("msinet.build_model", "msinet.metrics.evaluate_ranking", "msinet.export.load"):
        assert f'id="{name}"' in reference
    assert "Each draw takes identities with replacement" in reference


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
        assert not loaded, page.name
