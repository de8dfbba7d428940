"""What more than one room's tests start from."""

from pathlib import Path

import pytest
import torch

from mfal import Fidelity, read_extxyz

pytest.register_assert_rewrite("laws", "textbook")

FILES = Path(__file__).parent / "files"


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Searches of BoTorch start at random: at the same places in every run."""
    torch.manual_seed(0)


@pytest.fixture
def generator():
    """Random numbers that are the same in every run."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def methanol():
    """24 geometries, each with energy and forces at two levels (files/PROVENANCE.md)."""
    levels = [Fidelity("gfn2"), Fidelity("mp2")]
    return read_extxyz(FILES / "methanol_gfn2_mp2.extxyz", fidelities=levels)
