"""Running `airflow-sfcc setup`, and reading what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from airflow_sfcc.cli import commands

NAMESPACE = "{http://soap.sforce.com/2006/04/metadata}"
RUN_AS = "airflow@acme.example.com"
FIVE = ("Account", "Contact", "Opportunity", "Case", "Invoice__c")


def parsed(xml: bytes) -> ET.Element:
    return ET.fromstring(xml)  # noqa: S314  # our own text


@dataclass(frozen=True)
class Written:
    """A project on disk, and what the command said."""

    folder: Path
    output: str

    def paths(self) -> dict[str, Path]:
        """Each component's file by its type."""
        found = sorted(self.folder.glob("*/main/default/*/*-meta.xml"))
        return {parsed(path.read_bytes()).tag.removeprefix(NAMESPACE): path for path in found}

    def component(self, type_: str) -> ET.Element:
        return parsed(self.paths()[type_].read_bytes())

    def value(self, type_: str, field: str) -> str | None:
        found = self.component(type_).find(NAMESPACE + field)
        return None if found is None else found.text

    def structures(self, type_: str, field: str) -> list[dict[str, str]]:
        return [
            {child.tag.removeprefix(NAMESPACE): child.text or "" for child in element}
            for element in self.component(type_).findall(NAMESPACE + field)
        ]


RunSetup = Callable[..., Written]


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Runs a setup that must fail, and returns what it said."""

    def run(*arguments: str, folder: Path | None = None) -> str:
        outcome = _invoke(folder or tmp_path / "project", arguments)
        assert outcome.exit_code == 1, outcome.output
        return " ".join(outcome.output.split())

    return run


@pytest.fixture
def run_setup(tmp_path: Path) -> RunSetup:
    """Runs a setup that must succeed."""

    def run(*arguments: str, folder: Path | None = None) -> Written:
        target = folder or tmp_path / "project"
        outcome = _invoke(target, arguments)
        assert outcome.exit_code == 0, outcome.output
        return Written(target, outcome.output)

    return run


def objects(*names: str) -> list[str]:
    return [argument for name in names for argument in ("--object", name)]


class _Outcome:
    def __init__(self, exit_code: int, output: str) -> None:
        self.exit_code, self.output = exit_code, output


def _invoke(folder: Path, arguments: tuple[str, ...]) -> _Outcome:
    given = [*arguments]
    if "--run-as" not in given:
        given += ["--run-as", RUN_AS]
    if "--contact-email" not in given:
        given += ["--contact-email", "data@acme.example.com"]
    result = CliRunner().invoke(commands, ["setup", str(folder), *given])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return _Outcome(result.exit_code, result.output)
