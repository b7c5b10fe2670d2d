"""What the APIs refuse by object name; describe answers do not tell it.

Source: salesforce-protocol.md#restricted-objects (names that production connectors skip).
"""

from __future__ import annotations

_NOT_BULK = frozenset(
    """
    AcceptedEventRelation AccountBrandShare AccountFeed AggregateResult AssetFeed AssetTokenEvent AttachedContentDocument
    AttachedContentNote Attachment CaseStatus CaseTeamMember CaseTeamRole CaseTeamTemplate CaseTeamTemplateMember
    CaseTeamTemplateRecord ChannelProgramLevelShare CombinedAttachment ContentFolderItem ContractStatus
    DeclinedEventRelation EventWhoRelation FieldSecurityClassification FolderedContentDocument KnowledgeArticle
    KnowledgeArticleVersion KnowledgeArticleVersionHistory KnowledgeArticleViewStat KnowledgeArticleVoteStat
    LookedUpFromActivity Name NoteAndAttachment OpenActivity OrderStatus OwnedContentDocument PartnerRole
    QuoteTemplateRichTextData RecentlyViewed ServiceAppointmentStatus ShiftStatus SolutionStatus TaskPriority TaskStatus
    TaskWhoRelation UndecidedEventRelation UserRecordAccess WorkOrderLineItemStatus WorkOrderStatus
    """.split()
)
_NOT_BULK_SUFFIXES = ("__Tag", "ChangeEvent", "__x")

_NEEDS_FILTER = frozenset(
    """
    Announcement AppTabMember CollaborationGroupRecord ColorDefinition ContentDocumentLink ContentFolderItem
    ContentFolderMember DataStatistics DatacloudDandBCompany EntityParticle FieldDefinition FieldHistoryArchive
    FlexQueueItem FlowVariableView FlowVersionView IconDefinition IdeaComment NetworkUserHistoryRecent
    OwnerChangeOptionInfo PicklistValueInfo PlatformAction RelationshipDomain RelationshipInfo SearchLayout SiteDetail
    UserEntityAccess UserFieldAccess Vote
    """.split()
)


def supports_bulk(sobject: str) -> bool:
    """Whether Bulk API query jobs take the object."""
    return sobject not in _NOT_BULK and not sobject.endswith(_NOT_BULK_SUFFIXES)


def needs_filter(sobject: str) -> bool:
    """Whether the object can only be queried with a WHERE."""
    return sobject in _NEEDS_FILTER
