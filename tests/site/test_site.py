"""The documentation site: built strictly, searchable, and complete without another host."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

import docs_site
import docs_site_pages
from contentgen_simulation.gateway import browser

ROOT = docs_site.ROOT
LOADED = re.compile(r"<(?:script|img|iframe|link|source|video|audio)\b[^>]*?\b(?:src|href)=[\"']?([^\"'\s>]+)")


def build(root: Path, output: Path, release: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools/docs_site.py", "--root", root, "--output", output, "--release", release]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site with one version, 1.2.3."""
    output = tmp_path_factory.mktemp("site")
    done = build(ROOT, output, "1.2.3")
    assert done.returncode == 0, done.stdout + done.stderr
    return output


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as opened:
        yield opened


@pytest.fixture
def requests() -> list[str]:
    return []


@pytest.fixture
def page(chromium: Browser, requests: list[str]) -> Iterator[Page]:
    """A page whose requests are recorded."""
    with chromium.new_context(viewport={"width": 1400, "height": 900}) as context:
        opened = context.new_page()
        opened.on("request", lambda request: requests.append(request.url))
        opened.on("pageerror", lambda error: pytest.fail(str(error)))
        yield opened


def test_every_document_is_a_page_of_the_site(site: Path) -> None:
    pages = [
        docs_site_pages.address(ROOT, path).replace("README.md", "index.md") for path in docs_site_pages.documents(ROOT)
    ]
    assert len(pages) > 60
    missing = [page for page in pages if not (site / "1.2.3" / page).with_suffix(".html").is_file()]
    assert missing == []


def test_the_search_index_has_what_readers_look_for(site: Path) -> None:
    index = json.loads((site / "1.2.3/search/search_index.json").read_text())["docs"]
    for term, location in {
        "SubmissionUnknown": "troubleshooting.html",
        "watchNamespaceSelector": "chart.html",
        "spec.deadlineSeconds": "reference/resources.html",
        "compare-and-set": "index.html",
    }.items():
        assert [each for each in index if term in each["text"] and each["location"].startswith(location)], term
    assert not [each["location"] for each in index if each["location"].startswith("source/")]


def test_site_loads_no_other_host_and_has_all_its_files(site: Path) -> None:
    html = sorted((site / "1.2.3").rglob("*.html"))
    loaded = {(page, target) for page in html for target in LOADED.findall(page.read_text())}
    pictures = {target for _, target in loaded if target.endswith(".jpg")}
    assert len(pictures) >= 4
    assert (
        sorted(target for _, target in loaded if re.match(r"[a-z]+:|//", target) and not target.startswith("data:"))
        == []
    )
    local = {(page, target.partition("#")[0]) for page, target in loaded if page.name != "404.html"}
    assert [(str(page), target) for page, target in local if target and not (page.parent / target).exists()] == []


def test_a_browser_draws_the_diagrams_without_another_host(page: Page, address: str, requests: list[str]) -> None:
    page.goto(f"{address}/1.2.3/architecture.html")
    expect(page.locator("pre.mermaid")).to_have_count(0)
    expect(page.locator("div.mermaid")).to_have_count(3)
    assert [request for request in requests if "mermaid.esm.min.mjs" in request]
    assert [request for request in requests if not request.startswith((f"{address}/", "data:", "blob:"))] == []


def test_a_reader_starts_at_the_newest_version_and_finds_a_page(page: Page, address: str, requests: list[str]) -> None:
    page.goto(address)
    page.wait_for_url("**/1.2.3/index.html")
    expect(page.locator(".md-version__current")).to_contain_text("1.2.3")
    # In the address: what is typed before the scripts have run is not searched.
    page.goto(f"{address}/1.2.3/index.html?q=SubmissionUnknown")
    expect(page.locator(".md-search-result__item").first).to_contain_text("SubmissionUnknown")
    page.goto(f"{address}/1.2.3/index.html")
    page.get_by_role("link", name="samples/").click()
    page.get_by_role("link", name="loratraining.yaml").click()
    expect(page.locator("code").first).to_contain_text("kind: LoraTraining")
    assert [request for request in requests if not request.startswith((f"{address}/", "data:", "blob:"))] == []


def test_broken_link_fails_the_build(tmp_path: Path) -> None:
    """A link, an anchor, a link from README to a file outside docs/, and a document that the navigation omits."""
    left_out = shutil.ignore_patterns(".git", ".venv", ".cluster", ".*_cache", "__pycache__", "build", "dist", "tests")
    copy = shutil.copytree(ROOT, tmp_path / "copy", ignore=left_out)
    append(copy / "docs/backup.md", "[a](nothing.md)")
    append(copy / "docs/gateway.md", "[b](install.md#no-such-title)")
    append(copy / "README.md", "[c](samples/nothing.yaml)")
    append(copy / "docs/unlisted.md", "# Unlisted")
    done = build(copy, tmp_path / "site", "1.2.3")
    assert done.returncode != 0
    assert not (tmp_path / "site/versions.json").exists()
    warnings = re.findall(r"WARNING +-  (.*(?:\n  - .*)*)", done.stderr)
    assert len(warnings) == 4, done.stderr
    for words in ("nothing.md", "no-such-title", "samples/nothing.yaml", "unlisted.md"):
        assert [warning for warning in warnings if words in warning], words


def append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"\n{line}\n")


# The parts


def test_versions_are_newest_first_and_latest_is_no_pre_release(tmp_path: Path) -> None:
    for name in ("0.9.0", "0.10.0", "1.0.0-rc.2", "1.0.0-rc.10", "assets"):
        (tmp_path / name).mkdir()
    docs_site.write_versions(tmp_path)
    listed = json.loads((tmp_path / "versions.json").read_text())
    assert [version["version"] for version in listed] == ["1.0.0-rc.10", "1.0.0-rc.2", "0.10.0", "0.9.0"]
    assert {version["version"]: version["aliases"] for version in listed if version["aliases"]} == {
        "0.10.0": ["latest"]
    }
    assert 'url=0.10.0/index.html"' in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a:\n- b", "a:\n\n-   b"),
        ("- a\n  - b\n    c", "-   a\n    -   b\n        c"),
        ("1. a\n\n   text\n2. b", "1.  a\n\n    text\n2.  b"),
        ("- a\n\n      code", "-   a\n\n        code"),
        ("```\n- a\n  - b\n```", "```\n- a\n  - b\n```"),
        ("10. a\n    b", "10. a\n    b"),
    ],
)
def test_lists_are_indented_as_python_markdown_reads_them(written: str, read: str) -> None:
    assert docs_site_pages.nested_lists(written) == read


def test_links_in_code_are_left_alone() -> None:
    text = "[a](b.md#c) `[a](b.md)`\n```\n[a](b.md)\n```\n[d](https://e) [f](#g)"
    assert docs_site_pages.with_links(text, str.upper) == text.replace("(b.md#c)", "(B.MD#c)")
