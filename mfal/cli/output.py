"""What the verbs say: lines, tables, numbers in a file, a line of progress."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from mfal.data.files import write_text

JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="also write numbers here")
]


def write_json(path: Path | None, values: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(values, indent=1) + "\n")


def say(text: str) -> None:
    Console(highlight=False, markup=False).print(text, soft_wrap=True)


def show_table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Prints a table whose first row holds the heads, no narrower than its content."""
    width = max(Console().width, 100)
    console = Console(highlight=False, markup=False, width=width)
    console.print(table_of(title, rows))


def table_of(title: str, rows: Sequence[Sequence[str]]) -> Table:
    """A table whose first row holds the heads."""
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for i, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*row)
    return table


_COUNT = re.compile(r"\d+ of \d+ (labels|geometries)$")


@contextmanager
def progress_line(first: str, *, log: bool = False) -> Iterator[Callable[[str], None]]:
    """A line that says what goes on; with `log`, off a terminal, a line for each phase."""
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:

        def say(text: str) -> None:
            if log and not _COUNT.search(text):
                console.print(text, soft_wrap=True)

        yield say
        return
    with console.status(first) as line:
        yield line.update
