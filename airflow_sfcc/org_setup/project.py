"""The Salesforce DX project that `airflow-sfcc setup` writes, and what is left to do with it.

Two package directories, since the order matters: the Run As user must have API Only before the app may name it
(Metadata API Developer Guide, ExtlClntAppOauthConfigurablePolicies, field clientCredentialsFlowUser), so `access` is
deployed and assigned before `app`.

Source: Salesforce DX Developer Guide, "Salesforce DX Project Configuration"; Salesforce CLI Command Reference, "project
deploy start" and "org assign permset".
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from airflow_sfcc.errors import ConfigurationError
from airflow_sfcc.org_setup.access import PermissionSet
from airflow_sfcc.org_setup.client_app import ClientApp
from airflow_sfcc.org_setup.metadata import API_VERSION, Component

PRIVATE_KEY = PurePosixPath("keys/airflow.key")
CERTIFICATE = PurePosixPath("keys/airflow.crt")

_IGNORED = """# Never commit the private key. After a retrieve, the global OAuth settings hold the consumer key, maybe the secret.
/keys/
/app/main/default/extlClntAppGlobalOauthSets/
.sf/
.sfdx/
"""

_LONGEST_LABEL = 50
"""So that the labels made from it stay below 80 characters, the most that a permission set's label may have."""


def api_name(label: str) -> str:
    """The API name of a label: letters, digits and single underscores, with a letter first and no underscore last.

    Raises ConfigurationError when nothing is left, or when the label is too long.
    """
    if len(label) > _LONGEST_LABEL:
        raise ConfigurationError(f"The name {label!r} has {len(label)} characters: use {_LONGEST_LABEL} at most.")
    name = re.sub(r"[^A-Za-z0-9]+", "_", label)
    name = re.sub(r"^[^A-Za-z]+", "", name)[:_LONGEST_LABEL].rstrip("_")
    if not name:
        raise ConfigurationError(f"{label!r} makes no API name: use a name with letters from A to Z in it.")
    return name


def require_address(option: str, text: str) -> None:
    """Raises ConfigurationError for what does not look like an email address; usernames do too."""
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise ConfigurationError(f"{option} {text!r} is not usable: it must look like an email address.")


@dataclass(frozen=True)
class Project:
    """What the project holds; `name` is that of sfdx-project.json."""

    name: str
    app: ClientApp
    access: PermissionSet

    def files(self) -> dict[PurePosixPath, bytes]:
        """Each file's path below the folder, and its content; without the private key."""
        found = {
            PurePosixPath("sfdx-project.json"): _json(
                {
                    "packageDirectories": [{"path": "access", "default": True}, {"path": "app"}],
                    "name": self.name,
                    "namespace": "",
                    "sourceApiVersion": API_VERSION,
                }
            ),
            PurePosixPath(".gitignore"): _IGNORED.encode(),
        }
        found.update(_component_files("access", [self.access.component()]))
        found.update(_component_files("app", self.app.components()))
        return found

    def write(self, folder: Path, *, overwrite: bool = False) -> list[PurePosixPath]:
        """Write the files; return their paths below the folder. Nothing is written when one is in the way.

        Raises ConfigurationError for a file that is there with another content, unless `overwrite` is set.
        """
        files = self.files()
        in_the_way = [path for path, content in files.items() if _differs(folder / path, content)]
        if in_the_way and not overwrite:
            raise ConfigurationError(
                f"{folder / in_the_way[0]} is there already, with another content: choose a new folder, or add "
                "--overwrite."
            )
        for path, content in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return sorted(files)


def _component_files(directory: str, components: Iterable[Component]) -> Iterator[tuple[PurePosixPath, bytes]]:
    for component in components:
        yield PurePosixPath(directory) / component.path, component.xml()


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and (not path.is_file() or path.read_bytes() != content)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def commands(project: Project, folder: Path, org: str) -> Sequence[str]:
    """The three commands that are left, in their order, for a shell in any folder."""
    inside, target = f"cd {shlex.quote(str(folder))}", f"--target-org {shlex.quote(org)}"
    user = shlex.quote(project.app.run_as)
    return (
        f"({inside} && sf project deploy start --source-dir access {target})",
        f"sf org assign permset --name {project.access.name} --on-behalf-of {user} {target}",
        f"({inside} && sf project deploy start --source-dir app {target})",
    )


def login_command(org: str) -> str:
    return f"sf org login web --alias {shlex.quote(org)} (with --instance-url for a sandbox)"


def personal_steps(project: Project) -> Iterator[str]:
    """What only a person can do, each as a sentence."""
    app = project.app
    yield (
        f"Make the user {app.run_as} first, if it is not there: licence Salesforce Integration, profile Minimum Access - "
        "API Only Integrations, permission set license Salesforce API Integration (docs/salesforce-setup.md)."
    )
    yield (
        "If the deployment says that the OAuth plugin may not be accessed: the deploying user needs View External Client "
        "Apps Consumer Secrets in Metadata, and the org the setting Allow Access to OAuth Consumer Secrets via Metadata "
        "API (Setup, External Client App Settings; newer orgs may have no such setting). Switch it off again afterwards."
    )
    where = "Setup > External Client App Manager > the app > Settings > OAuth Settings > Consumer Key and Secret"
    if app.certificate is None:
        yield f"Copy consumer key and secret ({where}; Salesforce verifies who you are first) into the Airflow connection."
    else:
        yield (
            f"Copy the consumer key ({where}) into the Airflow connection, with the private key in place of the secret, "
            f'and the extra {{"username": "{app.run_as}"}}. The private key is in {PRIVATE_KEY}, if it was made here: move '
            "it into your secrets backend."
        )
    if app.ip_ranges:
        yield (
            "Enter the same IP ranges in the profile of the user (Login IP Ranges): the app's ranges shut nobody out, and "
            "are documented for the web server flow only; the profile's ones shut all others out."
        )
    yield "Check the result with: airflow-sfcc check CONNECTION --object NAME"
