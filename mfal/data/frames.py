"""Frames of an extended XYZ file, read strictly."""

import io
import lzma
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io.extxyz import key_val_str_to_dict, parse_properties, read_xyz

from mfal.data.dataset import canonical

QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'|\{[^}]*\}|\[[^\]]*\]')
KEY = re.compile(r"(?<!\S)([^\s=]+)\s*=")


class DataFileError(ValueError):
    """A file that is not what it says; names the file and the frame (from 0)."""

    def __init__(self, path: Path | str, frame: int | None, problem: str) -> None:
        place = f"{path}" if frame is None else f"{path}, frame {frame} (from 0)"
        line = " ".join(problem.split())
        super().__init__(f"{place}: {line}; nothing of this file is taken")
        self.path, self.frame = Path(path), frame


@dataclass(frozen=True)
class Frame:
    """One frame: comment line by keys, columns by names, and the bare structure."""

    path: Path
    number: int
    header: Mapping[str, Any]
    columns: Mapping[str, np.ndarray]
    atoms: Atoms

    @property
    def place(self) -> str:
        return f"{self.path}, frame {self.number}"

    def error(self, problem: str) -> DataFileError:
        return DataFileError(self.path, self.number, problem)


def read_frames(path: str | Path) -> Iterator[Frame]:
    """The frames of a file (plain, or compressed with a name ending in `.xz`).

    Raises:
        DataFileError: a file that cannot be read, is empty, truncated or malformed;
            an unknown species; a position or cell that is not finite.
    """
    for number, lines in enumerate(_blocks(Path(path))):
        try:
            frame = _parse(lines)
        except Exception as error:  # whatever a parser raises is about this frame
            raise DataFileError(path, number, str(error) or repr(error)) from error
        yield Frame(Path(path), number, *frame)


def _blocks(path: Path) -> Iterator[list[str]]:
    """The lines of each frame: the number of atoms, the comment, the atoms.

    A compressed file is taken to memory at once: seeking in it is very slow.
    """
    try:
        content = path.read_bytes()
        text = (lzma.decompress(content) if path.suffix == ".xz" else content).decode()
    except (OSError, lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataFileError(path, None, f"the file cannot be read: {reason}") from error
    if not text.strip():
        raise DataFileError(path, None, "the file is empty")
    if not text.endswith("\n"):
        raise DataFileError(
            path, None, "the last line has no end: truncated, or add a newline to it"
        )
    lines = text.rstrip().replace("\r\n", "\n").split("\n")
    start = number = 0
    while start < len(lines):
        count = lines[start].strip()
        if not re.fullmatch("0*[1-9][0-9]{0,8}", count):
            raise DataFileError(
                path,
                number,
                f"line {start + 1} is {count[:40]!r}, expected a number of atoms "
                "(is the number of the frame before right?)",
            )
        stop = start + 2 + int(count)
        if stop > len(lines):
            found = max(len(lines) - start - 2, 0)
            raise DataFileError(
                path, number, f"truncated: {count} atoms announced, {found} found"
            )
        yield lines[start:stop]
        start, number = stop, number + 1


def _parse(lines: list[str]) -> tuple[dict[str, Any], dict[str, np.ndarray], Atoms]:
    """Comment line, columns and bare structure of a frame."""
    keys = KEY.findall(QUOTED.sub('""', lines[1]))
    repeated = sorted({k for k in keys if keys.count(k) > 1})
    if repeated:
        raise ValueError(f"{repeated[0]} stands twice in the comment line")
    header = key_val_str_to_dict(lines[1]) if lines[1].strip() else {}
    declared = header.get("Properties", "species:S:1:pos:R:3")
    widths = dict(parse_properties(declared)[0].values())
    if len(declared.split(":")) % 3 or widths.get("positions") != 3:
        raise ValueError(f"Properties={declared} does not give positions as pos:R:3")
    if not {"symbols", "numbers"} & set(widths):
        raise ValueError(f"Properties={declared} does not give the species")
    expected = sum(widths.values())
    for i, line in enumerate(lines[2:]):
        if len(line.split()) != expected:
            raise ValueError(
                f"atom {i} has {len(line.split())} columns, "
                f"Properties={declared} needs {expected}"
            )
    periodic = np.asarray(header.get("pbc", False))
    if periodic.shape not in ((), (3,)) or not np.isin(periodic, (0, 1)).all():
        raise ValueError(f"pbc is three of T and F, got {header['pbc']!r}")
    text = io.StringIO("\n".join(lines) + "\n")
    try:
        # a copy, because the reader takes keys out of what it is given
        (atoms,) = read_xyz(text, index=0, properties_parser=lambda _: dict(header))
    except KeyError as error:
        raise ValueError(f"unknown species {error}") from error
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell).all()):
        raise ValueError("a position or the cell is not finite")
    unknown = (atoms.numbers < 1) | (atoms.numbers >= len(chemical_symbols))
    if unknown.any():
        raise ValueError(f"unknown species, atomic number {atoms.numbers[unknown][0]}")
    results = {} if atoms.calc is None else atoms.calc.results
    columns = {k: v for k, v in {**atoms.arrays, **results}.items() if k in widths}
    return header, columns, canonical(atoms)
