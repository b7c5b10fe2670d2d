"""Objects that cannot be read as others can, not by windows of time or not by Bulk API 2.0, and what to do instead
(salesforce-protocol.md#restricted-objects).

docs/incremental.md has the table for people.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_sfcc.errors import QueryError
from airflow_sfcc.extract.model import NO_ID, Column, IncrementalOptions

log = logging.getLogger(__name__)

_NEEDS_IDS = "Salesforce only answers queries on it that filter by"

_NEED_FILTER: Mapping[str, str] = {
    "contentdocumentlink": (
        f"{_NEEDS_IDS} Id, ContentDocumentId or LinkedEntityId. Give where, for example "
        "LinkedEntityId IN (SELECT Id FROM Account)"
    ),
    "announcement": f"{_NEEDS_IDS} a single Id, FeedItemId or ParentId. Give such a where",
    "collaborationgrouprecord": f"{_NEEDS_IDS} a single Id, CollaborationGroupId or RecordId. Give such a where",
    "contenthubitem": f"{_NEEDS_IDS} Id, ExternalId or ContentHubRepositoryId. Give such a where",
    "contentfolderitem": f"{_NEEDS_IDS} Id or ParentContentFolderId. Give such a where",
    "contentfoldermember": f"{_NEEDS_IDS} Id, ParentContentFolderId or ChildRecordId. Give such a where",
    "ideacomment": f"{_NEEDS_IDS} Id, CommunityId or IdeaId. Give such a where",
    "vote": f"{_NEEDS_IDS} Id, ParentId or Parent.Type. Give such a where",
}

_IN_PARTS = frozenset(
    """
    attachedcontentdocument combinedattachment datastatistics emailstatus feedlike feedsignal feedtrackedchange
    folderedcontentdocument listviewchartinstance lookedupfromactivity networkuserhistoryrecent noteandattachment outgoingemail
    outgoingemailrelation ownedcontentdocument processinstancehistory relatedlistcolumndefinition relatedlistdefinition
    """.split()
)
"""Objects that are described as queryable, and that production connectors saw refused (salesforce-protocol.md#restricted-objects,
[M])."""

_ONLY_SMALL: Mapping[str, str] = {
    **dict.fromkeys(
        _IN_PARTS,
        "Salesforce refuses queries for all of it, and answers only those with the condition that its error names, or as child "
        "records",
    ),
    "newsfeed": "Salesforce answers at most 1,000 rows of it",
    "topicassignment": "Salesforce answers at most 1,100 rows of it unless they are filtered by id",
    "userrecordaccess": "it is computed for at most 200 records of one user at a time",
    "userprofilefeed": "it is the feed of one user at a time, whom a query names by WITH UserId",
    "recentlyviewed": "it holds what one user saw last, not records",
}

_STORED_EVENTS = frozenset(
    """
    apievent bulkapiresulteventstore fileeventstore identityprovidereventstore identityverificationevent lightningurievent
    listviewevent loginasevent loginevent logoutevent permissionseteventstore reportevent urievent
    """.split()
)
"""Event monitoring's big objects. Their rows have no Ids, and they refuse ordinary filters
(salesforce-protocol.md#restricted-objects)."""

_EVENTS = _STORED_EVENTS | frozenset(
    """
    apianomalyevent bulkapiresultevent concurlongrunapexerrevent credentialstuffingevent fileevent guestuseranomalyevent
    identityproviderevent permissionsetevent reportanomalyevent sessionhijackingevent
    """.split()
)
"""Those, and events that are streamed."""

_WITHOUT_IDS = frozenset(
    """
    appdefinition apptabmember colordefinition datatype entitydefinition entityparticle entitylimit fielddefinition
    flexqueueitem flowdefinitionview flowversionview flowvariableview icondefinition ownerchangeoptioninfo picklistvalueinfo
    platformaction publisher relationshipdomain relationshipinfo searchlayout sitedetail standardaction tabdefinition
    userentityaccess userfieldaccess userrecordaccess
    """.split()
)
"""Objects that describe the org rather than hold records. Most have a DurableId instead."""

_ARCHIVE = "fieldhistoryarchive"
"""The standard big object that field histories are archived in."""

_ARCHIVING = frozenset({"task", "event"})

_FILES = frozenset({"contentdocument", "contentdocumentlink", "contentversion"})


def has_bin(describe: Mapping[str, Any]) -> bool:
    """Whether records of the object go into the recycle bin, where their IsDeleted tells so."""
    return any(str(field["name"]) == "IsDeleted" for field in describe["fields"])


def has_ids(describe: Mapping[str, Any]) -> bool:
    """Whether the object's rows can be told apart by their Ids, as far as is known from its name and fields."""
    name = str(describe["name"]).lower()
    durable = any(str(field["name"]) == "DurableId" for field in describe.get("fields", ()))
    return not (durable or name in _WITHOUT_IDS or name in _STORED_EVENTS or name.endswith("__b"))


def log_gaps(describe: Mapping[str, Any], columns: Sequence[Column], options: IncrementalOptions) -> None:
    """Say what the extract will not have, or cannot be used for, although nobody left it out."""
    name = str(describe["name"])
    if name.lower() in _FILES:
        log.info("%s: only of files that the Run As user may see, unless that user has Query All Files", name)
    masked = [column.name for column in columns if column.salesforce_type == "encryptedstring"]
    if masked:
        log.info("%s: masked, unless the Run As user has View Encrypted Data: %s", name, ", ".join(masked))
    if name.lower() in _ARCHIVING and options.deletes == "ignore":
        log.warning(
            "%s: activities that Salesforce has archived (about a year after their end) are not read with deletes='ignore'; "
            "deletes='soft' reads them too.",
            name,
        )
    if options.deletes == "soft" and options.mode == "incremental" and not has_bin(describe):
        log.warning(
            "%s has no IsDeleted, so deletes='soft' cannot tell which rows were deleted: they stay in what landed. %s.",
            name,
            "deletes='hard' reads them from the org's log"
            if describe.get("replicateable", True)
            else "A full extract from time to time shows what there is",
        )
    not_whole = why_not_whole(name)
    if not_whole:
        log.warning("%s: %s. What this extract has may be a part of it.", name, not_whole)
    if not has_ids(describe):
        log.warning(
            "%s: its rows have no Ids of their own, so a full extract is complete by itself, but rows cannot be told apart "
            "by Id: no current table is made of it.",
            name,
        )


def refuse_unwindowed(describe: Mapping[str, Any], where: str | None, *, cursor_asked: bool) -> None:
    """Raise QueryError for an object that an incremental extract cannot read whole, with the reason and the way out.

    `where` is the condition that the user gave; a `cursor_asked` for by name is the user's own risk where only the
    choice of the cursor is in doubt.
    """
    name = str(describe["name"])
    reason = why_not_incremental(describe, cursor_asked=cursor_asked)
    if reason:
        raise QueryError(
            f"{name} cannot be extracted incrementally: {reason}. Use mode='full', with a where that fits it."
        )
    needed = None if (where or "").strip() else filter_needed(name)
    if needed:
        raise QueryError(f"{name} cannot be extracted by a window of time alone: {needed}.")


def why_not_incremental(describe: Mapping[str, Any], *, cursor_asked: bool = False) -> str | None:
    """Why an object's changes cannot be read by windows of time; None where nothing is known to stand against it.

    Of `describe` the name suffices, as describeGlobal has it; with fields more is known.
    """
    name = str(describe["name"]).lower()
    if name.endswith("__b") or name == _ARCHIVE:
        return "it is a big object, which can only be filtered along its index, never by a window of time"
    if name.endswith("__x"):
        return "it is an external object: its rows live elsewhere and bear no stamps of Salesforce"
    if name.endswith("changeevent"):
        return "it is a change event, which is subscribed to and not queried"
    if name in _EVENTS and not cursor_asked:
        return "event objects refuse filters other than on EventDate, which is no stamp of a change"
    if name not in _ONLY_SMALL and not has_ids(describe):
        return f"its rows have no Ids of their own (all are {NO_ID}), so a changed row cannot be told from a new one"
    return _ONLY_SMALL.get(name)


def filter_needed(sobject: str) -> str | None:
    """Which filter Salesforce wants in queries on an object, and how to give it; None where it wants none."""
    name = sobject.lower()
    if name.endswith("__kav") or name == "knowledgearticleversion":
        return (
            "Salesforce wants one publication status. Give where, such as PublishStatus = 'Online' (and a task of its own for "
            "'Draft' and 'Archived')"
        )
    return _NEED_FILTER.get(name)


def why_not_whole(sobject: str) -> str | None:
    """Why no query returns all rows of an object; None where nothing is known to stand against it."""
    name = sobject.lower()
    if name.endswith("changeevent"):
        return why_not_incremental({"name": sobject})
    if name in _WITHOUT_IDS and name not in _ONLY_SMALL:
        return "it describes the org and holds no records, and Salesforce answers queries on most such objects only in part"
    return _ONLY_SMALL.get(name)


_NOT_BY_BULK = frozenset(
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
"""Objects that production connectors saw refused by Bulk API 2.0 (salesforce-protocol.md#restricted-objects, [M]). The list only
saves a request: where it is wrong, the org's own error decides."""

_NOT_BY_BULK_ENDINGS = ("__tag", "changeevent", "__x")


def supports_bulk(sobject: str) -> bool:
    """Whether Bulk API 2.0 may read the object."""
    name = sobject.lower()
    return name not in _NOT_BY_BULK and not name.endswith(_NOT_BY_BULK_ENDINGS)
