"""Pages become parts: small ones joined, in page order, without decoding a value unless they are tiny; large ones as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from airflow_sfcc.errors import RowCountError
from airflow_sfcc.extract.convert.row_groups import larger_groups
from airflow_sfcc.extract.convert.writers import EXTENSIONS
from airflow_sfcc.extract.land.gzip_join import join_csv, join_json_lines
from airflow_sfcc.extract.land.parquet_concat.join import Readable, Writable, join_parquet
from airflow_sfcc.extract.land.staging import Landing
from airflow_sfcc.extract.model import FileFormat, Part, StagedFile
from airflow_sfcc.extract.pages import LARGE_CSV_PAGE, SMALLEST_PART, grouped, part_name
from airflow_sfcc.wording import plural

_Joiner = Callable[[Iterable[Readable], Writable], int | None]
_JOINERS: dict[FileFormat, _Joiner] = {"parquet": join_parquet, "csv": join_csv, "jsonl": join_json_lines}


def parts_of(pages: Iterable[StagedFile], landing: Landing, file_format: FileFormat) -> dict[Part, str]:
    """The parts that hold the pages' rows, and for each the staged file that is to become it.

    `pages` come in their order. A file is written while they come.
    """
    parts: dict[Part, str] = {}
    large = LARGE_CSV_PAGE if file_format == "csv" else SMALLEST_PART
    for number, group in enumerate(grouped(pages, large)):
        name = part_name(number, EXTENSIONS[file_format])
        page, following = next(group), next(group, None)
        if following is None:
            parts[Part(name, page.rows, page.bytes, page.sha256)] = page.name
        else:
            parts[_joined(name, chain((page, following), group), landing, file_format)] = name
    return parts


def _joined(name: str, group: Iterable[StagedFile], landing: Landing, file_format: FileFormat) -> Part:
    pages: list[StagedFile] = []

    def taken() -> Iterator[StagedFile]:
        for page in group:
            pages.append(page)
            yield page

    with landing.open_file(name) as file:
        sources: Iterable[Readable] = (landing.open_staged(page.name) for page in taken())
        if file_format == "parquet":
            sources = larger_groups(taken(), landing.open_staged)
        joined = _JOINERS[file_format](sources, file)
    rows = sum(page.rows for page in pages)
    if joined not in (None, rows):
        raise RowCountError(
            f"Result pages of {plural(rows, 'row')} became a file of {joined:,}; nothing was landed. Clear the task to extract "
            "them again."
        )
    return Part(name, rows, file.bytes, file.sha256)
