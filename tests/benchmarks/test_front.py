"""The table of the first page is that of the results that are kept."""

from benchmarks.front import HERE, front, read


def test_the_first_page_says_what_the_results_say():
    readme = (HERE.parent / "README.md").read_text()
    _, rest = readme.split("<!-- front -->\n")
    assert rest.split("\n<!-- end -->")[0] == front(read)


def test_a_system_that_misses_the_aim_is_named_as_a_loss():
    found = read("strategies")
    poor = {
        "strategies": {**found, "systems": {"silicon": found["systems"]["silicon"]}}
    }
    row = front(lambda name: poor.get(name) or read(name)).splitlines()[2]
    won, lost = row.split(" | ")[1:]
    assert "silicon" not in won and "silicon" in lost
