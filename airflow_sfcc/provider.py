"""What Airflow discovers of this package: the connection type with its form."""

from __future__ import annotations

from typing import Any

from airflow_sfcc import __version__

_INTEGRATION = "Salesforce (Client Credentials)"

# Airflow masks the values of extra fields whose names look like secrets, so none here holds token, secret, password or proxy.
EXTRA_FIELDS: dict[str, Any] = {
    "api_version": {
        "label": "API version",
        "description": "Such as 68.0. Empty: the newest that the org offers and this package was tested with.",
        "schema": {"type": ["string", "null"], "pattern": r"^v?\d{2,3}(\.0)?$"},
    },
    "username": {
        "label": "Username (JWT bearer only)",
        "description": "With a private key in place of the secret: the username of the integration user. Empty otherwise.",
        "schema": {"type": ["string", "null"]},
    },
    "audience": {
        "label": "Audience (JWT bearer only)",
        "description": "Empty: https://login.salesforce.com, or https://test.salesforce.com for sandboxes.",
        "schema": {"type": ["string", "null"]},
    },
    "api_call_budget": {
        "label": "API call budget (%)",
        "description": "Percent of the org's daily API calls at which extracts stop asking. Empty: no limit of our own.",
        "schema": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
    },
    "request_timeout": {
        "label": "Request timeout (s)",
        "description": "Seconds without a byte before a request counts as dead. Empty: 130, since Salesforce may think 120 s.",
        "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 86_400},
    },
    "max_retries": {
        "label": "Retries per request",
        "description": "How often a request is repeated after a transient error. Empty: 5.",
        "schema": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
    },
    "verify": {
        "label": "Verify TLS",
        "description": "true (also when empty), false, or the path of a CA bundle on the workers.",
        "schema": {"type": ["string", "null"]},
    },
    "allowed_hosts": {
        "label": "Allowed instance hosts",
        "description": "Hosts outside Salesforce's own domains that instance_url may name, separated by commas.",
        "schema": {"type": ["string", "null"]},
    },
    "allow_http": {
        "label": "Allow plain http",
        "description": "Only for a test server that is not on this machine: sends the consumer secret unencrypted.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
}

FORM: dict[str, Any] = {
    # Port is needed for one thing only: Airflow 3.3's button Test in the list of connections sends 0 for a port that is not
    # stored, and the API server then refuses to test with the stored secret, since "the host or port differs".
    "hidden-fields": ["schema"],
    "relabeling": {"host": "My Domain", "login": "Consumer Key", "password": "Consumer Secret"},
    "placeholders": {
        "host": "acme.my.salesforce.com",
        "port": "443 (may be empty, but Test in the list of connections needs it)",
        "login": "Consumer key of the app",
        "password": "Consumer secret of that app, or a PEM private key (JWT bearer)",
    },
}


CONFIG: dict[str, Any] = {
    "sfcc": {
        "description": "When an extract warns (docs/monitoring.md). 0 turns a check off.",
        "options": {
            name: {"description": text, "version_added": "0.1.0", "type": "float", "example": None, "default": default}
            for name, default, text in (
                ("rows_fell_percent", "50", "A full extract has that much fewer rows than usual."),
                ("nothing_new_days", "7", "An incremental extract has brought no row for so many days."),
                ("budget_percent", "80", "That much of the API calls which the connection may use are used."),
            )
        },
    }
}


def get_provider_info() -> dict[str, Any]:
    """The metadata behind the entry point `apache_airflow_provider`."""
    return {
        "package-name": "airflow-sfcc",
        "name": _INTEGRATION,
        "description": "Scheduled extracts from Salesforce with the OAuth 2.0 client-credentials flow.",
        "versions": [__version__],
        "integrations": [{"integration-name": _INTEGRATION, "external-doc-url": "", "tags": ["service"]}],
        "hooks": [{"integration-name": _INTEGRATION, "python-modules": ["airflow_sfcc.hooks"]}],
        "operators": [{"integration-name": _INTEGRATION, "python-modules": ["airflow_sfcc.operators"]}],
        "sensors": [{"integration-name": _INTEGRATION, "python-modules": ["airflow_sfcc.sensors"]}],
        "triggers": [
            {"integration-name": _INTEGRATION, "python-modules": ["airflow_sfcc.triggers", "airflow_sfcc.watchers"]}
        ],
        "task-decorators": [{"name": "soql", "class-name": "airflow_sfcc.decorators.soql_task"}],
        "extra-links": ["airflow_sfcc.links.BulkJobLink", "airflow_sfcc.links.ListViewLink"],
        "config": CONFIG,
        "asset-uris": [
            {
                "schemes": ["salesforce"],
                "handler": "airflow_sfcc.assets.sanitize_uri",
                "factory": "airflow_sfcc.assets.create_asset",
                "to_openlineage_converter": "airflow_sfcc.assets.convert_asset_to_openlineage",
            }
        ],
        "connection-types": [
            {
                "connection-type": "sfcc",
                "hook-class-name": "airflow_sfcc.hooks.SalesforceClientCredentialsHook",
                "hook-name": _INTEGRATION,
                "conn-fields": EXTRA_FIELDS,
                "ui-field-behaviour": FORM,
            }
        ],
    }
