"""Salesforce metadata components as XML: only documented fields, in the order in which the Metadata API writes them.

Source: Metadata API Developer Guide, one page for each type; `ComponentType.page` is its address. Folder and suffix are
from the page's section "File Suffix and Directory Location". In a Salesforce DX project, `-meta.xml` follows the suffix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Union
from xml.etree import ElementTree as ET

from airflow_sfcc.errors import ConfigurationError

API_VERSION = "67.0"
"""Summer '26: the release whose pages the fields below were taken from."""

NAMESPACE = "http://soap.sforce.com/2006/04/metadata"
_GUIDE = "https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta"
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2: Char

Value = Union[str, bool, int]
Structure = Mapping[str, Value]
Content = Mapping[str, Union[Value, Sequence[Structure]]]


@dataclass(frozen=True)
class ComponentType:
    """A metadata type: where its files are, and which fields its page documents.

    `nested` holds the fields of each field that is a structure; such fields may be repeated.
    """

    name: str
    folder: str
    suffix: str
    page: str
    fields: frozenset[str]
    nested: Mapping[str, frozenset[str]]


def _type(
    name: str, folder: str, suffix: str, page: str, fields: str, nested: Mapping[str, str] | None = None
) -> ComponentType:
    structures = {field: frozenset(names.split()) for field, names in (nested or {}).items()}
    return ComponentType(
        name, folder, suffix, f"{_GUIDE}/{page}.htm", frozenset(fields.split()) | frozenset(structures), structures
    )


EXTERNAL_CLIENT_APPLICATION = _type(
    "ExternalClientApplication",
    "externalClientApps",
    "eca",
    "meta_externalclientapplication",
    "contactEmail contactPhone description distributionState iconUrl infoUrl isProtected label logoUrl managedType "
    "orgScopedExternalApp",
)
GLOBAL_OAUTH_SETTINGS = _type(
    "ExtlClntAppGlobalOauthSettings",
    "extlClntAppGlobalOauthSets",
    "ecaGlblOauth",
    "meta_extlclntappglobaloauthsettings",
    "callbackUrl certificate consumerKey consumerSecret externalClientApplication isClientCredentialsFlowEnabled "
    "isCodeCredFlowEnabled isCodeCredPostOnly isConsumerSecretOptional isDeviceFlowEnabled isIntrospectAllTokens "
    "isNamedUserJwtEnabled isPkceRequired isRefreshTokenRotationEnabled isSecretRequiredForRefreshToken "
    "isSecretRequiredForTokenExchange isTokenExchangeEnabled label shouldRotateConsumerKey shouldRotateConsumerSecret",
    {
        "idTokenConfig": "idTokenAudience idTokenIncludeAttributes idTokenIncludeStandardClaims idTokenValidityInMinutes",
    },
)
OAUTH_SETTINGS = _type(
    "ExtlClntAppOauthSettings",
    "extlClntAppOauthSettings",
    "ecaOauth",
    "meta_extlclntappoauthsettings",
    "areAttributesIncludedInAssetToken areCustomPermsIncludedInAssetToken assetTokenAudiences "
    "assetTokenSigningCertificate assetTokenValidity clientAssertionCertificate commaSeparatedOauthScopes "
    "externalClientApplication isFirstPartyAppEnabled label oauthLink singleLogoutUrl",
    {"customAttributes": "formula key", "trustedIpRanges": "description endIpAddress startIpAddress"},
)
OAUTH_POLICIES = _type(
    "ExtlClntAppOauthConfigurablePolicies",
    "extlClntAppOauthPolicies",
    "ecaOauthPlcy",
    "meta_extlclntappoauthconfigurablepolicies",
    "apexHandler clientCredentialsFlowUser commaSeparatedCustomScopes commaSeparatedPermissionSet commaSeparatedProfile "
    "executeHandlerAs externalClientApplication guestJwtSessionTimeoutType guestJwtTimeout ipRelaxationPolicyType "
    "isClientCredentialsFlowEnabled isGuestCodeCredFlowEnabled isNamedUserJwtEnabled isTokenExchangeFlowEnabled label "
    "namedUserJwtSessionTimeoutType namedUserJwtTimeout permittedUsersPolicyType policyAction refreshTokenPolicyType "
    "refreshTokenValidityPeriod refreshTokenValidityUnit requiredSessionLevel sessionTimeoutInMinutes singleLogoutUrl "
    "startUrl",
    {"customAttributes": "formula key"},
)
APP_POLICIES = _type(
    "ExtlClntAppConfigurablePolicies",
    "extlClntAppPolicies",
    "ecaPlcy",
    "meta_extlclntappconfigurablepolicies",
    "externalClientApplication isCanvasPluginEnabled isEnabled isMobilePluginEnabled isNotificationPluginEnabled "
    "isOauthPluginEnabled isPushPluginEnabled isSamlPluginEnabled label startPage startUrl",
)
PERMISSION_SET = _type(
    "PermissionSet",
    "permissionsets",
    "permissionset",
    "meta_permissionset",
    "description hasActivationRequired label license",
    {
        "fieldPermissions": "editable field readable",
        # viewAllFields: API version 63.0 and later
        "objectPermissions": "allowCreate allowDelete allowEdit allowRead modifyAllRecords object viewAllFields "
        "viewAllRecords",
        "userPermissions": "enabled name",
    },
)


@dataclass(frozen=True)
class Component:
    """One metadata component: its type, its full name and what it holds."""

    type: ComponentType
    name: str
    content: Content

    @property
    def path(self) -> PurePosixPath:
        """Where the file is, below a package directory of a Salesforce DX project."""
        folder = PurePosixPath("main/default") / self.type.folder
        return folder / f"{self.name}.{self.type.suffix}-meta.xml"

    def xml(self) -> bytes:
        """The file's text. Raises ConfigurationError for a value that XML cannot hold."""
        root = ET.Element(self.type.name, xmlns=NAMESPACE)
        for field, value in sorted(self.content.items()):
            _require_documented(field, self.type.fields, self.type)
            if isinstance(value, (str, bool, int)):
                ET.SubElement(root, field).text = _text(value, field)
            else:
                _add_structures(root, field, value, self.type)
        ET.indent(root, "    ")
        body = ET.tostring(root, encoding="unicode")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'.encode()


def _add_structures(root: ET.Element, field: str, structures: Sequence[Structure], type_: ComponentType) -> None:
    for structure in structures:
        element = ET.SubElement(root, field)
        for name, value in sorted(structure.items()):
            _require_documented(name, type_.nested[field], type_)
            ET.SubElement(element, name).text = _text(value, name)


def _require_documented(field: str, fields: frozenset[str], type_: ComponentType) -> None:
    if field not in fields:
        raise ValueError(f"{type_.name} has no field {field}: see {type_.page}")


def _text(value: Value, field: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if bad := _NOT_IN_XML.search(text):
        raise ConfigurationError(f"{field} holds the character {bad[0]!r}, which XML cannot hold: {text!r}.")
    return text
