"""What Bulk API 2.0 does not do: which refusals say so, and which objects it is known to refuse.

The objects are those seen by production connectors (salesforce-protocol.md#restricted-objects, [M]). The list only saves a
call: where it is wrong, the org's own refusal decides.
"""

from __future__ import annotations

from airflow_sfcc.errors import BulkUnsupportedError, SalesforceError

_REFUSING_CODES = frozenset({"LIMIT_EXCEEDED", "FEATURENOTENABLED", "API_ERROR"})
"""The org's Bulk jobs or result bytes of 24 hours are used up; Bulk API is switched off; Bulk does not do it, in words that
not every release shares (salesforce-protocol.md#job-errors)."""

_REFUSED = frozenset(
    {
        "acceptedeventrelation",
        "accountbrandshare",
        "accountfeed",
        "aggregateresult",
        "assetfeed",
        "assettokenevent",
        "attachedcontentdocument",
        "attachedcontentnote",
        "attachment",
        "casestatus",
        "caseteammember",
        "caseteamrole",
        "caseteamtemplate",
        "caseteamtemplatemember",
        "caseteamtemplaterecord",
        "channelprogramlevelshare",
        "combinedattachment",
        "contentfolderitem",
        "contractstatus",
        "declinedeventrelation",
        "eventwhorelation",
        "fieldsecurityclassification",
        "folderedcontentdocument",
        "knowledgearticle",
        "knowledgearticleversion",
        "knowledgearticleversionhistory",
        "knowledgearticleviewstat",
        "knowledgearticlevotestat",
        "lookedupfromactivity",
        "name",
        "noteandattachment",
        "openactivity",
        "orderstatus",
        "ownedcontentdocument",
        "partnerrole",
        "quotetemplaterichtextdata",
        "recentlyviewed",
        "serviceappointmentstatus",
        "shiftstatus",
        "solutionstatus",
        "taskpriority",
        "taskstatus",
        "taskwhorelation",
        "undecidedeventrelation",
        "userrecordaccess",
        "workorderlineitemstatus",
        "workorderstatus",
    }
)
_REFUSED_ENDINGS = ("__tag", "changeevent", "__x")


def supports_bulk(sobject: str) -> bool:
    """Whether Bulk API 2.0 may read the object."""
    name = sobject.lower()
    return name not in _REFUSED and not name.endswith(_REFUSED_ENDINGS)


def is_refusal_of_bulk(problem: SalesforceError) -> bool:
    """Whether the answer to a new job means that Bulk API 2.0 does not do it (now), while REST may."""
    return isinstance(problem, BulkUnsupportedError) or (problem.code or "").upper() in _REFUSING_CODES
