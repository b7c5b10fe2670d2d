"""Airbyte: the reader of Bulk result pages that its Salesforce source uses (airbyte-cdk), on the same responses.

Only the reader: its records are counted and thrown away, which flatters it, since the source still types and prints them.
"""

from __future__ import annotations

from collections.abc import Callable

import requests
from airbyte_cdk.sources.declarative.extractors.response_to_file_extractor import ResponseToFileExtractor
from measured import Task, main
from requests.structures import CaseInsensitiveDict


def prepare(task: Task) -> Callable[[], int]:
    reader = ResponseToFileExtractor(parameters={})
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {task['token']}"

    def work() -> int:
        rows = 0
        for url in task["page_urls"]:
            with session.get(url, stream=True, timeout=60) as response:
                # The reader fails on the lower-case names of headers that HTTP servers may send.
                response.headers = CaseInsensitiveDict(
                    {name.title(): value for name, value in response.headers.items()}
                )
                rows += sum(1 for _ in reader.extract_records(response))
        return rows

    return work


main(prepare)
