"""Every route of the org, in the order in which they are tried."""

from __future__ import annotations

from salesforce_localorg.wire import (
    admin,
    admin_data,
    async_bulk,
    bulk,
    collections,
    composite,
    console,
    describe,
    ingest,
    limits,
    oauth,
    query,
    related,
    replication,
    rows,
    search,
    trees,
    versions,
)
from salesforce_localorg.wire.routes import Route

BULK_INGEST_SINCE = 41
BULK_QUERY_SINCE = 47
RESULT_PAGES_SINCE = 58
COLLECTIONS_SINCE = 42
TREES_SINCE = 34
GRAPHS_SINCE = 50
DATA = "/services/data/v{version}"
SOBJECT = DATA + "/sobjects/{sobject}"
COLLECTIONS = DATA + "/composite/sobjects"
JOBS = DATA + "/jobs/query"
JOB = JOBS + "/{job_id}"
INGESTS = DATA + "/jobs/ingest"
INGEST = INGESTS + "/{job_id}"
ASYNC_JOBS = "/services/async/{version}/job"
ASYNC_JOB = ASYNC_JOBS + "/{job_id}"
ASYNC_BATCHES = ASYNC_JOB + "/batch"
ASYNC_BATCH = ASYNC_BATCHES + "/{batch_id}"

OAUTH = (
    Route("token", ("POST",), "/services/oauth2/token", oauth.token, "open"),
    Route("revoke", ("GET", "POST"), "/services/oauth2/revoke", oauth.revoke, "open"),
    Route("introspect", ("POST",), "/services/oauth2/introspect", oauth.introspect, "open"),
    Route("userinfo", ("GET", "POST"), "/services/oauth2/userinfo", oauth.userinfo, "open"),
    Route("identity", ("GET",), "/id/{org_id}/{user_id}", oauth.identity, "open"),
)
REST = (
    Route("versions", ("GET",), "/services/data", versions.list_versions, "open"),
    Route("resources", ("GET",), DATA, versions.list_resources),
    Route("query", ("GET",), DATA + "/query", query.query),
    Route("query_all", ("GET",), DATA + "/queryAll", query.query_all),
    Route("query_more", ("GET",), DATA + "/query/{locator}", query.query_more),
    Route("query_more", ("GET",), DATA + "/queryAll/{locator}", query.query_more),
    Route("search", ("GET",), DATA + "/search", search.search),
    Route("search_by_parameters", ("GET", "POST"), DATA + "/parameterizedSearch", search.search_by_parameters),
    Route("limits", ("GET",), DATA + "/limits", limits.limits),
    Route("record_count", ("GET",), DATA + "/limits/recordCount", limits.record_count),
    Route("recent", ("GET",), DATA + "/recent", query.recent),
    Route("describe_global", ("GET",), DATA + "/sobjects", describe.describe_global),
    Route("describe", ("GET",), SOBJECT + "/describe", describe.describe),
    Route("describe_other", ("GET",), SOBJECT + "/describe/{what:path}", describe.not_described),
    Route("updated", ("GET",), SOBJECT + "/updated", replication.updated),
    Route("deleted", ("GET",), SOBJECT + "/deleted", replication.deleted),
    Route("sobject", ("GET",), SOBJECT, describe.basic_information),
    Route("row_create", ("POST",), SOBJECT, rows.create),
    Route("row_create", ("POST",), SOBJECT + "/Id", rows.create_by_null_id),
    Route("row_read", ("GET",), SOBJECT + "/{record_id}", rows.read),
    Route("row_update", ("PATCH",), SOBJECT + "/{record_id}", rows.update),
    Route("row_delete", ("DELETE",), SOBJECT + "/{record_id}", rows.delete),
    Route("row_read_by", ("GET",), SOBJECT + "/{field}/{value:path}", related.read_below),
    Route("row_upsert", ("PATCH",), SOBJECT + "/{field}/{value:path}", rows.upsert),
    Route("row_delete_by", ("DELETE",), SOBJECT + "/{field}/{value:path}", rows.delete_by_external_id),
)
COMPOSITE = (
    # A batch is not metered itself: each call inside it is. A composite is one request, whatever it holds.
    Route("composite_batch", ("POST",), DATA + "/composite/batch", composite.batch, metered=False),
    Route("composite", ("POST",), DATA + "/composite", composite.composite),
    Route("composite", ("GET",), DATA + "/composite", composite.resources),
    Route("composite_graph", ("POST",), DATA + "/composite/graph", composite.graph, since=GRAPHS_SINCE),
    Route("tree_create", ("POST",), DATA + "/composite/tree/{sobject}", trees.create, since=TREES_SINCE),
    Route("rows_create", ("POST",), COLLECTIONS, collections.create, since=COLLECTIONS_SINCE),
    Route("rows_update", ("PATCH",), COLLECTIONS, collections.update, since=COLLECTIONS_SINCE),
    Route("rows_delete", ("DELETE",), COLLECTIONS, collections.delete, since=COLLECTIONS_SINCE),
    Route("rows_read", ("GET", "POST"), COLLECTIONS + "/{sobject}", collections.read, since=COLLECTIONS_SINCE),
    Route("rows_upsert", ("PATCH",), COLLECTIONS + "/{sobject}/{field}", collections.upsert, since=COLLECTIONS_SINCE),
)
BULK = (
    Route("job_create", ("POST",), JOBS, bulk.create, since=BULK_QUERY_SINCE),
    Route("job_list", ("GET",), JOBS, bulk.list_jobs, since=BULK_QUERY_SINCE),
    Route("job_poll", ("GET",), JOB, bulk.poll, since=BULK_QUERY_SINCE),
    Route("job_update", ("PATCH",), JOB, bulk.update, since=BULK_QUERY_SINCE),
    Route("job_delete", ("DELETE",), JOB, bulk.delete, since=BULK_QUERY_SINCE),
    Route("job_results", ("GET",), JOB + "/results", bulk.results, since=BULK_QUERY_SINCE),
    Route("job_result_pages", ("GET",), JOB + "/resultPages", bulk.result_pages, since=RESULT_PAGES_SINCE),
)
INGESTING = (
    Route("ingest_create", ("POST",), INGESTS, ingest.create, since=BULK_INGEST_SINCE),
    Route("ingest_list", ("GET",), INGESTS, ingest.list_jobs, since=BULK_INGEST_SINCE),
    Route("ingest_poll", ("GET",), INGEST, ingest.poll, since=BULK_INGEST_SINCE),
    Route("ingest_update", ("PATCH",), INGEST, ingest.update, since=BULK_INGEST_SINCE),
    Route("ingest_delete", ("DELETE",), INGEST, ingest.delete, since=BULK_INGEST_SINCE),
    Route("ingest_upload", ("PUT",), INGEST + "/batches", ingest.upload, since=BULK_INGEST_SINCE),
    Route("ingest_successful", ("GET",), INGEST + "/successfulResults", ingest.successful, since=BULK_INGEST_SINCE),
    Route("ingest_failed", ("GET",), INGEST + "/failedResults", ingest.failed, since=BULK_INGEST_SINCE),
    Route("ingest_unprocessed", ("GET",), INGEST + "/unprocessedRecords", ingest.unprocessed, since=BULK_INGEST_SINCE),
)
ASYNC = (
    Route("async_job_create", ("POST",), ASYNC_JOBS, async_bulk.create_job, "open"),
    Route("async_job", ("GET",), ASYNC_JOB, async_bulk.read_job, "open"),
    Route("async_job_end", ("POST",), ASYNC_JOB, async_bulk.end_job, "open"),
    Route("async_batch_create", ("POST",), ASYNC_BATCHES, async_bulk.add_batch, "open"),
    Route("async_batches", ("GET",), ASYNC_BATCHES, async_bulk.list_batches, "open"),
    Route("async_batch", ("GET",), ASYNC_BATCH, async_bulk.read_batch, "open"),
    Route("async_query", ("GET",), ASYNC_BATCH + "/request", async_bulk.read_query, "open"),
    Route("async_results", ("GET",), ASYNC_BATCH + "/result", async_bulk.list_results, "open"),
    Route("async_result", ("GET",), ASYNC_BATCH + "/result/{result_id}", async_bulk.read_result, "open"),
)
ADMIN = (
    Route("console", ("GET",), "/", console.page, "admin"),
    Route("org_faults", ("GET",), "/_org/faults", admin.list_faults, "admin"),
    Route("org_faults", ("POST",), "/_org/faults", admin.add_fault, "admin"),
    Route("org_faults", ("DELETE",), "/_org/faults", admin.clear_faults, "admin"),
    Route("org_clock", ("GET",), "/_org/clock", admin.read_clock, "admin"),
    Route("org_clock", ("POST",), "/_org/clock", admin.move_clock, "admin"),
    Route("org_calls", ("GET",), "/_org/calls", admin.list_calls, "admin"),
    Route("org_calls", ("DELETE",), "/_org/calls", admin.clear_calls, "admin"),
    Route("org_sessions", ("GET",), "/_org/sessions", admin.list_tokens, "admin"),
    Route("org_sessions", ("DELETE",), "/_org/sessions", admin.expire_sessions, "admin"),
    Route("org_records", ("POST",), "/_org/records", admin_data.change_records, "admin"),
    Route("org_schema", ("POST",), "/_org/schema", admin_data.change_schema, "admin"),
    Route("org_settings", ("GET",), "/_org/settings", admin.read_settings, "admin"),
    Route("org_settings", ("PATCH",), "/_org/settings", admin.change_settings, "admin"),
)
PAGES = (Route("salesforce_page", ("GET",), "/lightning/{page:path}", console.not_salesforces_page, "admin"),)
ALL_ROUTES: tuple[Route, ...] = OAUTH + REST + COMPOSITE + BULK + INGESTING + ASYNC + ADMIN + PAGES
ADMIN_ROUTES = frozenset(route.name for route in ADMIN + PAGES)
