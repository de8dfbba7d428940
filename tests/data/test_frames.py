"""A file is read as it stands, or refused with its name and the frame."""

import lzma

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mfal.data.frames import DataFileError, read_frames

ONE = '2\nProperties=species:S:1:pos:R:3 pbc="F F F"\nO 0.0 0.0 0.0\nH 0.0 0.0 0.97\n'
TWO = ONE.replace("0.97", "0.98")


def refusal(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataFileError) as caught:
        list(read_frames(path))
    assert str(path) in str(caught.value)
    return caught.value


def test_frames_come_in_order_with_their_columns_and_comment_line(tmp_path):
    path = tmp_path / "a.extxyz"
    forces = "Properties=species:S:1:pos:R:3:forces:R:3 name=oh energy=-1.5"
    path.write_text(ONE + f"1\n{forces}\nH 0 0 0 1 2 3\n")
    first, second = read_frames(path)
    assert (first.number, second.number) == (0, 1)
    assert first.atoms.get_chemical_symbols() == ["O", "H"]
    assert second.header["energy"] == -1.5 and second.header["name"] == "oh"
    np.testing.assert_array_equal(second.columns["forces"], [[1, 2, 3]])


def test_the_cell_has_its_vectors_as_rows(tmp_path):
    path = tmp_path / "a.extxyz"
    path.write_text('1\nLattice="4 0 0 1 5 0 0 2 6"\nH 0 0 0\n')
    (frame,) = read_frames(path)
    np.testing.assert_array_equal(frame.atoms.cell, [[4, 0, 0], [1, 5, 0], [0, 2, 6]])
    assert frame.atoms.pbc.all()


def test_a_compressed_file_gives_the_same_frames(tmp_path):
    path = tmp_path / "a.extxyz.xz"
    path.write_bytes(lzma.compress((ONE + TWO).encode()))
    assert [f.atoms.positions[1, 2] for f in read_frames(path)] == [0.97, 0.98]


def test_blank_lines_at_the_end_do_no_harm(tmp_path):
    path = tmp_path / "a.extxyz"
    path.write_text(ONE + "\n \n")
    assert len(list(read_frames(path))) == 1


HEAD = "1\nProperties=species:S:1:pos:R:3"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("garbage\n", "expected a number of atoms"),
        ("\n" + ONE, "expected a number of atoms"),
        ("-1\n\n", "expected a number of atoms"),
        ("0\n\n", "expected a number of atoms"),
        (ONE.replace("2\n", "1\n", 1), "number of the frame before"),
        (ONE.replace("2\n", "3\n", 1), "truncated: 3 atoms announced, 2 found"),
        (ONE.replace("2\n", "3\n", 1) + TWO, "atom 2 has 1 columns"),
        ("999999999\n", "truncated"),
        (f"{HEAD}\nH 0 0 0 1\n", "atom 0 has 5 columns"),
        (f"{HEAD}\nH 0 0\n", "atom 0 has 3 columns"),
        (f"{HEAD}:forces:R\nH 0 0 0\n", "does not give positions"),
        ("1\nProperties=species:S:1\nH\n", "does not give positions"),
        ("1\nProperties=pos:R:3\n0 0 0\n", "does not give the species"),
        ("1\nProperties=T\nH 0 0 0\n", ""),
        (f"{HEAD}\nH 0 0 nan\n", "not finite"),
        (f"{HEAD}\nH 0 0 1e999\n", "not finite"),
        (f"{HEAD}\nH 0 0 zero\n", "could not convert"),
        (f"{HEAD}\nQq 0 0 0\n", "unknown species 'Qq'"),
        (f"{HEAD}\nX 0 0 0\n", "unknown species"),
        ("1\nProperties=Z:I:1:pos:R:3\n119 0 0 0\n", "unknown species"),
        (f'{HEAD} Lattice="1 0 0"\nH 0 0 0\n', "Lattice"),
        (f'{HEAD} Lattice="1 0 0 0 nan 0 0 0 1"\nH 0 0 0\n', "not finite"),
        (f'{HEAD} pbc="T T X"\nH 0 0 0\n', "pbc is three of T and F"),
        (f'{HEAD} pbc="T T"\nH 0 0 0\n', "pbc is three of T and F"),
        (f"{HEAD} REF_energy=1 REF_energy=2\nH 0 0 0\n", "REF_energy stands twice"),
    ],
)
def test_a_malformed_frame_is_named(tmp_path, bad, message):
    error = refusal(tmp_path / "a.extxyz", ONE + bad)
    assert message in str(error)
    assert error.frame in (1, 2) and f"frame {error.frame} (from 0)" in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"\xff\xfe\x00\n", "cannot be read"),
        (ONE[:-1], "truncated"),
    ],
)
def test_a_file_that_is_no_text_or_is_cut_is_refused(tmp_path, content, message):
    assert message in str(refusal(tmp_path / "a.extxyz", content))


def test_a_missing_file_is_refused_by_its_name(tmp_path):
    with pytest.raises(DataFileError, match=r"a\.extxyz: .* cannot be read: No such"):
        list(read_frames(tmp_path / "a.extxyz"))


@pytest.mark.faults
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_file_cut_anywhere_gives_whole_frames_or_an_error(tmp_path, data):
    content = ONE + TWO + ONE
    stop = data.draw(st.integers(0, len(content) - 1))
    path = tmp_path / "a.extxyz"
    path.write_text(content[:stop])
    whole = [len(ONE), len(ONE + TWO)]
    if stop in whole:
        assert len(list(read_frames(path))) == 1 + whole.index(stop)
    else:
        refusal(path, content[:stop])


@pytest.mark.faults
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_compressed_file_cut_anywhere_is_refused(tmp_path, data):
    content = lzma.compress((ONE + TWO).encode())
    stop = data.draw(st.integers(0, len(content) - 1))
    refusal(tmp_path / "a.extxyz.xz", content[:stop])


@pytest.mark.faults
@given(noise=st.binary(min_size=1, max_size=12), place=st.integers(0, len(ONE)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_bytes_thrown_into_a_file_never_raise_anything_else(tmp_path, noise, place):
    path = tmp_path / "a.extxyz"
    path.write_bytes(ONE.encode()[:place] + noise + ONE.encode()[place:] + TWO.encode())
    try:
        frames = list(read_frames(path))
    except DataFileError:
        return
    for frame in frames:
        assert (
            np.isfinite(frame.atoms.positions).all() and (frame.atoms.numbers > 0).all()
        )
