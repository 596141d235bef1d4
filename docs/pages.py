"""Makes pages of the site from files that lie elsewhere in the project, so that no text is written twice."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/RESULTS.md": "results.md",
    "benchmarks/growth.png": "growth.png",
    "clusters/README.md": "clusters.md",
    "configs/paper/README.md": "paper.md",
}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#:]+)(#[^)]*)?\)")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^):]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages. MkDocs calls this when it has listed the files of docs/."""
    for source, page in PAGES.items():
        path = ROOT / source
        content = path.read_bytes() if path.suffix == ".png" else relinked(path.read_text(encoding="utf-8"), source)
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links of a page of docs/ to the pages. MkDocs calls this for each page."""
    return markdown if page.file.src_uri in PAGES.values() else relinked(markdown, f"docs/{page.file.src_uri}")


def relinked(markdown: str, source: str) -> str:
    """Lead the links of a file to the pages of the site. Of a link to a file without a page, the text remains.

    Args:
        markdown: Content of the file.
        source: Its path in the project.
    """

    def page_of(target: str) -> str | None:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        return PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match.groups(default="")
        page = page_of(target)
        return f"[{text}]({page}{anchor})" if page else text

    markdown = IMAGE.sub(lambda match: f"![{match[1]}]({page_of(match[2])})", markdown)
    return LINK.sub(link, markdown)
