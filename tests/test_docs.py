"""What the pages of the documentation say holds: names, keys, options, code."""

import ast
import doctest
import importlib
import importlib.util
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mfal.campaign.config import CampaignConfig
from mfal.campaign.explore_config import ExploreConfig
from mfal.campaign.fit_config import FitConfig, SourceConfig, SparseFitConfig
from mfal.campaign.settings import SparseConfig
from mfal.campaign.stopping_config import StoppingConfig
from mfal.cli import app
from mfal.cli.errors import EXIT_CODES

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "pages"
TEXTS = {str(p.relative_to(PAGES)): p.read_text() for p in sorted(PAGES.rglob("*.md"))}
REFERENCE = "".join(t for p, t in TEXTS.items() if p.startswith("reference/"))
PACKAGES = sorted(
    f"mfal.{p.parent.name}"
    for p in (ROOT / "mfal").glob("*/__init__.py")
    if p.parent.name != "cli"
)
BLOCK = re.compile(
    r'(?:<!-- (?P<mark>[^>]*) -->\n)?```(?P<language>\w+)(?: title="(?P<title>[\w.]+)")?\n'
    r"(?P<code>.*?)```",
    re.DOTALL,
)
NOT_RUN = "not run: "
SECTIONS = {  # heading in campaign_file.md -> keys below it
    "": CampaignConfig,
    **{f"## {k}": v.annotation for k, v in CampaignConfig.model_fields.items()},
    "## levels": CampaignConfig.model_fields["levels"].annotation.__args__[0],
    "### model.sparse": SparseConfig,
    "### acquisition.tolerance": type(
        CampaignConfig.model_fields["acquisition"].default.tolerance
    ),
    "## stopping": StoppingConfig,
    "## explore": ExploreConfig,
}
BASE = {
    "system": {"molecule": "CH3OH"},
    "levels": [{"name": "gfn2", "oracle": {"code": "tblite", "method": "GFN2-xTB"}}],
    "budget": {"highest_labels": 40},
}


def blocks(page, language):
    return [m for m in BLOCK.finditer(TEXTS[page]) if m["language"] == language]


def pages_with(language):
    return [page for page in TEXTS if blocks(page, language)]


def public(package):
    module = importlib.import_module(package)
    return [(name, getattr(module, name)) for name in module.__all__]


def documented_constant(package, name):
    """Whether the assignment of a constant is followed by a string that says what it is."""
    sources = (ROOT / package.replace(".", "/")).glob("*.py")
    for tree in (ast.parse(source.read_text()) for source in sources):
        for statement, after in zip(tree.body, tree.body[1:], strict=False):
            targets = getattr(
                statement, "targets", [getattr(statement, "target", None)]
            )
            if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                value = getattr(after, "value", None)
                return isinstance(after, ast.Expr) and isinstance(value, ast.Constant)
    return False


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring(package):
    for name, thing in public(package):
        if isinstance(thing, type) or callable(thing):
            own = thing.__dict__.get("__doc__") if isinstance(thing, type) else ""
            found = own or (not isinstance(thing, type) and thing.__doc__)
            assert found and not found.startswith(f"{name}("), f"{package}.{name}"
        else:
            assert documented_constant(package, name), f"{package}.{name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_reference(package):
    listed = re.findall(rf"^::: {re.escape(package)}\.(\w+)$", REFERENCE, re.MULTILINE)
    assert sorted(listed) == sorted(name for name, _ in public(package))


def tabled(page, heading):
    """Key -> default of the first table below a heading, before the next one."""
    text = "\n" + TEXTS[page]
    title = heading or text.strip().partition("\n")[0]
    part = text.partition(f"\n{title}\n")[2].split("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", part, re.MULTILINE)
    return dict(rows)


def default_of(field):
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None:
        return "none"
    if isinstance(field.default, BaseModel):
        return "see below"
    return field.default


def read(cell):
    """What a cell of a table says: words, or a value of YAML."""
    if not cell.startswith("`"):
        return cell
    value = yaml.safe_load(cell.strip("`"))
    return tuple(value) if isinstance(value, list) else value


def assert_tabled(page, heading, section, fields):
    wanted = {name: default_of(section.model_fields[name]) for name in fields}
    assert {k: read(v) for k, v in tabled(page, heading).items()} == wanted


@pytest.mark.parametrize(
    "heading", [k for k, v in SECTIONS.items() if hasattr(v, "model_fields")]
)
def test_the_campaign_page_holds_every_key_with_its_default(heading):
    section = SECTIONS[heading]
    assert_tabled("reference/campaign_file.md", heading, section, section.model_fields)


def test_the_fit_page_holds_every_key_with_its_default():
    page, own = "reference/fit_file.md", set(SparseFitConfig.model_fields)
    assert_tabled(page, "", FitConfig, FitConfig.model_fields)
    assert_tabled(
        page, "## sparse", SparseFitConfig, own - set(SparseConfig.model_fields)
    )
    assert_tabled(page, "## files", SourceConfig, SourceConfig.model_fields)


def verbs():
    return typer.main.get_command(app).commands


def options(verb):
    return {o for p in verbs()[verb].params for o in p.opts if o.startswith("--")}


def test_the_command_line_page_holds_every_verb_and_option():
    parts = re.split(r"\n### mfal (\w+)\n", TEXTS["reference/command_line.md"])
    described = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert set(described) == set(verbs())
    for verb, text in described.items():
        rows = re.findall(r"^\| `(--[\w-]+)[ `]", text, re.MULTILINE)
        assert set(rows) == options(verb) - {"--help"}, verb


def test_the_command_line_page_holds_every_exit_code():
    rows = re.findall(r"^\| (\d) \|", TEXTS["reference/command_line.md"], re.MULTILINE)
    assert {int(code) for code in rows} == {0, *EXIT_CODES.values()}


@pytest.mark.parametrize("page", pages_with("bash"))
def test_every_command_of_a_page_exists(page):
    code = "".join(block["code"] for block in blocks(page, "bash"))
    for line in code.replace("\\\n", " ").splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["mfal"]:
            given = {word for word in words[2:] if word.startswith("--")}
            assert words[1] in verbs() and given <= options(words[1]), line


@pytest.mark.parametrize("page", pages_with("yaml"))
def test_every_yaml_of_a_page_is_valid(page, tmp_path):
    for block in blocks(page, "yaml"):
        found, mark = yaml.safe_load(block["code"]), block["mark"] or ""
        if mark.startswith("campaign"):
            (tmp_path / "cell.xyz").write_text(
                '1\nLattice="4 0 0 0 4 0 0 0 4" pbc="T T T"\nCu 0 0 0\n'
            )
            (tmp_path / "labels.extxyz").write_text("")
            CampaignConfig.model_validate(BASE | found, context={"folder": tmp_path})
        elif mark == "fit":
            FitConfig.model_validate(found)
        else:
            assert {"code"} <= set(found), f"say what this YAML is:\n{block['code']}"


@pytest.mark.parametrize("page", pages_with("python"))
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    namespace = {"__name__": page}
    for block in blocks(page, "python"):
        if block["title"]:
            Path(block["title"]).write_text(block["code"])
            sys.modules.pop(Path(block["title"]).stem, None)
        elif (block["mark"] or "").startswith(NOT_RUN):
            ast.parse(block["code"])
        else:
            exec(compile(block["code"], page, "exec"), namespace)


class Page:
    """Links, sources and anchors of a page of the site."""

    def __init__(self, text):
        self.text = text
        self.targets = re.findall(r'<a [^>]*href="([^"]+)"', text)
        self.sources = re.findall(r'<(?:img|script) [^>]*src="([^"]+)"', text)
        self.sources += re.findall(r'<link rel="\w+" href="([^"]+)"', text)
        self.anchors = {
            unescape(a) for a in re.findall(r' (?:id|name)="([^"]+)"', text)
        }


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for package in ("mkdocs", "mkdocstrings", "latex2mathml", "nbconvert"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is missing: pip install 'mfal[docs]'")
    where = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    command += ["-f", str(ROOT / "docs" / "mkdocs.yml"), "-d", str(where)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {}
    for path in where.rglob("*.html"):
        pages[path.resolve()] = Page(path.read_text())
    return pages


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_its_links_lead_somewhere(site):
    for path, page in site.items():
        if path.name == "404.html":
            continue
        for target in page.targets + page.sources:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            place = unquote(unescape(parts.path))
            goal = (path.parent / place).resolve() if place else path
            goal = goal / "index.html" if goal.is_dir() else goal
            assert goal.exists(), f"{path.name}: {target}"
            if parts.fragment and goal in site:
                anchors = site[goal].anchors | {"__skip", "__comments"}
                assert unquote(parts.fragment) in anchors, f"{path.name}: {target}"


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site):
    for path, page in site.items():
        far = [s for s in page.sources if urlsplit(s).netloc]
        assert not far, f"{path.name}: {far}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["docstrings", "mathematics", "outside"])
def test_the_hooks_do_what_their_examples_say(site, name):
    source = ROOT / "docs" / "hooks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, source)
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    assert doctest.testmod(module).failed == 0


@pytest.mark.slow
def test_formulas_of_the_site_are_written_out(site):
    for path, page in site.items():
        assert 'class="arithmatex"' not in page.text, path.name
