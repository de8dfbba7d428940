"""A saved artefact comes back exactly, or the one before it does, or none."""

import hashlib
import json
import logging
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mfal.data.artefact import VERSION, ArtefactError, load_artefact, save_artefact

HEADER = {"kernel": "matern52", "rho": [0.1 + 0.2, 1e-300], "levels": ["xtb", "pbe"]}
ARRAYS = {
    "weights": np.random.default_rng(0).normal(size=(7, 3)),
    "mask": np.array([True, False]),
    "species": np.array(["H", "C"]),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "scalar": np.array(np.pi),
    "empty": np.zeros((0, 4)),
    "signs": np.array([-0.0, np.nan, np.inf, 5e-324]),
    "file": np.arange(3, dtype=np.int32),  # also the name of an argument of np.savez
    "level/xtb": np.arange(2),
}


def newest(directory):
    return max(directory.glob("generation-*"))


def reseal(generation, **changes):
    """Writes a manifest that is consistent with what the generation now holds."""
    manifest = json.loads((generation / "manifest.json").read_text())
    del manifest["seal"]
    for name in manifest["sha256"]:
        content = (generation / name).read_bytes()
        manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
    manifest.update(changes)
    text = json.dumps(manifest, sort_keys=True)
    manifest["seal"] = hashlib.sha256(text.encode()).hexdigest()
    (generation / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def two_generations(tmp_path):
    save_artefact(tmp_path / "model", {"which": "first"}, {"x": np.arange(500.0)})
    save_artefact(tmp_path / "model", {"which": "second"}, {"x": np.arange(500.0) + 1})
    return tmp_path / "model"


def test_header_and_arrays_come_back_to_the_bit(tmp_path):
    save_artefact(tmp_path / "a" / "model", HEADER, ARRAYS)
    header, arrays = load_artefact(str(tmp_path / "a" / "model"))
    assert header == HEADER
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


def test_the_newest_is_loaded_and_one_previous_kept(two_generations):
    save_artefact(two_generations, {"which": "third"}, {})
    assert load_artefact(two_generations) == ({"which": "third"}, {})
    kept = sorted(p.name for p in two_generations.iterdir())
    assert kept == ["generation-000002", "generation-000003"]


@pytest.mark.parametrize("name", ["manifest.json", "header.json", "arrays.npz"])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_generation_gives_the_previous_with_a_warning(
    two_generations, name, fraction, caplog
):
    file = newest(two_generations) / name
    file.write_bytes(file.read_bytes()[: int(fraction * file.stat().st_size)])
    with caplog.at_level(logging.WARNING):
        header, arrays = load_artefact(two_generations)
    assert header == {"which": "first"}
    assert np.array_equal(arrays["x"], np.arange(500.0))
    assert name in caplog.text


@pytest.mark.parametrize("name", ["manifest.json", "header.json", "arrays.npz"])
def test_a_missing_file_gives_the_previous(two_generations, name):
    (newest(two_generations) / name).unlink()
    assert load_artefact(two_generations)[0] == {"which": "first"}


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), data=st.data())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_flipped_bit_never_changes_what_is_loaded(two_generations, where, bit, data):
    name = data.draw(st.sampled_from(["manifest.json", "header.json", "arrays.npz"]))
    file = newest(two_generations) / name
    content = file.read_bytes()
    flipped = bytearray(content)
    flipped[int(where * len(content))] ^= 1 << bit
    file.write_bytes(flipped)
    try:
        header, arrays = load_artefact(two_generations)
    finally:
        file.write_bytes(content)
    # white space between the entries of the manifest may change without harm
    shift = {"first": 0, "second": 1}[header["which"]]
    assert np.array_equal(arrays["x"], np.arange(500.0) + shift)
    assert header["which"] == "first" or name == "manifest.json"


def test_when_no_generation_is_intact_each_damage_is_named(two_generations):
    for generation in two_generations.iterdir():
        (generation / "arrays.npz").write_bytes(b"")
    with pytest.raises(ArtefactError, match=r"000002.*000001.*save it again"):
        load_artefact(two_generations)


def test_saving_over_a_damaged_generation_keeps_the_intact_one(two_generations):
    (newest(two_generations) / "arrays.npz").write_bytes(b"")
    save_artefact(two_generations, {"which": "third"}, {})
    (newest(two_generations) / "arrays.npz").write_bytes(b"")
    assert load_artefact(two_generations)[0] == {"which": "first"}


@pytest.mark.faults
@pytest.mark.parametrize("later", [VERSION + 1, VERSION + 7])
def test_a_newer_version_is_refused_and_named(two_generations, later):
    reseal(newest(two_generations), version=later)
    with pytest.raises(ArtefactError, match=f"version {later}.*upgrade mfal"):
        load_artefact(two_generations)


def test_a_newer_version_is_not_deleted_by_saving(two_generations):
    newer = newest(two_generations)
    reseal(newer, version=VERSION + 1)
    save_artefact(two_generations, {}, {})
    assert newer.is_dir()


def test_another_format_is_refused(two_generations):
    reseal(newest(two_generations), format="something-else")
    with pytest.raises(ArtefactError, match="something-else"):
        load_artefact(two_generations)


def test_an_array_of_objects_is_not_saved(two_generations):
    with pytest.raises(ArtefactError, match=r"'bad'.*pickle"):
        save_artefact(two_generations, {}, {"bad": np.array([{}, None])})
    assert load_artefact(two_generations)[0] == {"which": "second"}
    assert not list(two_generations.glob(".partial-*"))


class Payload:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


@pytest.mark.parametrize("form", ["object array", "bare pickle"])
def test_a_pickled_object_is_refused_and_not_run(
    two_generations, form, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    crafted = newest(two_generations) / "arrays.npz"
    if form == "bare pickle":
        crafted.write_bytes(pickle.dumps(Payload()))
    else:
        with zipfile.ZipFile(crafted, "w") as archive, archive.open("x.npy", "w") as f:
            objects = np.array([Payload()], dtype=object)
            np.lib.format.write_array(f, objects, allow_pickle=True)
    reseal(newest(two_generations))
    with pytest.raises(ArtefactError, match="refused"):
        load_artefact(two_generations)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("text", ["[1]", "3", "{", "\xff"])
def test_a_header_that_is_no_json_object_is_refused(two_generations, text):
    (newest(two_generations) / "header.json").write_text(text, encoding="latin-1")
    reseal(newest(two_generations))
    with pytest.raises(ArtefactError, match="refused"):
        load_artefact(two_generations)


@pytest.mark.parametrize("value", [np.nan, np.inf, np.zeros(2), {1, 2}])
def test_a_header_that_is_not_plain_json_is_not_saved(tmp_path, value):
    with pytest.raises(ArtefactError, match="plain finite JSON"):
        save_artefact(tmp_path / "model", {"value": value}, {})
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("function", ["replace", "fsync", "chmod"])
def test_a_failed_write_leaves_the_last_good_state(
    two_generations, monkeypatch, function
):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = sorted(two_generations.rglob("*"))
    with monkeypatch.context() as patched:
        patched.setattr(os, function, full)
        with pytest.raises(OSError, match="No space"):
            save_artefact(two_generations, {"which": "third"}, {})
    assert sorted(two_generations.rglob("*")) == before
    assert load_artefact(two_generations)[0] == {"which": "second"}


@pytest.mark.parametrize("n_writes", range(7))
def test_a_crash_between_any_two_writes_leaves_the_last_good_state(
    two_generations, monkeypatch, n_writes
):
    """Everything from the n-th sync on, and the clean-up, does not happen."""
    done = []

    def dies(*_):
        if len(done) == n_writes:
            raise KeyboardInterrupt
        done.append(1)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", dies)
        patched.setattr("shutil.rmtree", lambda *_, **__: None)
        try:
            save_artefact(two_generations, {"which": "third"}, {})
        except KeyboardInterrupt:
            assert load_artefact(two_generations)[0]["which"] in {"second", "third"}
    save_artefact(two_generations, {"which": "fourth"}, {})
    assert load_artefact(two_generations)[0] == {"which": "fourth"}
    assert len(list(two_generations.iterdir())) == 2


def test_what_is_saved_is_synced_before_it_is_named(tmp_path, monkeypatch):
    synced, replace = [], os.replace
    fsync = os.fsync

    def recording_fsync(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}").rsplit("/", 1)[-1])
        fsync(descriptor)

    def checking_replace(source, target):
        assert {"manifest.json", "header.json", "arrays.npz"} <= set(synced)
        assert source.name in synced
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", checking_replace)
    save_artefact(tmp_path / "model", HEADER, ARRAYS)
    assert synced[-1] == "model"


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "model").write_text("")
    with pytest.raises(ArtefactError, match="is a file"):
        save_artefact(tmp_path / "model", {}, {})


def test_a_path_without_artefact_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match="no saved artefact"):
        load_artefact(tmp_path / "nowhere")
