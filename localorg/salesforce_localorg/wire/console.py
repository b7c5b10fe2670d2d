"""The page at `/`: what the org holds and what reached it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from itertools import islice

from salesforce_localorg.faults import Fault
from salesforce_localorg.ids import full_id
from salesforce_localorg.org import LocalOrg
from salesforce_localorg.wire.answers import Answer, TextAnswer
from salesforce_localorg.wire.api_call import ApiCall
from salesforce_localorg.wire.limits import limit_info

CALLS_SHOWN = 50
MOST_SHOWN, BEGINNING = 160, 90  # characters of a query or path, and of those the ones from its beginning
WIDE = ("Path", "Rule", "Query")  # columns that may be long
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; vertical-align: top;
white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.wide { white-space: normal; overflow-wrap: anywhere; width: 99%; }
code { font: 13px ui-monospace, monospace; }
"""
# Everything is in the page itself, so nothing else may load or run.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def page(call: ApiCall) -> Answer:
    """GET /"""
    org = call.org
    return _html(200, _summary(org) + _objects(org) + _counts(org) + _jobs(org) + _faults(org) + _calls(org))


def not_salesforces_page(call: ApiCall) -> Answer:
    """GET /lightning/…: where links of extracts lead. A page for people, who would see a login at Salesforce's"""
    body = (
        "<h1>Local Salesforce org</h1><p>A link to one of Salesforce's own pages led here. The local org has none of them: "
        "in a real org this would be "
        f"<b>{escape(_shown_page(call.path, call.query.get('address', '')))}</b>.</p>"
        f"{_asked_for(call)}<p><a href='/'>What this org holds, and what reached it</a></p>"
    )
    return _html(404, body)


def _shown_page(path: str, address: str) -> str:
    if "AsyncApiJobStatus" in path:
        return f"Setup, Bulk Data Load Jobs, the job {address.strip('/')[:18]}"
    parts = path.strip("/").split("/")
    if parts[1:2] == ["o"] and len(parts) > 2:
        return f"the list of {parts[2][:80]} records"
    return path[:200]


def _asked_for(call: ApiCall) -> str:
    """The state of the job that the link names, for those who may see the org's own pages anyway."""
    job = call.org.bulk_jobs.find(full_id(call.query.get("address", "").strip("/")))
    if job is None:
        return ""
    rows = f"{call.org.bulk_jobs.processed(job):,}"
    return f"<p>Here the job is {escape(job.state)}, with {rows} records of {escape(job.request.sobject)}.</p>"


def _html(status: int, body: str) -> Answer:
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Local Salesforce org</title>'
        f"<style>{STYLE}</style></head><body>{body}</body></html>"
    )
    return TextAnswer(status, dict(HEADERS), html)


def _summary(org: LocalOrg) -> str:
    now = org.clock.now().strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"<h1>Local Salesforce org</h1><p>Org <code>{escape(org.config.org_id)}</code>, its time {escape(now)}, "
        f"<code>{escape(limit_info(org))}</code>, run as <code>{escape(str(org.run_as))}</code>.</p>"
    )


def _objects(org: LocalOrg) -> str:
    rows = [(each.name, each.label, f"{org.records.count(each.name):,}") for each in org.schema]
    return _section("Objects", ("Name", "Label", "Records"), rows, "The schema is empty.", numbers={2})


def _jobs(org: LocalOrg) -> str:
    rows = [
        (job.id, job.request.sobject, job.state, f"{org.bulk_jobs.processed(job):,}", _short(job.request.query))
        for job in islice(org.bulk_jobs.all(), CALLS_SHOWN)
    ]
    return _section("Bulk query jobs", ("Id", "Object", "State", "Records", "Query"), rows, "None yet.", numbers={3})


def _short(text: str) -> str:
    """A query or path as far as it tells them apart: a thousand field names fill no line with news."""
    return text if len(text) <= MOST_SHOWN else f"{text[:BEGINNING]} … {text[-(MOST_SHOWN - BEGINNING) :]}"


def _faults(org: LocalOrg) -> str:
    rows = [
        (str(each.id), f"{each.hits} of {'all' if each.fault.times is None else each.fault.times}", _rule(each.fault))
        for each in org.faults.all()
    ]
    return _section("Faults", ("Id", "Hits", "Rule"), rows, "None in force.", numbers=set())


def _rule(fault: Fault) -> str:
    settings = {name: value for name, value in fault.to_json().items() if name != "times"}
    return ", ".join(f"{name} {json.dumps(value)[:200]}" for name, value in settings.items())


def _counts(org: LocalOrg) -> str:
    rows = [(route, f"{count:,}") for route, count in sorted(org.calls.counts.items(), key=lambda each: -each[1])]
    return _section("Calls per route", ("Route", "Calls"), rows, "None yet.", numbers={1})


def _calls(org: LocalOrg) -> str:
    recent = list(org.calls)[-CALLS_SHOWN:]
    rows = [
        (
            each.when.strftime("%H:%M:%S"),
            each.method,
            _short(each.path),
            str(each.status),
            f"{each.sent:,}",
            each.principal or "",
        )
        for each in reversed(recent)
    ]
    head = ("When", "Method", "Path", "Status", "Bytes", "User")
    return _section("Recent calls", head, rows, "None yet.", numbers={3, 4})


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], empty: str, numbers: set[int]) -> str:
    def cell(tag: str, index: int, text: str) -> str:
        names = [*(["number"] if index in numbers else []), *(["wide"] if head[index] in WIDE else [])]
        kind = f' class="{" ".join(names)}"' if names else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    lines = ["".join(cell("td", index, text) for index, text in enumerate(row)) for row in rows]
    if not lines:
        return f"<h2>{escape(title)}</h2><p>{escape(empty)}</p>"
    header = "".join(cell("th", index, text) for index, text in enumerate(head))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<h2>{escape(title)}</h2><table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
