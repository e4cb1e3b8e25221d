"""Hook of mkdocs (mkdocs.yml): documents from outside docs/, links between pages, and lists as GitHub reads them.

Documents link one another by their paths in the repository, as GitHub shows them. On the site docs/ is the root,
README.md is the start page, and each linked source file or folder has a page below source/.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from markdown_it import MarkdownIt
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

MOVED = {"README.md": "index.md", "charts/contentgen/README.md": "chart.md"}
"""Documents outside docs/ whose address is not their name; the others are at the repository's root."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".lua": "lua"}
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?!#|[a-z]+:)([^)\s#]+)")
_ITEM = re.compile(r" *(?:[-*+]|\d+[.)]) +")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The documents outside docs/ and the linked source files, as pages."""
    root = _root(config)
    found = documents(root)
    for path, text in found.items():
        if not path.startswith("docs/"):
            files.append(File.generated(config, address(root, path), content=text))
    named = {each for page, text in found.items() for each in linked(page, text) if (root / each).exists()}
    inside = {
        f"{folder}/{each.name}" for folder in named if (root / folder).is_dir() for each in _listed(root / folder)
    }
    for path in sorted(named | inside):
        if files.get_file_from_path(address(root, path)) is None:
            files.append(File.generated(config, address(root, path), content=source_page(root, path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a document, with addresses of the site."""
    del files
    root = _root(config)
    origins = {address(root, path): path for path in documents(root)}
    here = page.file.src_uri
    if here not in origins:
        return markdown
    return nested_lists(with_links(markdown, lambda link: _moved(root, origins[here], here, link)))


def documents(root: Path) -> dict[str, str]:
    """The texts of all documents by path in the repository."""
    paths = [*root.glob("*.md"), *root.glob("docs/**/*.md"), root / "charts/contentgen/README.md"]
    return {str(path.relative_to(root)): path.read_text() for path in sorted(paths)}


def address(root: Path, path: str) -> str:
    """The page or file of the site for a path in the repository."""
    if path in MOVED:
        return MOVED[path]
    if (root / path).is_dir():
        return f"{_below_docs(path)}/index.md"
    if path.startswith("docs/") or (path.endswith(".md") and "/" not in path):
        return path.removeprefix("docs/")
    return f"source/{path.lstrip('.')}.md"


def _below_docs(folder: str) -> str:
    return folder.removeprefix("docs/") if folder.startswith("docs/") else f"source/{folder}"


def with_links(markdown: str, moved: Callable[[str], str]) -> str:
    """The text with its relative links changed; code is left alone."""
    parts = _CODE.split(markdown)
    return "".join(part if number % 2 else _LINK.sub(lambda m: moved(m[1]), part) for number, part in enumerate(parts))


def _moved(root: Path, page: str, here: str, link: str) -> str:
    path = _target(page, link)
    return posixpath.relpath(address(root, path), posixpath.dirname(here) or ".") if (root / path).exists() else link


def linked(page: str, markdown: str) -> set[str]:
    """The paths in the repository that a document links."""
    found: set[str] = set()
    with_links(markdown, lambda link: found.add(_target(page, link)) or link)  # type: ignore[func-returns-value]
    return found


def _target(page: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def source_page(root: Path, path: str) -> str:
    """A page with a source file, or with the list of a folder; only folders of documents are in the search index."""
    if (root / path).is_dir():
        listed = [
            f"- [{each_path.stem if each_path.suffix == '.md' else each_path.name}]({_file_name(each_path)})"
            for each_path in _listed(root / path)
        ]
        of_documents = path.startswith("docs/")
        title = posixpath.basename(path).capitalize() if of_documents else f"{path}/"
        return f"{'' if of_documents else _UNSEARCHED}# {title}\n\n" + "\n".join(listed) + "\n"
    text = (root / path).read_text()
    fence = "`" * (3 + max((len(run) for run in re.findall("`{3,}", text)), default=0))
    return f"{_UNSEARCHED}# {path}\n\n{fence}{LANGUAGES.get(Path(path).suffix, 'text')}\n{text}\n{fence}\n"


def _listed(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.suffix in {".md", *LANGUAGES})


def _file_name(path: Path) -> str:
    return path.name if path.suffix == ".md" else f"{path.name}.md"


_UNSEARCHED = "---\nsearch: {exclude: true}\nhide: [toc]\n---\n"


def nested_lists(markdown: str) -> str:
    """The text with lists as Python-Markdown reads them: contents are indented by 4, and a blank line comes first.

    CommonMark indents contents as far as the marker is wide.
    """
    lines = markdown.split("\n")
    indented = list(lines)
    depth = 0
    starts = set()
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.type in ("bullet_list_open", "ordered_list_open") and token.map and depth == 0:
            starts.add(token.map[0])
        if token.type == "list_item_close":
            depth -= 1
        if token.type != "list_item_open" or token.map is None:
            continue
        depth += 1
        first, end = token.map
        marker = _ITEM.match(lines[first])
        if marker is None:  # the item of a list that begins on its parent's line
            continue
        width = marker.end()
        indented[first] = " " * 4 * (depth - 1) + marker[0].strip().ljust(4) + lines[first][width:]
        for number in range(first + 1, end):
            line = lines[number]
            kept = line[min(width, len(line) - len(line.lstrip())) :]
            indented[number] = " " * 4 * depth + kept if line.strip() else ""
    parted = [
        f"\n{line}" if at in starts and at and lines[at - 1].strip() else line for at, line in enumerate(indented)
    ]
    return "\n".join(parted)


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent
