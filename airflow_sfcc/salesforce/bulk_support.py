"""Which objects Bulk API 2.0 is known to refuse, seen by production connectors (reference 3.9, [M]).

The list only saves a call: where it is wrong, the org's own refusal decides.
"""

from __future__ import annotations

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
