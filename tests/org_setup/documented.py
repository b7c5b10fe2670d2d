"""What the pages of the Metadata API Developer Guide (API version 67.0) say of each component, as facts to compare with.

`sample` are the elements of the page's section "Declarative Metadata Sample Definition", `required` those the page calls
required, `values` the values it lists for a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Page:
    folder: str
    suffix: str
    required: frozenset[str]
    sample: frozenset[str]
    booleans: frozenset[str]
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)


def _page(
    folder: str,
    suffix: str,
    *,
    required: str = "",
    sample: str = "",
    booleans: str = "",
    values: Mapping[str, str] | None = None,
) -> Page:
    listed = {name: frozenset(each.split()) for name, each in (values or {}).items()}
    return Page(
        folder, suffix, frozenset(required.split()), frozenset(sample.split()), frozenset(booleans.split()), listed
    )


PAGES = {
    "ExternalClientApplication": _page(
        "externalClientApps",
        "eca",
        sample="contactEmail description distributionState iconUrl infoUrl logoUrl label isProtected orgScopedExternalApp",
        booleans="isProtected",
        values={"distributionState": "AutoInstalled Local Managed Packaged"},
    ),
    "ExtlClntAppGlobalOauthSettings": _page(
        "extlClntAppGlobalOauthSets",
        "ecaGlblOauth",
        required="externalClientApplication",
        sample="callbackUrl externalClientApplication idTokenConfig isConsumerSecretOptional isIntrospectAllTokens "
        "isPkceRequired isSecretRequiredForRefreshToken label shouldRotateConsumerKey shouldRotateConsumerSecret",
        booleans="isClientCredentialsFlowEnabled isConsumerSecretOptional isIntrospectAllTokens isPkceRequired "
        "isSecretRequiredForRefreshToken shouldRotateConsumerKey shouldRotateConsumerSecret",
    ),
    "ExtlClntAppOauthSettings": _page(
        "extlClntAppOauthSettings",
        "ecaOauth",
        required="externalClientApplication",
        sample="externalClientApplication label trustedIpRanges customAttributes commaSeparatedOauthScopes",
    ),
    "ExtlClntAppOauthConfigurablePolicies": _page(
        "extlClntAppOauthPolicies",
        "ecaOauthPlcy",
        required="externalClientApplication",
        booleans="isClientCredentialsFlowEnabled isGuestCodeCredFlowEnabled isTokenExchangeFlowEnabled",
        values={
            "ipRelaxationPolicyType": "Enforce Bypass Bypass_2factor Enforce_RelaxRefresh",
            "permittedUsersPolicyType": "AdminApprovedPreAuthorized AllSelfAuthorized",
            "refreshTokenPolicyType": "Infinite SpecificInactivity SpecificLifetime Zero",
            "refreshTokenValidityUnit": "Days Hours Months",
            "requiredSessionLevel": "HIGH_ASSURANCE LOW STANDARD",
        },
    ),
    "ExtlClntAppConfigurablePolicies": _page(
        "extlClntAppPolicies",
        "ecaPlcy",
        required="externalClientApplication isEnabled",
        sample="externalClientApplication isEnabled isCanvasPluginEnabled isMobilePluginEnabled isNotificationPluginEnabled "
        "isOauthPluginEnabled isPushPluginEnabled isSamlPluginEnabled label startPage startUrl",
        booleans="isEnabled isOauthPluginEnabled",
        values={"startPage": "Custom None OAuth"},
    ),
    "PermissionSet": _page(
        "permissionsets",
        "permissionset",
        required="label",
        sample="description fieldPermissions hasActivationRequired label objectPermissions userPermissions",
        booleans="hasActivationRequired",
    ),
}

SCOPES = frozenset("Basic Api Web Full RefreshToken OfflineAccess OpenID".split())
"""Of ExtlClntAppOauthSettings, field commaSeparatedOauthScopes, those that concern extracts at all."""

OBJECT_PERMISSION = frozenset(
    "allowCreate allowDelete allowEdit allowRead modifyAllRecords object viewAllFields viewAllRecords".split()
)
FIELD_PERMISSION = frozenset("editable field readable".split())
USER_PERMISSION = frozenset("enabled name".split())
IP_RANGE = frozenset("description endIpAddress startIpAddress".split())
