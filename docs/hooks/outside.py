"""Pages that are made of files outside of `docs`: notebooks and READMEs of benchmarks.

Notebooks are shown with the outputs that are kept in them and are never run here. What is
not there is left out of the site, so that a missing file breaks nothing.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<!\!)\[([^\]]+)\]\(([^)\s]+)\)")
FIGURE = re.compile(r"(?<=\]\()([\w.-]+\.(?:png|svg))(?=\))")
ITEM = re.compile(r"[-*] |\d+\. ")
LISTED = re.compile(r"[-*] |\d+\. | ")
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
QUESTION = re.compile(r"\*\*Question\.?\*\* *(.+?\?)", re.DOTALL)


def notebooks() -> list[Path]:
    """The notebooks, in the order of their numbers."""
    return sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.ipynb"))


def benchmarks() -> list[Path]:
    """The READMEs of the benchmarks."""
    return sorted((ROOT / "benchmarks").glob("*/README.md"))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The pages that are there enter the navigation below the page that lists them."""
    pages = {
        "Tutorials": [f"tutorials/{path.stem}.md" for path in notebooks()],
        "Benchmarks": [f"benchmarks/{path.parent.name}.md" for path in benchmarks()],
    }
    for entry in config.nav or ():
        for name in pages.keys() & set(entry):
            entry[name] = [entry[name], *pages[name]]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages, their figures, and the changelog."""
    for path in notebooks():
        text, figures = rendered(path)
        files.append(_page(config, f"tutorials/{path.stem}.md", text))
        for name, content in figures.items():
            uri = f"tutorials/{name}"
            files.append(File.generated(config, uri, content=content))
    for path in benchmarks():
        text = with_blank_lines_before_lists(path.read_text())
        home, text = path.parent.name, _with_known_links(text)
        figures = [
            name for name in FIGURE.findall(text) if (path.parent / name).exists()
        ]
        text = FIGURE.sub(
            lambda f, home=home, kept=figures: _figure(f, home, kept), text
        )
        files.append(_page(config, f"benchmarks/{home}.md", text))
        for name in dict.fromkeys(figures):
            source = str(path.parent / name)
            uri = f"benchmarks/{home}/{name}"
            files.append(File.generated(config, uri, abs_src_path=source))
    text = (ROOT / "CHANGELOG.md").read_text()
    files.append(_page(config, "changelog.md", text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fills in the lists of what is there."""
    lists = {"<!-- tutorials -->": _tutorials, "<!-- benchmarks -->": _benchmarks}
    for mark, listed in lists.items():
        if mark in markdown:
            markdown = markdown.replace(mark, listed())
    return markdown


def rendered(notebook: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its figures by their names."""
    exporter = MarkdownExporter()
    content = nbformat.read(notebook, as_version=4)
    resources = {"unique_key": notebook.stem, "output_files_dir": ""}
    text, found = exporter.from_notebook_node(content, resources=resources)
    text = with_blank_lines_before_lists(text)
    text = text.replace("<details>", '<details markdown="1">')
    source = f"tutorials/{notebook.stem}.py"
    note = f"Also as a script: `{source}`.\n"
    return text + "\n" + note, found.get("outputs", {})


def with_blank_lines_before_lists(text: str) -> str:
    """As Python's Markdown wants it, where notebooks do without.

    >>> with_blank_lines_before_lists("Three:\\n- a\\n  b\\n- c")
    'Three:\\n\\n- a\\n  b\\n- c'
    """
    lines: list[str] = []
    fenced = False
    for line in text.split("\n"):
        fenced ^= line.startswith("```")
        before = lines[-1] if lines else ""
        if not fenced and ITEM.match(line) and before and not LISTED.match(before):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def _page(config: MkDocsConfig, uri: str, text: str) -> File:
    return File.generated(config, uri, content=text)


def _with_known_links(text: str) -> str:
    """Links to other benchmarks lead to their pages; to files, they become words."""

    def link(found: re.Match[str]) -> str:
        words, target = found.groups()
        if target.startswith(("http", "#")):
            return found[0]
        other = re.fullmatch(r"\.\./(\w+)/README\.md", target)
        if other and (ROOT / "benchmarks" / other[1] / "README.md").exists():
            return f"[{words}]({other[1]}.md)"
        return words

    return LINK.sub(link, text)


def _figure(found: re.Match[str], home: str, kept: Sequence[str]) -> str:
    return f"{home}/{found[0]}" if found[0] in kept else "../not_measured.svg"


def _tutorials() -> str:
    rows = []
    for path in notebooks():
        words = "\n".join(
            cell.source
            for cell in nbformat.read(path, as_version=4).cells
            if cell.cell_type == "markdown"
        )
        question = QUESTION.search(words)
        asked = " ".join(question[1].split()) if question else ""
        title = _title(words, path.stem)
        rows.append(f"| {path.stem[:2]} | [{title}]({path.stem}.md) | {asked} |")
    return "\n".join(["| | notebook | asks |", "|---|---|---|", *rows])


def _benchmarks() -> str:
    rows = [
        f"| [{path.parent.name}]({path.parent.name}.md) | "
        f"{_title(path.read_text(), path.parent.name)} |"
        for path in benchmarks()
    ]
    return "\n".join(["| folder | asks |", "|---|---|", *rows])


def _title(text: str, otherwise: str) -> str:
    found = TITLE.search(text)
    return found[1].strip() if found else otherwise
