"""Tables in Markdown, and the parts of a README that a script writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mfal.data.files import write_text


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    if not rows:
        return "Not measured yet."
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_sections(readme: Path, sections: Mapping[str, str]) -> None:
    """Puts each text between the marks of its name.

    Raises:
        ValueError: the README has no marks of a name.
    """
    text = readme.read_text()
    for name, content in sections.items():
        before, rest = text.split(f"<!-- {name} -->\n")
        _, after = rest.split("<!-- end -->", maxsplit=1)
        text = f"{before}<!-- {name} -->\n{content}\n<!-- end -->{after}"
    write_text(readme, text)
