"""Each component against the page that documents it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sfcc.errors import ConfigurationError
from airflow_sfcc.org_setup import metadata
from airflow_sfcc.org_setup.client_app import ClientApp
from airflow_sfcc.org_setup.metadata import EXTERNAL_CLIENT_APPLICATION, Component, ComponentType
from tests.org_setup.conftest import FIVE, NAMESPACE, RUN_AS, RunSetup, objects, parsed
from tests.org_setup.documented import (
    FIELD_PERMISSION,
    IP_RANGE,
    OBJECT_PERMISSION,
    PAGES,
    SCOPES,
    USER_PERMISSION,
)

FLOWS = ("client-credentials", "jwt")
ADDED = {
    "ExternalClientApplication": set(),
    # The switch of the one flow; the certificate is that of the other (both API version 60.0 and later).
    "ExtlClntAppGlobalOauthSettings": {"isClientCredentialsFlowEnabled", "certificate"},
    "ExtlClntAppOauthSettings": set(),
    "ExtlClntAppConfigurablePolicies": set(),
    "PermissionSet": set(),
}
"""Documented elements that we write and the page's sample does not have."""


def types() -> list[ComponentType]:
    return [value for value in vars(metadata).values() if isinstance(value, ComponentType)]


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("type_", sorted(PAGES))
def test_a_component_says_only_what_its_page_documents(run_setup: RunSetup, type_: str, flow: str) -> None:
    page, known = PAGES[type_], next(each for each in types() if each.name == type_)
    written = run_setup("--flow", flow, "--ip-range", "192.0.2.0/24", *objects(*FIVE, "Lead:Status"))
    path, root = written.paths()[type_], written.component(type_)
    elements = [child.tag for child in root]
    names = [tag.removeprefix(NAMESPACE) for tag in elements]
    assert path.parent.name == page.folder == known.folder
    assert path.name.endswith(f".{page.suffix}-meta.xml") and known.suffix == page.suffix
    assert all(tag.startswith(NAMESPACE) for tag in elements), "an element outside the Metadata API's namespace"
    assert set(names) <= known.fields and page.required <= set(names)
    assert names == sorted(names), "the order in which the Metadata API itself writes them, repeated ones together"
    for child, name in zip(root, names, strict=True):
        if name in page.booleans:
            assert child.text in ("true", "false")
        if name in page.values:
            assert child.text in page.values[name]
    if page.sample:
        assert set(names) - page.sample <= ADDED[type_]


def test_every_component_type_is_compared_with_its_page() -> None:
    assert {each.name for each in types()} == set(PAGES)


def test_nested_elements_are_documented_too(run_setup: RunSetup) -> None:
    written = run_setup("--ip-range", "192.0.2.7", *objects(*FIVE, "Lead:Status"))
    for type_, field, documented in (
        ("PermissionSet", "objectPermissions", OBJECT_PERMISSION),
        ("PermissionSet", "fieldPermissions", FIELD_PERMISSION),
        ("PermissionSet", "userPermissions", USER_PERMISSION),
        ("ExtlClntAppOauthSettings", "trustedIpRanges", IP_RANGE),
    ):
        structures = written.structures(type_, field)
        assert structures
        assert all(set(each) == documented for each in structures)
        assert next(each for each in types() if each.name == type_).nested[field] == documented


def test_both_switches_of_the_client_credentials_flow_are_on(run_setup: RunSetup) -> None:
    written = run_setup(*objects("Account"))
    settings, policies = "ExtlClntAppGlobalOauthSettings", "ExtlClntAppOauthConfigurablePolicies"
    assert written.value(settings, "isClientCredentialsFlowEnabled") == "true"
    assert written.value(policies, "isClientCredentialsFlowEnabled") == "true"
    assert written.value(policies, "clientCredentialsFlowUser") == RUN_AS
    assert written.value(settings, "certificate") is None
    assert written.value(settings, "isPkceRequired") == "false"
    assert written.value("ExtlClntAppOauthSettings", "commaSeparatedOauthScopes") == "Api"


def test_the_jwt_flow_has_a_certificate_and_no_client_credentials(run_setup: RunSetup) -> None:
    written = run_setup("--flow", "jwt", *objects("Account"))
    settings, policies = "ExtlClntAppGlobalOauthSettings", "ExtlClntAppOauthConfigurablePolicies"
    assert written.value(settings, "isClientCredentialsFlowEnabled") == "false"
    assert written.value(policies, "isClientCredentialsFlowEnabled") == "false"
    assert written.value(policies, "clientCredentialsFlowUser") is None
    assert (written.value(settings, "certificate") or "").startswith("-----BEGIN CERTIFICATE-----")
    scopes = (written.value("ExtlClntAppOauthSettings", "commaSeparatedOauthScopes") or "").split(", ")
    assert set(scopes) <= SCOPES and "Api" in scopes


@pytest.mark.parametrize("flow", FLOWS)
def test_only_users_with_the_permission_set_may_use_the_app(run_setup: RunSetup, flow: str) -> None:
    written = run_setup("--flow", flow, *objects("Account"))
    policies = "ExtlClntAppOauthConfigurablePolicies"
    assert written.value(policies, "permittedUsersPolicyType") == "AdminApprovedPreAuthorized"
    name = written.value(policies, "commaSeparatedPermissionSet")
    assert written.paths()["PermissionSet"].name == f"{name}.permissionset-meta.xml"


@pytest.mark.parametrize("flow", FLOWS)
def test_all_parts_belong_to_the_same_app(run_setup: RunSetup, flow: str) -> None:
    written = run_setup("--flow", flow, "--name", "Acme, Inc. (nightly)", *objects("Account"))
    app = written.paths().pop("ExternalClientApplication").name.removesuffix(".eca-meta.xml")
    assert app == "Acme_Inc_nightly"
    for type_ in sorted(set(PAGES) - {"ExternalClientApplication", "PermissionSet"}):
        assert written.value(type_, "externalClientApplication") == app


def test_a_field_that_no_page_documents_is_not_written() -> None:
    with pytest.raises(ValueError, match=r"has no field nonsense.*meta_externalclientapplication"):
        Component(EXTERNAL_CLIENT_APPLICATION, "A", {"nonsense": True}).xml()


@given(st.text(max_size=60), st.text(max_size=60))
def test_names_of_any_kind_are_escaped_or_refused(label: str, user: str) -> None:
    app = ClientApp("App", label, "a@b.example", user, "Set")
    for component in app.components():
        try:
            text = component.xml()
        except ConfigurationError as problem:
            assert "XML cannot hold" in problem.message
            continue
        root = parsed(text)
        for field, value in component.content.items():
            if isinstance(value, str):
                found = root.find(NAMESPACE + field)
                assert found is not None
                # XML itself makes every kind of line end a newline (XML 1.0, 2.11).
                assert (found.text or "") == value.replace("\r\n", "\n").replace("\r", "\n")


def test_markup_in_a_name_stays_text(run_setup: RunSetup) -> None:
    name = "A & B <script>x</script> ]]>"
    written = run_setup("--name", name, *objects("Account"))
    assert written.value("ExternalClientApplication", "label") == name
    assert b"<script>" not in written.paths()["ExternalClientApplication"].read_bytes()
