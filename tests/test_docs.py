"""Code in docs/*.md and README.md works: Python blocks run, in order, against a local org; commands are commands.

A block after the line `<!-- not run -->` is left alone. Lines of a console block may begin with `$ `; then other lines are
output, of which that of `airflow-sfcc check` is compared: the same lines, with numbers and names of their own.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.models.crypto import get_fernet
from click.testing import CliRunner

from airflow_sfcc.cli import commands
from airflow_sfcc.extract import current_table_sql
from airflow_sfcc.testing import RunDag, SalesforceOrg
from dev.docs_site import MODULES
from tests.conftest import KEY, SECRET, RunningOrg
from tests.extract.test_landing import MANIFEST_KEYS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?P<mark><!-- not run -->\n+)?^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```", re.M | re.S)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


@dataclass(frozen=True)
class Block:
    """A fenced block and the line it starts at."""

    page: Path
    line: int
    language: str
    code: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        if not match["mark"]:
            line = text.count("\n", 0, match.start("code")) + 1
            yield Block(page, line, match["language"], match["code"])


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_run(page: Path, org: RunningOrg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "sfcc", "host": org.url, "login": KEY, "password": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_SFCC_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("LANDING", f"file://{tmp_path}")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "docs"}
    for block in blocks(page):
        if block.language == "python":
            code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
            if not re.search(r"^def test_", block.code, re.M):  # a test file, which needs pytest around it
                exec(code, namespace)  # noqa: S102


RUN_AS_DAG = re.compile(r"^<!-- runs as a DAG -->\n```python\n(?P<code>.*?)^```", re.M | re.S)


@pytest.mark.parametrize("page", [page for page in PAGES if RUN_AS_DAG.search(page.read_text("utf-8"))], ids=name_of)
@pytest.mark.sfcc_org(rows={"Account": 500})
def test_dags_in_the_guides_run(page: Path, sfcc_org: SalesforceOrg, run_dag: RunDag, tmp_path: Path) -> None:
    """Twice, and the current table still holds each record once."""
    for match in RUN_AS_DAG.finditer(page.read_text(encoding="utf-8")):
        namespace: dict[str, Any] = {"__name__": "docs"}
        exec(match["code"].replace("/tmp/lake", str(tmp_path)), namespace)  # noqa: S102
        (dag,) = (value for value in namespace.values() if callable(value) and hasattr(value, "__wrapped__"))
        results = [run_dag(dag()).xcom("accounts") for _ in range(2)]
        assert results[0]["rows"] > 0 and results[0]["path"] != results[1]["path"]
        current = current_table_sql(results[0]["path"].rpartition("/")[0])
        with duckdb.connect() as database:
            counted = database.execute(f"SELECT count(*) FROM ({current})").fetchall()
        assert counted == [(results[0]["rows"],)]


def command_lines(block: Block) -> Iterator[list[str]]:
    joined = block.code.replace("\\\n", " ")
    prompted = [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
    for line in prompted or joined.splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            yield words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_commands(page: Path, org: RunningOrg, monkeypatch: pytest.MonkeyPatch) -> None:
    """`airflow-sfcc check` is run; options of other commands of ours, and make targets, have to be there."""
    get_fernet()  # warns once in a process that the tests' Airflow has no key, which is nothing a guide shows
    connection = {"conn_type": "sfcc", "host": org.url, "login": KEY, "password": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_SFCC_DEFAULT", json.dumps(connection))
    for block in blocks(page):
        if block.language != "console":
            continue
        for words in command_lines(block):
            where = f"{name_of(page)}:{block.line}: {' '.join(words)}"
            if words[0] == "make":
                assert {word for word in words[1:] if "=" not in word and not word.startswith("-")} <= TARGETS, where
            elif words[:2] == ["airflow-sfcc", "check"]:
                done = CliRunner().invoke(commands, words[1:])
                assert done.exit_code == 0, f"{where}\n{done.output}"
                shown = [line for line in block.code.splitlines() if line.startswith("passed ")]
                if shown:
                    assert list(map(gist, shown)) == list(map(gist, done.output.splitlines())), where
            elif words[0] == "airflow-sfcc":
                told = CliRunner().invoke(commands, [words[1], "--help"]).output
                assert [word for word in words if word.startswith("--") and word.split("=")[0] not in told] == [], where


def gist(line: str) -> str:
    """A line of `airflow-sfcc check` without what differs from org to org."""
    own = r"https?://[\w.:]+|(?<=user )\w{18}|\S+@\S+, profile .+|\d[\d,]*\.?\d*"
    return re.sub(own, "…", line)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target, anchor in re.findall(r"\]\((?!https?:)([\w./-]*)(?:#([\w-]+))?\)", text):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{name_of(page)}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{name_of(page)}: {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_comments_cite_headings_of_the_protocol() -> None:
    """Facts about Salesforce name their source as `salesforce-protocol.md#heading`, several as `#one, #two`."""
    there = anchors(ROOT / "docs" / "salesforce-protocol.md")
    cited: set[str] = set()
    for folder in ("airflow_sfcc", "localorg", "tests", "dev", "benchmarks", "dags"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            for anchor_list in re.findall(r"salesforce-protocol\.md(#[\w-]+(?:(?:,|,? and) #[\w-]+)*)", text):
                names = set(re.findall(r"#([\w-]+)", anchor_list))
                assert names <= there | {"heading"}, f"{file.relative_to(ROOT)}: {names - there}"
                cited |= names
            outdated = re.findall(r"\breference,? \d", text)
            assert outdated == [], f"{file.relative_to(ROOT)} cites {outdated}"
    assert len(cited & there) > 15


def test_operators_names_every_parameter_with_its_default() -> None:
    from airflow_sfcc.operators import SalesforceExtractOperator

    page = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## SalesforceExtractOperator\n")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) ?\|", section.partition("\n## ")[0], re.M)
    told = {name: default for names, default in rows for name in re.findall(r"\w+", names)}
    taken = dict(inspect.signature(SalesforceExtractOperator.__init__).parameters)
    assert set(told) == set(taken) - {"self", "salesforce_conn_id", "kwargs"}
    for name, default in told.items():
        if span := re.fullmatch(r"(\d+) (minutes|hours)", default):
            assert taken[name].default == timedelta(**{span[2]: int(span[1])}), name
        elif default.startswith("`"):
            assert default == f"`{taken[name].default}`", name
        else:
            assert name == "deferrable" or taken[name].default in (None, inspect.Parameter.empty), name


def test_operators_names_the_templated_parameters() -> None:
    from airflow_sfcc.operators import SalesforceExtractOperator

    page = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"^Templated \(Jinja\) are (.*?);", page, re.M | re.S)
    assert set(re.findall(r"`(\w+)`", sentence)) == set(SalesforceExtractOperator.template_fields) - {"query"}


def test_readme_is_short_and_tells_what_the_benchmark_measured() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 700
    measured = {
        (row["case"], row["system"], row["format"]): row
        for row in json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    }
    idle = measured["memory_10x", "idle-airflow-task", "none"]["peak_rss_mb"]
    (told,) = re.findall(r"with (\d+) MB above an idle Airflow\s+task", text)
    assert int(told) == pytest.approx(measured["memory_10x", "airflow-sfcc", "parquet"]["peak_rss_mb"] - idle, abs=1)
    assert "about as fast as bare pyarrow" in text
    ours, bare = (measured["bulk", system, "parquet"]["seconds"] for system in ("airflow-sfcc", "bare-pyarrow"))
    assert ours < 1.2 * bare


def test_every_guide_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    guides = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {name for name in guides if f"({name}" not in index} == set()


def test_operations_tells_the_memory_that_the_benchmark_measured() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    measured = {
        (row["case"], row["system"], row["format"]): row["peak_rss_mb"]
        for row in json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    }
    idle = measured["memory_10x", "idle-airflow-task", "none"]
    (told_idle,) = re.findall(r"above an idle Airflow task, which has (\d+) MB", page)
    (told,) = re.findall(r"^\| `parquet`, 3 \(default\) \| (\d+) \|", page, re.M)
    assert int(told_idle) == pytest.approx(idle, abs=5)
    assert int(told) == pytest.approx(measured["memory_10x", "airflow-sfcc", "parquet"] - idle, abs=15)


def test_every_error_class_is_in_troubleshooting() -> None:
    from airflow_sfcc import errors

    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    kinds = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert [name for name in kinds if f"`{name}`" not in text] == []


def table_of(page: str, head: str) -> str:
    """The rows of a table."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8").partition(head)[2].partition("\n\n")[0].strip()


def test_troubleshooting_quotes_texts_that_errors_have() -> None:
    """Each quoted text is in our source, in that of the local org, or among Salesforce's own in the protocol's page."""
    table = table_of("troubleshooting.md", "| text | class |") + "\n" + table_of("operations.md", "| line | means |")
    quoted = [
        text for row in table.splitlines() if "|---" not in row for text in re.findall(r"`([^`]+)`", row.split("|")[1])
    ]
    folders = (ROOT / "airflow_sfcc", ROOT / "localorg" / "salesforce_localorg")
    source = "".join(file.read_text(encoding="utf-8") for folder in folders for file in folder.rglob("*.py"))
    source += (ROOT / "docs" / "salesforce-protocol.md").read_text(encoding="utf-8")
    joined = re.sub(r"\"\s*\n\s*f?\"", "", source)
    quoted = [re.sub(r"750…", "…", text) for text in quoted]
    parts = [part.strip(" '") for text in quoted for part in text.split("…") if len(part.strip(" '")) > 3]
    assert len(parts) > 30
    assert [part for part in parts if part not in joined] == []


def test_every_key_of_a_manifest_is_explained() -> None:
    text = (ROOT / "docs" / "file-formats.md").read_text(encoding="utf-8").partition("## The manifest")[2]
    explained = {key for cell in re.findall(r"^\|([^|]*)\|", text, re.M) for key in re.findall(r"`(\w+)`", cell)}
    assert explained == set(MANIFEST_KEYS)


def test_every_attack_of_the_security_guide_names_a_test_that_is_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    attacks = re.findall(r"^\| (\d+) \| .+ \| `([\w/.]+\.py)::(\w+)` \|$", page, re.M)
    assert [int(number) for number, _, _ in attacks] == list(range(1, len(attacks) + 1)) and len(attacks) >= 40
    missing = [
        f"{file}::{name}"
        for _, file, name in attacks
        if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == []


def test_the_api_reference_has_what_is_stable() -> None:
    """docs/deployment.md names the modules that stay as they are."""
    policy = (
        (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8").partition("**Policy.**")[2].partition("\n\n")[0]
    )
    stable = policy.partition("are the names you import from")[2].partition(", their\nparameters")[0]
    modules = {name.removeprefix("airflow_sfcc.") for name in re.findall(r"`([\w.]+)`", stable)}
    assert {"operators", "notifications", "extract"} <= modules <= {module for module, _ in MODULES.values()}
    for module, names in MODULES.values():
        for name in names or ():
            home, _, last = f"airflow_sfcc.{module}.{name}".rpartition(".")
            assert hasattr(import_module(home), last), f"{home}.{last}"
    readers = {name.rpartition(".")[2] for name in MODULES["Readers"][1] or ()}
    assert readers == set(import_module("airflow_sfcc.extract").__all__)


def test_the_testing_kit_sends_readers_to_where_faults_are_told() -> None:
    for told in (SalesforceOrg, SalesforceOrg.fail):
        (guide,) = re.findall(r"[\w/-]+\.md", inspect.getdoc(told) or "")
        text = (ROOT / guide).read_text(encoding="utf-8")
        assert "## Faults" in text and "`job_results`" in text and "`reset`" in text
