"""The objects that the suites expect in their authors' orgs, as describes: only the fields that the suites touch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from salesforce_localorg.org import LocalOrg

Describe = dict[str, Any]
_STAMPED: Mapping[str, Any] = {"createable": False, "updateable": False, "nillable": False}
_READ_ONLY: Mapping[str, Any] = {"createable": False, "updateable": False}
STANDARD_PRICE_BOOK = "Standard Price Book"
BIG_TABLE_ROWS = 9_000  # several pages of 2,000, and more than the 5,000 that a suite fetches at most


def _text(name: str, length: int = 80, **more: Any) -> Describe:
    return {"name": name, "type": "string", "length": length, **more}


def _reference(name: str, *targets: str, **more: Any) -> Describe:
    relationship = name[:-1] + "r" if name.endswith("__c") else name.removesuffix("Id")
    polymorphic = len(targets) > 1
    return {
        "name": name,
        "type": "reference",
        "referenceTo": list(targets),
        "relationshipName": relationship,
        "namePointing": polymorphic,
        "polymorphicForeignKey": polymorphic,
        **more,
    }


def _object(name: str, prefix: str, *fields: Describe, owner: bool = True, **more: Any) -> Describe:
    system: list[Describe] = [
        {"name": "Id", "type": "id"},
        {"name": "IsDeleted", "type": "boolean", **_STAMPED},
        {"name": "CreatedDate", "type": "datetime", **_STAMPED},
        _reference("CreatedById", "User", **_STAMPED),
        {"name": "LastModifiedDate", "type": "datetime", **_STAMPED},
        _reference("LastModifiedById", "User", **_STAMPED),
        {"name": "SystemModstamp", "type": "datetime", **_STAMPED},
    ]
    owned = [_reference("OwnerId", "User", defaultedOnCreate=True, nillable=False)] if owner else []
    custom = name.endswith("__c")
    own = [{"custom": str(each["name"]).endswith("__c"), **each} for each in fields]
    return {
        "name": name,
        "label": name,
        "labelPlural": f"{name}s",
        "keyPrefix": prefix,
        "custom": custom,
        "fields": [*system, *owned, *own],
        **more,
    }


_NAME = _text("Name", nameField=True)
JSFORCE: Sequence[Describe] = (
    _object("BigTable__c", "a0B", _text("Name", nameField=True, autoNumber=True, nillable=False, **_READ_ONLY)),
    _object("UpsertTable__c", "a0U", _NAME, _text("ExtId__c", 50, externalId=True, idLookup=True)),
)
DJANGO: Sequence[Describe] = (
    _object("Product2", "01t", _text("Name", 255, nameField=True, nillable=False), owner=False),
    _object("Pricebook2", "01s", _text("Name", 255, nameField=True, nillable=False), owner=False),
    _object(
        "PricebookEntry",
        "01u",
        _text("Name", 255, nameField=True, calculated=True, **_READ_ONLY),
        _reference("Pricebook2Id", "Pricebook2", nillable=False, updateable=False),
        _reference("Product2Id", "Product2", nillable=False, updateable=False, cascadeDelete=True),
        {"name": "UseStandardPrice", "type": "boolean"},
        {"name": "UnitPrice", "type": "currency", "precision": 18, "scale": 2, "nillable": False},
        owner=False,
    ),
    _object("CronTrigger", "08e", {"name": "PreviousFireTime", "type": "datetime"}, owner=False),
    _object(
        "BusinessHours",
        "01m",
        _NAME,
        {"name": "IsDefault", "type": "boolean"},
        {"name": "MondayStartTime", "type": "time"},
        owner=False,
    ),
    _object(
        "Note",
        "002",
        _text("Title", nameField=True, nillable=False),
        {"name": "Body", "type": "textarea"},
        _reference("ParentId", "Account", "Contact", "Lead", nillable=False),
    ),
    _object(
        "Campaign",
        "701",
        _text("Name", nameField=True, nillable=False),
        {"name": "NumberSent", "type": "double", "precision": 18, "scale": 0},
        _reference("ParentId", "Campaign"),
        {"name": "StartDate", "type": "date"},
    ),
    _object(
        "ApexEmailNotification",
        "0wa",
        _reference("UserId", "User", unique=True),
        {"name": "Email", "type": "email", "unique": True},
        owner=False,
    ),
    _object(
        "django_Test__c",
        "a0T",
        _NAME,
        _text("TestText__c", 40),
        {"name": "TestBool__c", "type": "boolean"},
        _reference("Contact__c", "Contact"),
    ),
    _object(
        "django_Test_detail__c",
        "a0D",
        _NAME,
        _reference("Parent__c", "django_Test__c"),
        _reference("Contact__c", "Contact"),
    ),
)


def add_objects(org: LocalOrg) -> None:
    """Give a running org what both suites want of their authors' orgs."""
    for describe in (*JSFORCE, *DJANGO):
        org.add_object(describe)
    attachment_of = [*_reference_targets(org, "Attachment", "ParentId"), "django_Test__c"]
    org.change_field("Attachment", "ParentId", {"referenceTo": attachment_of})
    name = '(SELECT p."Name" FROM "Product2" p WHERE p."Id" = "Product2Id")'
    org.change_formula("PricebookEntry", "Name", name)
    org.records.insert("Pricebook2", {"Name": STANDARD_PRICE_BOOK})
    org.records.insert("BusinessHours", {"Name": "Default", "IsDefault": True, "MondayStartTime": "00:00:00.000Z"})
    org.records.insert("CronTrigger", {"PreviousFireTime": "2026-11-01T02:00:00.123Z"})
    _add_opportunities(org)
    org.records.insert_many("BigTable__c", [{} for _ in range(BIG_TABLE_ROWS)])


def _add_opportunities(org: LocalOrg) -> None:
    """Deals of long ago with plain names: the suites take what was created in the last minutes for their own."""
    accounts = org.records.insert_many("Account", [{"Name": f"Sample {number}"} for number in range(10)])
    old = {"StageName": "Prospecting", "CreatedDate": "2024-01-01T00:00:00Z", "Amount": 10}
    deals = [
        {"Name": f"Sample deal {number}", "AccountId": account, "CloseDate": f"2024-02-{number + 1:02d}", **old}
        for number, account in enumerate(accounts)
    ]
    org.records.insert_many("Opportunity", deals)


def _reference_targets(org: LocalOrg, sobject: str, field: str) -> list[str]:
    found = org.schema.sobject(sobject)
    named = found.field(field) if found else None
    return list(named.reference_to) if named else []
