"""The external client app that owns the consumer key: five components that only work together.

The flow has two switches, one in the global OAuth settings (what the app can do) and one in the OAuth policies (what the
admin allows); both are needed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from airflow_sfcc.errors import ConfigurationError
from airflow_sfcc.org_setup.metadata import (
    APP_POLICIES,
    EXTERNAL_CLIENT_APPLICATION,
    GLOBAL_OAUTH_SETTINGS,
    OAUTH_POLICIES,
    OAUTH_SETTINGS,
    Component,
    Structure,
    Value,
)

Flow = Literal["client-credentials", "jwt"]

CALLBACK_URL = "https://login.salesforce.com/services/oauth2/callback"
"""Neither flow calls it; Setup's form wants one."""

MOST_IP_RANGES = 128
"""ExtlClntAppOauthSettings, field trustedIpRanges."""


@dataclass(frozen=True)
class IpRange:
    """Trusted addresses of the app, both ends included. Salesforce's help knows a use of them in the web server flow only."""

    start: str
    end: str

    @classmethod
    def parse(cls, text: str) -> IpRange:
        """From `192.0.2.10`, `192.0.2.0-192.0.2.255` or `192.0.2.0/24`. Raises ConfigurationError for anything else."""
        first, dash, last = (part.strip() for part in text.partition("-"))
        try:
            if dash:
                start, end = ipaddress.ip_address(first), ipaddress.ip_address(last)
            else:
                network = ipaddress.ip_network(first, strict=False)
                start, end = network[0], network[-1]
            if start.version != end.version or int(start) > int(end):
                raise ValueError
        except ValueError:
            raise ConfigurationError(
                f"{text!r} is not an IP range: write an address, a range such as 192.0.2.0-192.0.2.255 (the lower address "
                "first), or a network such as 192.0.2.0/24."
            ) from None
        return cls(str(start), str(end))


@dataclass(frozen=True)
class ClientApp:
    """What the app's components say.

    `name` is its API name, `run_as` the username whose access its tokens carry, `permission_set` the API name of the set
    that pre-authorizes this user, `certificate` the PEM certificate of the JWT bearer flow (None: client credentials).
    """

    name: str
    label: str
    contact_email: str
    run_as: str
    permission_set: str
    certificate: str | None = None
    ip_ranges: Sequence[IpRange] = field(default=())

    def components(self) -> list[Component]:
        """The five components. Raises ConfigurationError for more IP ranges than an app may have."""
        if len(self.ip_ranges) > MOST_IP_RANGES:
            raise ConfigurationError(f"An app may have {MOST_IP_RANGES} IP ranges, not {len(self.ip_ranges)}.")
        return [self._header(), self._global_settings(), self._settings(), self._oauth_policies(), self._app_policies()]

    @property
    def _settings_name(self) -> str:
        """As Salesforce names the file when it makes the app itself (Canvas Developer Guide: `API_Name_oauth`)."""
        return f"{self.name}_oauth"

    def _header(self) -> Component:
        return Component(
            EXTERNAL_CLIENT_APPLICATION,
            self.name,
            {
                "contactEmail": self.contact_email,
                "description": "Read-only extracts by Apache Airflow (airflow-sfcc).",
                "distributionState": "Local",
                "isProtected": False,
                "label": self.label,
            },
        )

    def _global_settings(self) -> Component:
        """The app's own switches. The consumer key is left out: Salesforce makes one at the first deployment."""
        content: dict[str, Value] = {
            "callbackUrl": CALLBACK_URL,
            "externalClientApplication": self.name,
            "isClientCredentialsFlowEnabled": self.certificate is None,
            "isConsumerSecretOptional": False,
            "isIntrospectAllTokens": False,
            # The client credentials flow has no code to exchange; with PKCE required, orgs refuse it [M].
            "isPkceRequired": self.certificate is not None,
            "isSecretRequiredForRefreshToken": True,
            "label": f"{self.label} global OAuth settings",
            "shouldRotateConsumerKey": False,
            "shouldRotateConsumerSecret": False,
        }
        if self.certificate is not None:
            content["certificate"] = self.certificate  # "When provided, it enables the JWT Bearer flow."
        return Component(GLOBAL_OAUTH_SETTINGS, f"{self.name}_glbloauth", content)

    def _settings(self) -> Component:
        ranges: list[Structure] = [
            {"description": "Airflow", "endIpAddress": each.end, "startIpAddress": each.start}
            for each in self.ip_ranges
        ]
        return Component(
            OAUTH_SETTINGS,
            self._settings_name,
            {
                # The JWT bearer flow never gets a refresh token, but Salesforce's own guide selects this scope for it, and a
                # user counts as approved by it: Salesforce DX Developer Guide, "Create an External Client App in Your Org".
                "commaSeparatedOauthScopes": "Api" if self.certificate is None else "Api, RefreshToken",
                "externalClientApplication": self.name,
                "label": f"{self.label} OAuth settings",
                **({"trustedIpRanges": ranges} if ranges else {}),
            },
        )

    def _oauth_policies(self) -> Component:
        """The admin's switches, under the name of the policies that Salesforce makes by itself for these settings [M].

        Another name is refused as a duplicate when Salesforce was first. `commaSeparatedPermissionSet`: the page's table says
        IDs, its sample has an API name; orgs were seen to take API names and to refuse IDs [M].
        """
        name = f"{self._settings_name}_defaultPolicy"
        content: dict[str, Value] = {
            "commaSeparatedPermissionSet": self.permission_set,
            "externalClientApplication": self.name,
            "ipRelaxationPolicyType": "Enforce",
            "isClientCredentialsFlowEnabled": self.certificate is None,
            "isGuestCodeCredFlowEnabled": False,
            "isTokenExchangeFlowEnabled": False,
            "label": name,
            "permittedUsersPolicyType": "AdminApprovedPreAuthorized",
            "refreshTokenPolicyType": "SpecificLifetime",  # neither flow gets a refresh token
            "refreshTokenValidityPeriod": 4,
            "refreshTokenValidityUnit": "Hours",
            "requiredSessionLevel": "STANDARD",
        }
        if self.certificate is None:
            content["clientCredentialsFlowUser"] = self.run_as  # must have API Only, says the page
        return Component(OAUTH_POLICIES, name, content)

    def _app_policies(self) -> Component:
        name = f"{self.name}_defaultPolicy"
        return Component(
            APP_POLICIES,
            name,
            {
                "externalClientApplication": self.name,
                "isEnabled": True,
                "isOauthPluginEnabled": True,
                "label": name,
                "startPage": "None",
            },
        )
