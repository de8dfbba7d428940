"""One command for all benchmarks: what it lists, what it runs, what it refuses."""

import importlib.util

import pytest

from benchmarks import __main__ as runner


@pytest.mark.parametrize("name", runner.MODULES)
def test_every_name_is_a_benchmark_with_a_question(name):
    assert importlib.util.find_spec(f"benchmarks.{runner.MODULES[name]}")
    assert runner.question(name)
    folder = runner.HERE / runner.MODULES[name].split(".")[0]
    assert (folder / "README.md").exists()


def test_every_folder_of_a_benchmark_has_a_name():
    folders = {file.parent.name for file in runner.HERE.glob("*/README.md")}
    assert folders == {module.split(".")[0] for module in runner.MODULES.values()}


def test_without_words_it_lists_what_there_is(capsys):
    assert runner.main([]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in runner.MODULES)


def test_an_unknown_name_is_refused_with_those_there_are(capsys):
    assert runner.main(["strategy"]) == 2
    assert "strategies_small" in capsys.readouterr().err


def test_options_reach_the_benchmark_and_its_exit_code_comes_back(capfd):
    assert runner.main(["few_labels", "--help"]) == 0
    assert "--seeds" in capfd.readouterr().out
    assert runner.main(["few_labels", "--no-such-option"]) != 0


def test_all_goes_on_after_a_failure_and_says_which(monkeypatch, capsys):
    asked = []

    def ran(name, options):
        asked.append((name, tuple(options)))
        return int(name == "cokriging")

    monkeypatch.setattr(runner, "_run", ran)
    assert runner.main(["all", "--smoke"]) == 1
    assert asked == [(name, ("--smoke",)) for name in runner.MODULES]
    assert capsys.readouterr().err == "failed: cokriging\n"
