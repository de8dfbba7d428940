"""Labels of a step that are made by hand: handed over, and taken back when they come."""

import re
from collections.abc import Mapping
from pathlib import Path

from ase import Atoms

from mfal.campaign.records import StoredLabel
from mfal.data import Fidelity
from mfal.oracles import LabelError, LabelRequest, LabelResult
from mfal.oracles.handover import Refusal, Returned, hand_over, take_back


def batch_folder(folder: Path, step: int, level: str) -> Path:
    """Where the structures of a step wait for their labels of a level."""
    return folder / f"step-{step}-{re.sub(r'[^A-Za-z0-9_.+-]', '_', level)}"


def exchange(
    folder: Path,
    fidelity: Fidelity,
    labels: Mapping[str, StoredLabel],
    atoms: Mapping[int, Atoms],
) -> tuple[Returned, list[LabelResult]]:
    """Hands over what is wanted and reads what has come back since.

    `labels` are the open ones by the names of their folders. A result that was refused
    before is not told again: a failed attempt counts once, whatever the number of runs
    that find the same file.

    Raises:
        HandoverError: the folder holds something else.
    """
    structures = {name: atoms[label.structure_id] for name, label in labels.items()}
    returned = take_back(hand_over(folder, fidelity, structures), labels)
    told = []
    for name, label in labels.items():
        request = LabelRequest.of(
            name, structures[name], fidelity, attempt=label.attempts + 1
        )
        if name in returned.results:
            found = returned.results[name]
            seconds = found.cpu_seconds or 0.0
            told.append(
                LabelResult.of(
                    request,
                    found.label,
                    seconds,
                    seconds,
                    converged=True,
                    versions=found.versions,
                )
            )
        elif name in returned.refused:
            refusal = returned.refused[name]
            if _mark(refusal) not in (label.error_message or ""):
                error = LabelError(refusal.error.kind, f"{refusal} {_mark(refusal)}")
                told.append(LabelResult.of(request, error, 0.0, 0.0))
    return returned, told


def waiting_sentence(returned: Returned, n_open: int) -> str:
    """What the person has to do for the campaign to go on."""
    level, folder = returned.batch.fidelity.name, returned.batch.folder
    refused = "".join(f"; refused is {told}" for told in returned.refused.values())
    return (
        f"{n_open} labels of {level} are to be made by hand: put a result into each "
        f"folder in {folder} (its manifest.json says how){refused}"
    )


def _mark(refusal: Refusal) -> str:
    return f"[{refusal.digest[:16]}]"
