import base64
import copy
import random
import re
from html.parser import HTMLParser

import pytest

from mfal.report import draw_figures, write_report
from mfal.report.page import every_drawing, render_page

VOID = {"meta", "img", "br"}
FIGURES = {
    *(f"learning_curve_{q}" for q in ("forces", "energy")),
    *(f"calibration_{q}" for q in ("forces", "energy")),
    *(
        f"parity_{q}_{m}"
        for q in ("forces", "energy")
        for m in ("standalone", "at_hand")
    ),
    *(f"baselines_{q}" for q in ("forces", "energy")),
    *("spending", "rho", "timeline", "map_levels", "map_steps"),
}


class Page(HTMLParser):
    """What a browser would find: open tags, headings, images, visible text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.headings, self.images, self.words = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words.append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def html(written):
    return written.read_text("utf-8")


@pytest.fixture
def without_images(monkeypatch):
    """Figures are made but not rendered: that takes most of the time of a page."""
    monkeypatch.setattr("mfal.report.markup.svg", lambda figure: b"<svg/>")


def page_of(results):
    return Page(render_page(results, every_drawing(results)))


def lead(page):
    return re.search(r"^(.*?) What it reached", page.text).group(1)


def test_every_tag_is_closed_in_order(html):
    assert Page(html).open == []


def test_nothing_is_fetched_and_nothing_runs(html):
    sources = [image["src"] for image in Page(html).images]
    prefix = "data:image/svg+xml;base64,"
    assert sources and all(s.startswith(prefix) for s in sources)
    drawn = [base64.b64decode(s.removeprefix(prefix)).decode() for s in sources]
    for found in re.findall(r'(?:href|src)="([^"]*)"', "".join(drawn)):
        assert found.startswith(("#", "data:"))
    assert not re.search(r"https?:|//[a-z]|<script|<link|@import|url\(", html)


def test_the_parts_stand_in_their_order(html):
    assert Page(html).headings == [
        "ethanol",
        "What it reached",
        "Learning curve",
        "Against random and single-level labels",
        "What going on would buy",
        "Predicted against computed",
        "Do the error bars mean what they say?",
        "Where the budget went",
        "Scale between the levels",
        "Map of the pool",
        "The model in numbers",
        "Failed and quarantined labels",
        "What was bought",
        "Workers and time",
        "How it was run",
    ]


def test_every_figure_is_a_png_with_a_drawing_in_it(written):
    pictures = {f.stem: f.read_bytes() for f in written.parent.glob("figures/*.png")}
    assert set(pictures) == FIGURES
    for content in pictures.values():
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
        assert width > 800 and height > 500
        assert len(content) > 20_000


def test_every_image_says_in_words_what_it_shows(html):
    texts = [image["alt"] for image in Page(html).images]
    assert len(set(texts)) == len(FIGURES)
    assert all(re.search(r"\d", alt) and len(alt) > 40 for alt in texts)


def test_the_first_paragraph_says_what_was_bought_and_reached(html, finished):
    said = lead(Page(html))
    assert "For 208 CPU s of a budget of 220 CPU s, 360 gfn2 and 35 pbe labels" in said
    assert "bought outside the budget, for 236 CPU s" in said
    assert re.search(r"0\.150 ± 0\.003 eV/Å in forces .* standalone", said)
    assert re.search(r"0\.042 ± 0\.001 eV/Å in forces .* with gfn2 at hand", said)
    assert finished["verdict"]["second_level"].replace("eV/A", "eV/Å") in said
    assert "The choosing did not pay" in said


def test_failures_are_told_with_their_reason(html):
    text = Page(html).text
    assert "SCF not converged after 50 cycles" in text
    assert "no result after 120 s" in text


def test_no_failures_is_said_in_so_many_words(results, without_images):
    results["failures"] = []
    assert "None: every label that was asked for came back" in page_of(results).text


def test_the_same_results_give_the_same_page(finished, html, tmp_path):
    again = write_report(copy.deepcopy(finished), tmp_path)
    assert again.read_text("utf-8") == html


def test_what_comes_from_data_is_shown_and_not_obeyed(results, tmp_path):
    evil = "<script>alert('&\"')</script>$\\frac{"
    results.update(name=evil, stopping_reason=evil, plan=[evil])
    results["system"]["formula"] = evil
    results["levels"][1]["oracle"] = {evil: evil}
    results["levels"][0]["name"] = evil
    results["diagnosis"]["sentence"] = evil
    results["verdict"] = {"second_level": evil, "choosing": evil}
    results["comparison"][0].update(name=evil, note=evil)
    results["failures"][0].update(message=evil, kind=evil, state=evil, level=evil)
    results["bought"][0].update(level=evil, purpose=evil, structure=evil)
    results["model"].update(kind=evil, repairs={evil: evil}, kernels={evil: evil})
    results["execution"]["workers"] = evil
    results["budget"].update(unit=evil, outside={evil: 1.0})
    html = write_report(results, tmp_path).read_text("utf-8")
    page = Page(html)
    assert page.open == [] and "<script" not in html
    assert page.text.count("<script>alert(") > 15


KEYS = [
    *("mfal_version", "name", "finished", "stopping_reason", "started", "updated"),
    *("system", "levels", "plan", "budget", "n_labels", "cost_model", "cost_ratio"),
    *("diagnosis", "model", "learning_curve", "evaluation", "comparison", "verdict"),
    *("failures", "bought", "execution", "map", "timeline", "pool"),
]


@pytest.mark.parametrize("key", KEYS)
def test_a_page_stands_without_any_one_part(results, key, without_images):
    del results[key]
    page = page_of(results)
    assert page.open == [] and len(page.headings) == 15
    assert not re.search(r"\b(None|nan|inf)\b(?!:)", page.text)


def thinned(value, rng):
    """The document with about a sixth of its values lost, at any depth."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k == "format" or rng.random() > 0.08}
        return {k: thinned(v, rng) for k, v in kept.items()}
    if isinstance(value, list):
        return [thinned(v, rng) for v in value]
    return None if not isinstance(value, int) and rng.random() < 0.08 else value


@pytest.mark.parametrize("seed", range(8))
def test_a_page_stands_whatever_is_lost(results, seed, without_images):
    page = page_of(thinned(results, random.Random(seed)))
    assert page.open == []
    assert not re.search(r"\b(None|nan|inf)\b(?!:)", page.text)


def test_before_the_first_step_the_page_says_so(results, tmp_path):
    early = {k: results[k] for k in ("format", "name", "system", "levels", "budget")}
    early["budget"].update(spent=0.0, spent_per_level={})
    early.update(finished=False, learning_curve=[], failures=[], bought=[])
    path = write_report(early, tmp_path)
    page = Page(path.read_text("utf-8"))
    assert page.images == [] and list(tmp_path.glob("figures/*.png")) == []
    assert "The campaign is not finished. So far, for 0 CPU s of" in lead(page)
    assert "No errors are known yet: no step has been finished." in lead(page)
    for sentence in (
        "There is no learning curve yet",
        "No held-out predictions to show yet",
        "Nothing has been bought yet",
        "No model has been fitted yet",
    ):
        assert sentence in page.text


def test_after_one_step_there_is_a_page_with_leave_one_out_errors(results, tmp_path):
    results["learning_curve"] = results["learning_curve"][:1]
    results.update(finished=False, evaluation=None, verdict=None, comparison=None)
    page = Page(write_report(results, tmp_path).read_text("utf-8"))
    assert "No held-out errors are known yet; left out of the fit" in lead(page)
    assert (tmp_path / "figures" / "learning_curve_forces.png").stat().st_size > 10_000


def test_a_campaign_of_one_level_needs_no_second(results, without_images):
    results["levels"] = results["levels"][1:]
    results["evaluation"]["at_hand"] = None
    results.update(verdict=None, comparison=None)
    for record in results["learning_curve"]:
        record.update(rho=[], rho_standard_error=[], heldout=None)
    page = page_of(results)
    assert "There is one level only" in page.text
    assert "at hand" not in page.text


def test_three_levels_are_all_named(results, without_images):
    results["levels"].insert(1, {"name": "hf", "oracle": {}, "quantities": ["energy"]})
    for record in results["learning_curve"]:
        record.update(rho=[1.0, 0.9], rho_standard_error=[0.1, 0.2])
    page = page_of(results)
    assert "gfn2 → hf → pbe" in page.text
    assert "with gfn2 and hf at hand" in page.text


def test_results_of_another_format_are_refused(results, tmp_path):
    results["format"] = 2
    with pytest.raises(ValueError, match="format 2, a report can be made of format 1"):
        write_report(results, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_drawn_leaves_the_old_one(
    results, tmp_path, monkeypatch
):
    for key in ("evaluation", "comparison", "map", "timeline"):
        results[key] = None  # fewer figures: they take most of the time
    old = write_report(results, tmp_path).read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mfal.data.files.os.fsync", full)
    results["name"] = "methanol"
    with pytest.raises(OSError, match="No space left"):
        write_report(results, tmp_path)
    assert (tmp_path / "report.html").read_bytes() == old
    assert not [f for f in tmp_path.rglob("*") if f.suffix == ".tmp"]


def test_what_was_asked_for_is_told_with_how_far_it_is(results, without_images):
    asked = {
        "conditions": [
            {"met": True, "sentence": "force RMSE 0.09 eV/A within 0.1 eV/A"},
            {"met": False, "sentence": "energy MAE 3 meV/atom not within 2 meV/atom"},
        ],
        "patience": 2,
        "steps_met": 0,
        "errors": "errors of held-out labels, standalone, 40 configurations",
    }
    page = page_of({**results, "stopping": [asked]})
    assert page.headings[1] == "What was asked for"
    assert "Holds: force RMSE 0.09 eV/A within 0.1 eV/A" in page.text
    assert "Open: energy MAE 3 meV/atom not within" in page.text
    assert "All held in 0 of the 2 last steps (errors of held-out labels" in page.text


@pytest.mark.parametrize("asked", [{}, {"conditions": [{}]}, {"conditions": None}])
def test_a_page_stands_whatever_is_lost_of_what_was_asked(
    results, without_images, asked
):
    assert page_of({**results, "stopping": [asked]}).open == []


def test_the_certificate_stands_beside_what_was_bought(results, without_images):
    results["batches"] = [
        {
            "step": 3,
            "worth": 8.0,
            "upper_bound": 10.0,
            "evaluations": 30,
            "evaluations_saved": 70,
        }
    ]
    text = page_of(results).text
    assert text.index("What was bought") < text.index("The batch is worth at least 80")


def test_notices_of_the_last_fit_are_told_and_many_are_counted(results, without_images):
    assert "Look at these" not in page_of(results).headings
    results["notices"] = [f"pbe label {i} <is> odd" for i in range(23)]
    page = page_of(results)
    assert "Look at these" in page.headings
    assert "pbe label 19 <is> odd" in page.text
    assert "label 20" not in page.text and "And 3 more, in" in page.text


def test_what_dynamics_found_is_told_step_by_step(results, without_images):
    assert "What was explored" not in page_of(results).headings
    results["explorations"] = [
        {"step": 3, "sentence": "explored 500 steps in 2 runs"},
        {"step": 5, "sentence": "nothing was explored: no atoms"},
    ]
    page = page_of(results)
    assert "Step 3: explored 500 steps in 2 runs" in page.text
    assert "Step 5: nothing was explored: no atoms" in page.text


def test_figures_are_those_of_the_page(results, written):
    figures = draw_figures(results, written.parent)
    assert figures.keys() == {p.stem for p in written.parent.glob("figures/*.png")}
    assert all(figure.axes for figure in figures.values())
