"""The stack's base images: from a registry where one responds, else stand-ins made from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from dev.commands import CommandError, run, succeeds
from dev.paths import ROOT
from dev.progress import Progress

VARIABLES = ("AIRFLOW_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE")
NAME = "airflow-sfcc-stand-in"
SUITE = "bookworm"  # whose own Python is 3.11
MIRROR = os.environ.get("DEBIAN_MIRROR")  # debootstrap knows one of its own
STAND_IN = ROOT / "docker" / "stand-in"


def base_images(progress: Progress) -> dict[str, str]:
    """The variables of docker-compose.yaml that say which images to use; empty for its own defaults."""
    given = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if given:
        return given
    if succeeds("docker", "pull", "--quiet", "redis:7", timeout=120):
        return {}
    progress.say("No image registry responds: making stand-ins from Debian's packages (minutes, once)")
    base = _debian()
    with tempfile.TemporaryDirectory(prefix="stand-in-") as name:
        context = _context(Path(name))
        built = {variable: _build(variable.partition("_")[0].lower(), base, context) for variable in VARIABLES}
    # The build reaches package registries as this machine does.
    return {**built, "BUILD_NETWORK": "host"}


def _debian() -> str:
    image = f"{NAME}:debian"
    if succeeds("docker", "image", "inspect", image):
        return image
    if shutil.which("debootstrap") is None or os.geteuid():
        raise CommandError("Stand-in images need root and debootstrap: apt-get install debootstrap.")
    with tempfile.TemporaryDirectory(prefix="debootstrap-") as name:
        root = Path(name) / "root"
        run("debootstrap", "--variant=minbase", SUITE, str(root), *([MIRROR] if MIRROR else []))
        archive = ["tar", "-C", str(root), "-c", "--exclude=./proc/*", "--exclude=./sys/*", "--exclude=./dev/*", "."]
        with subprocess.Popen(archive, stdout=subprocess.PIPE) as packed:
            run("docker", "import", "-", image, stdin=packed.stdout.fileno() if packed.stdout else None)
    return image


def _context(folder: Path) -> Path:
    """What the builds read, the machine's own certificates and package settings among it; nothing of it is committed."""
    shutil.copytree(STAND_IN, folder, dirs_exist_ok=True)
    shutil.copy(ROOT / "constraints.txt", folder)
    settings = [line for line in run("apt-config", "dump").splitlines() if line.startswith(_APT)]
    _write(folder / "host/etc/apt/apt.conf.d/90host", "\n".join(settings) + "\n")
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        _write(folder / f"host{certificates}", certificates.read_text())
    pip = Path("/etc/pip.conf")
    if pip.exists():
        _write(folder / f"host{pip}", pip.read_text())
    return folder


_APT = ("Acquire::http::", "Acquire::https::", "Acquire::Check-", "Acquire::Retries")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _build(name: str, base: str, context: Path) -> str:
    image = f"{NAME}:{name}"
    passed = [
        f"{each}={os.environ[each]}" for each in ("PIP_INDEX_URL", "http_proxy", "https_proxy") if os.environ.get(each)
    ]
    arguments = [part for each in (f"BASE_IMAGE={base}", *passed) for part in ("--build-arg", each)]
    run(
        "docker",
        "build",
        "--network",
        "host",
        *arguments,
        "-f",
        str(context / f"{name}.Dockerfile"),
        "-t",
        image,
        str(context),
    )
    return image
