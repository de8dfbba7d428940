"""Saved artefacts: a JSON header and arrays, verified on load, never half written.

A directory holds generations; the newest two that are intact are kept:

    model/generation-000007/manifest.json   format, version, sha256 of the other two
                            header.json
                            arrays.npz

A generation is written beside its place, synced and renamed, so a crash leaves the
ones before it as they were.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "mfal-artefact"
VERSION = 1
_FILES = ("header.json", "arrays.npz")
_log = logging.getLogger(__name__)


class ArtefactError(ValueError):
    """An artefact that cannot be saved as asked, or cannot be trusted on load."""


class _Damaged(ArtefactError):
    """A generation whose bytes are not those that were saved."""


def save_artefact(
    directory: str | os.PathLike[str],
    header: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Saves a header (plain JSON values) and arrays as the newest generation.

    What `directory` held before stays loadable until the new generation is on the
    disk, and is kept as the previous one. One process writes at a time.

    Raises:
        ArtefactError: a header that is not plain finite JSON, an array of Python
            objects, or a `directory` that is a file.
        OSError: the disk is full or not writable; what was saved before stands.
    """
    header_text = _header_text(header)
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise ArtefactError(
            f"an artefact is a directory, but {directory} is a file: "
            "give another name or remove it"
        )
    directory.mkdir(parents=True, exist_ok=True)
    _sync(directory.parent)
    older = _generations(directory)
    number = 1 + (_number(older[0]) if older else 0)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=directory))
    try:
        (partial / "header.json").write_text(header_text, encoding="utf-8")
        _write_arrays(partial / "arrays.npz", arrays)
        (partial / "manifest.json").write_text(_manifest_text(partial))
        for path in (*partial.iterdir(), partial):
            _sync(path)
        os.chmod(partial, directory.stat().st_mode & 0o777)  # mkdtemp made it 0700
        os.replace(partial, directory / f"generation-{number:06d}")
        _sync(directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _prune(directory, older)


def load_artefact(
    directory: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays of the newest intact generation.

    A generation that is truncated or whose hash is wrong is skipped with a logged
    warning. Nothing that is read can run code.

    Raises:
        ArtefactError: nothing here is intact, or the newest was written in another
            format, by a newer version, or with pickled objects.
    """
    directory = Path(directory)
    generations = _generations(directory)
    if not generations:
        raise ArtefactError(f"{directory} holds no saved artefact: check the path")
    damages = []
    for generation in generations:
        try:
            _verify(generation)
        except _Damaged as damage:
            _log.warning("%s; the previous generation is tried", damage)
            damages.append(str(damage))
            continue
        return _read(generation)
    raise ArtefactError(
        f"no generation in {directory} is intact: {'; '.join(damages)}. "
        "Restore a copy, or fit and save it again"
    )


def _header_text(header: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(header), indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtefactError(
            f"a header holds plain finite JSON values only: {error}; put numbers that "
            "are not finite, and arrays, into the arrays"
        ) from None


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with zipfile.ZipFile(path, "w") as archive:  # as np.savez, but with any name
        for name, value in arrays.items():
            array = np.asanyarray(value)
            if array.dtype.hasobject:
                raise ArtefactError(
                    f"array {name!r} holds Python objects (dtype {array.dtype}), which "
                    "only pickle can save: give numbers, booleans or fixed strings"
                )
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _read(generation: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        header = json.loads((generation / "header.json").read_bytes())
        arrays = {}
        with zipfile.ZipFile(generation / "arrays.npz") as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    array = np.lib.format.read_array(member, allow_pickle=False)
                arrays[name.removesuffix(".npy")] = array
        return dict(header), arrays
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ArtefactError(f"{generation} is refused: {error}") from None


def _manifest_text(generation: Path) -> str:
    sums = {name: _sha256(generation / name) for name in _FILES}
    manifest = {"format": FORMAT, "version": VERSION, "sha256": sums}
    return json.dumps({**manifest, "seal": _seal(manifest)}, indent=1)


def _seal(manifest: Mapping[str, Any]) -> str:
    """The manifest's own hash: a flipped bit is not taken for a newer version."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _verify(generation: Path) -> None:
    """Checks the seal, then format and version, then the hash of each file."""
    try:
        manifest = json.loads((generation / "manifest.json").read_bytes())
        sealed = manifest.pop("seal") == _seal(manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        sealed = False
    if not sealed:
        raise _Damaged(f"{generation / 'manifest.json'} is missing or damaged")
    if manifest.get("format") != FORMAT:
        raise ArtefactError(
            f"{generation} has format {manifest.get('format')!r}, expected {FORMAT!r}"
        )
    version, sums = manifest.get("version"), manifest.get("sha256")
    if not (isinstance(version, int) and isinstance(sums, dict)):
        raise ArtefactError(f"{generation / 'manifest.json'} lacks version or sha256")
    if version > VERSION:
        raise ArtefactError(
            f"{generation} has format version {version}, this mfal reads up to "
            f"{VERSION}: upgrade mfal"
        )
    for name in _FILES:
        path = generation / name
        if not path.is_file() or _sha256(path) != sums.get(name):
            raise _Damaged(f"{path} is not what was saved (sha256)")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _generations(directory: Path) -> list[Path]:
    """The generations in `directory`, newest first."""
    found = [p for p in directory.glob("generation-*") if p.name[11:].isdigit()]
    return sorted(found, key=_number, reverse=True)


def _number(generation: Path) -> int:
    return int(generation.name.removeprefix("generation-"))


def _prune(directory: Path, older: list[Path]) -> None:
    """Removes all but the newest undamaged one of `older`, and what crashes left."""
    kept = None
    for generation in older:
        try:
            _verify(generation)
        except _Damaged as damage:
            _log.warning("%s; removed", damage)
            continue
        except ArtefactError:
            pass  # of a newer mfal: not for this one to judge
        kept = generation
        break
    stale = [g for g in older if g != kept] + list(directory.glob(".partial-*"))
    for path in stale:
        shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    """Forces a file or a directory entry to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
