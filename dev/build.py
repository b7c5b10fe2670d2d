"""`make build`: wheels and source distributions of both packages in dist/, each tried where nothing else is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from dev.commands import CommandError, run
from dev.paths import ROOT
from dev.progress import Progress

DIST = ROOT / "dist"
PROJECTS = {"airflow_sfcc": ROOT, "salesforce_localorg": ROOT / "localorg"}
INSIDE = (
    "airflow_sfcc/_docs/index.md",
    "airflow_sfcc/_docs/images/mapped-run.png",
    "airflow_sfcc/_docs/dags/salesforce_nightly.py",
    "airflow_sfcc/page/static/page.css",
    "airflow_sfcc/page/templates/page.html",
    "airflow_sfcc/py.typed",
)


def main() -> int:
    progress = Progress()
    shutil.rmtree(DIST, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix="sfcc-build-") as name:
            for package, project in PROJECTS.items():
                with progress.step(f"{package}: wheel and source distribution"):
                    _build(project, DIST)
                with progress.step(f"{package}: the source distribution builds the same wheel alone"):
                    _compare(package, Path(name) / package)
            with progress.step("Both wheels in an environment of their own"):
                _try_out(Path(name) / "venv")
    except (CommandError, subprocess.CalledProcessError) as problem:
        progress.say(str(problem), "red")
        return 1
    progress.say("dist/ holds " + ", ".join(sorted(file.name for file in DIST.iterdir())), "bold green")
    return 0


def _build(project: Path, folder: Path, *targets: str) -> None:
    chosen = [option for target in targets or ("sdist", "wheel") for option in ("-t", target)]
    run(sys.executable, "-m", "hatchling", "build", *chosen, "-d", str(folder), cwd=project)


def _compare(package: str, folder: Path) -> None:
    """Raise CommandError unless a wheel that is built from the unpacked source distribution has the same files."""
    (archive,) = DIST.glob(f"{package}-*.tar.gz")
    shutil.unpack_archive(archive, folder, filter="data")
    (source,) = folder.iterdir()
    _build(source, folder / "dist", "wheel")
    theirs, ours = (_names(next(where.glob(f"{package}-*.whl"))) for where in (folder / "dist", DIST))
    if theirs != ours:
        raise CommandError(f"The wheel from {archive.name} differs: {sorted(theirs ^ ours)[:10]}")
    if package == "airflow_sfcc" and (missing := set(INSIDE) - ours):
        raise CommandError(f"The wheel lacks {', '.join(sorted(missing))}.")


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def _try_out(folder: Path) -> None:
    wheels = {package: str(next(DIST.glob(f"{package}-*.whl"))) for package in PROJECTS}
    packages = [wheels["salesforce_localorg"], f"{wheels['airflow_sfcc']}[localorg]"]
    python = folder / "bin" / "python"
    constraints = ["-c", str(ROOT / "constraints.txt")]
    if shutil.which("uv"):
        run("uv", "venv", "-q", "--python", sys.executable, str(folder))
        run("uv", "pip", "install", "-q", "--python", str(python), *constraints, *packages)
    else:
        run(sys.executable, "-m", "venv", str(folder))
        run(str(python), "-m", "pip", "install", "-q", *constraints, *packages)
    command = folder / "bin" / "airflow-sfcc"
    run(str(command), "--version", cwd=folder)
    run(str(command), "docs", "run-as-user", cwd=folder)
    run(str(command), "org", "--help", cwd=folder)
    run(str(command), "catalog", "--help", cwd=folder)
    provider = "from airflow_sfcc.provider import get_provider_info; import airflow_sfcc.operators; get_provider_info()"
    run(str(python), "-c", provider, cwd=folder, env={"AIRFLOW_HOME": str(folder / "airflow")})


if __name__ == "__main__":
    sys.exit(main())
