"""Setting up .venv says what it does, and what went wrong."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from dev import bootstrap


def installer(folder: Path, script: str) -> str:
    """A stand-in for uv that prints and ends as a script says."""
    file = folder / "uv"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def test_stages_are_shown_and_package_lists_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = (
        'echo "Resolved 188 packages in 1.20s"; echo " + apache-airflow==3.3.2"; echo "Installed 188 packages in 250ms"'
    )
    assert bootstrap.install(installer(tmp_path, script), []) == 0
    shown = capsys.readouterr().out
    assert "Resolved 188 packages in 1.20s" in shown and "Installed 188 packages in 250ms" in shown
    assert "apache-airflow==" not in shown


def test_a_quiet_installer_gives_signs_of_life(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "SIGN_OF_LIFE_SECONDS", 0.05)
    assert bootstrap.install(installer(tmp_path, "echo Collecting apache-airflow; sleep 1"), []) == 0
    assert "1 packages found so far" in capsys.readouterr().out


def test_a_failure_shows_what_the_installer_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bootstrap.install(installer(tmp_path, "echo 'No solution found: try again' >&2; exit 3"), []) == 3
    assert "No solution found: try again" in capsys.readouterr().out
