"""`airflow-sfcc setup`: the org's side as a Salesforce DX project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from airflow_sfcc.org_setup.access import ObjectAccess
    from airflow_sfcc.org_setup.client_app import Flow
    from airflow_sfcc.org_setup.project import Project

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)

NOT_DEPLOYED = (
    "Nothing was deployed: this command knows no org. The files follow the Metadata API Developer Guide (API version {}) "
    "and were not deployed to an org before this release. Try them in a sandbox; --dry-run of sf project deploy start "
    "checks them without a change."
)


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option("--run-as", required=True, metavar="USERNAME", help="The integration user whose access the app has.")
@click.option("--contact-email", required=True, metavar="ADDRESS", help="Whom Salesforce writes to about the app.")
@click.option(
    "--flow",
    type=click.Choice(["client-credentials", "jwt"]),
    default="client-credentials",
    show_default=True,
    help="A shared secret, or a private key of which Salesforce knows the certificate.",
)
@click.option(
    "--object",
    "objects",
    multiple=True,
    metavar="NAME[:FIELD,…]",
    help="Let the user read this object: all fields, or those named. May be repeated.",
)
@click.option(
    "--dag", "dags", multiple=True, type=_FILE, help="Let the user read the objects that this DAG file names."
)
@click.option("--name", default="Airflow", show_default=True, metavar="LABEL", help="The app's name.")
@click.option(
    "--ip-range", "ip_ranges", multiple=True, metavar="RANGE", help="192.0.2.0/24, or FIRST-LAST. May be repeated."
)
@click.option("--shared-records-only", is_flag=True, help="Without View All Records: what is not shared is missing.")
@click.option("--view-setup", is_flag=True, help="Also View Setup and Configuration: limits and record counts.")
@click.option("--certificate", type=_FILE, help="With --flow jwt: this PEM certificate, instead of a new key pair.")
@click.option(
    "--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="How long a new certificate lasts."
)
@click.option(
    "--target-org", default="my-org", show_default=True, metavar="ALIAS", help="The org's alias in the commands."
)
@click.option("--overwrite", is_flag=True, help="Replace files of an earlier run; a private key is never replaced.")
def setup(
    folder: Path,
    run_as: str,
    contact_email: str,
    flow: str,
    objects: Sequence[str],
    dags: Sequence[Path],
    name: str,
    ip_ranges: Sequence[str],
    shared_records_only: bool,
    view_setup: bool,
    certificate: Path | None,
    days: int,
    target_org: str,
    overwrite: bool,
) -> None:
    """Write a Salesforce DX project to FOLDER: the app, its policies, and a permission set for the extracts.

    Deploy it with the Salesforce CLI (sf); the commands are printed. See docs/setup-as-code.md.
    """
    from airflow_sfcc.errors import SalesforceError
    from airflow_sfcc.org_setup.access import PermissionSet
    from airflow_sfcc.org_setup.client_app import ClientApp, IpRange
    from airflow_sfcc.org_setup.project import Project, api_name, require_address

    if certificate is not None and flow != "jwt":
        raise click.UsageError("--certificate belongs to --flow jwt.")
    try:
        require_address("--run-as", run_as)
        require_address("--contact-email", contact_email)
        found, remarks = _objects(objects, dags)
        ranges = [IpRange.parse(text) for text in ip_ranges]
        app_name = api_name(name)
        access = PermissionSet(
            f"{app_name}_Extracts",
            f"{name} extracts",
            found,
            all_records=not shared_records_only,
            view_setup=view_setup,
        )

        def project(pem: str | None) -> Project:
            return Project(app_name, ClientApp(app_name, name, contact_email, run_as, access.name, pem, ranges), access)

        project("" if flow == "jwt" else None).files()  # what cannot be written fails before a key is made
        pem = _certificate(cast("Flow", flow), folder, certificate, name, days)
        written = project(pem).write(folder, overwrite=overwrite)
    except (SalesforceError, OSError) as problem:
        raise click.ClickException(str(problem)) from problem
    _tell(project(pem), folder, [str(path) for path in written], [*remarks, *access.remarks()], target_org)
    if flow == "jwt" and certificate is None:
        from airflow_sfcc.org_setup.project import PRIVATE_KEY

        click.echo(f"\nPrivate key: {folder / PRIVATE_KEY} (readable by you only; not shown here, ignored by git).")


def _objects(objects: Sequence[str], dags: Sequence[Path]) -> tuple[list[ObjectAccess], list[str]]:
    from airflow_sfcc.errors import ConfigurationError
    from airflow_sfcc.org_setup.access import ObjectAccess, merged, not_granted
    from airflow_sfcc.org_setup.dag_objects import objects_in

    named = [ObjectAccess.parse(text) for text in objects]
    read = [objects_in(path) for path in dags]
    by_hand = {each.sobject.lower() for each in named}  # which may be narrower than the DAG
    found = merged([*named, *(each for file in read for each in file.objects if each.sobject.lower() not in by_hand)])
    remarks = [remark for file in read for remark in file.remarks]
    for path, file in zip(dags, read):
        if not (file.objects or file.remarks):
            remarks.append(f"{path} names no object that it extracts: see that it is the DAG's file.")
    remarks += not_granted(found, merged(each for file in read for each in file.filters))
    if not found:
        because = f" {' '.join(remarks)}" if remarks else ""
        raise ConfigurationError(f"No object to read: name each with --object, or a DAG file with --dag.{because}")
    return found, remarks


def _certificate(flow: Flow, folder: Path, given: Path | None, name: str, days: int) -> str | None:
    from airflow_sfcc.org_setup.key_pair import read_certificate, write_key_pair
    from airflow_sfcc.org_setup.project import CERTIFICATE, PRIVATE_KEY

    if flow != "jwt":
        return None
    if given is not None:
        return read_certificate(given)
    return write_key_pair(folder / PRIVATE_KEY, folder / CERTIFICATE, name=name, days=days)


def _tell(project: Project, folder: Path, written: Sequence[str], remarks: Sequence[str], org: str) -> None:
    from airflow_sfcc.org_setup.metadata import API_VERSION
    from airflow_sfcc.org_setup.project import commands, login_command, personal_steps

    click.echo(f"Written to {folder}:")
    for path in written:
        click.echo(f"  {path}")
    if remarks:
        click.echo("\nTo know:")
    for remark in remarks:
        click.echo(f"  - {remark}")
    click.echo(f"\nLeft to do, after {login_command(org)}:")
    for number, command in enumerate(commands(project, folder, org), 1):
        click.echo(f"  {number}. {command}")
    click.echo("\nOnly a person can do this:")
    for step in personal_steps(project):
        click.echo(f"  - {step}")
    click.echo(f"\n{NOT_DEPLOYED.format(API_VERSION)}")
