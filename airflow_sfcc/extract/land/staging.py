"""Where an extract is staged: each attempt in a folder of its own, which nobody else writes into.

    <destination>/_staging/extract=<id>/t00001-00001-3f9a1c2b/_plan.json, page-00000.parquet, page-00000.json, ...
    <destination>/_staging/extract=<id>/t00001-00001-3f9a1c2b.share-9d0e1f2a/...     what one of several workers landed

A later attempt takes over what earlier ones left, under names of its own. A page's receipt (`page-00000.json`) is written
after its file, so what it names was whole then; whether it still is, its hash tells. Readers skip names that start with `_`,
and the staged files are deeper than `*/*.parquet` reaches, so a run that dies leaves nothing that could be taken for data.
"""

from __future__ import annotations

import contextlib
import logging
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from airflow_sfcc.errors import ConcurrentRunError, DamagedFileError, ExtractError
from airflow_sfcc.extract.convert.writers import CountedFile
from airflow_sfcc.extract.manifests import Manifest, read_manifest
from airflow_sfcc.extract.model import Plan, StagedFile, from_plain, plain
from airflow_sfcc.extract.storage import (
    StoragePath,
    end_uploads,
    exists,
    flush_folder,
    give_names,
    is_local,
    listed,
    open_whole,
    read_small,
    remove,
    remove_if_empty,
    require_content,
    write_spare,
    write_whole,
)

log = logging.getLogger(__name__)

STAGING = "_staging"
PLAN = "_plan.json"
_ENDED = "_ended.json"
_ATTEMPT = re.compile(r"t(\d{5})-(\d{5})-[0-9a-f]{8}")
_FOLDER = re.compile(rf"({_ATTEMPT.pattern})(\.share-[0-9a-f]{{8}})?")
_MOST_BYTES = 64 * 1024 * 1024
"""Of a plan or a receipt."""


def _numbers(attempt: str) -> tuple[int, int]:
    """Airflow's try, and which attempt it was; zeros for none."""
    found = _ATTEMPT.fullmatch(attempt)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def attempt_in(name: str) -> str:
    """The attempt whose name a part file bears; empty for the names of a first commit, which sorts before all attempts."""
    found = _ATTEMPT.search(name)
    return found[0] if found else ""


class Landing:
    """The folders of one extract below its destination, as one attempt sees them.

    `attempt` names the attempt's own folder; attempts sort by when they began. It is empty for those who only look.
    """

    def __init__(self, destination: StoragePath, extract_id: str, attempt: str = "") -> None:
        self.destination = destination
        self.folder = destination / f"extract={extract_id}"
        self.staging = destination / STAGING / f"extract={extract_id}"
        self.attempt = attempt

    def own(self, name: str) -> str:
        """How a file of this attempt is named among all that is staged of the extract."""
        return f"{self.attempt}/{name}"

    # Attempts

    def attempts(self) -> list[str]:
        """All attempts that left something here, the newest first."""
        return sorted((name for name in listed(self.staging) if _ATTEMPT.fullmatch(name)), reverse=True)

    def begin(self, plan: Plan) -> None:
        """Claim a folder of its own, newer than those of all other attempts. Who began earlier does not publish any more."""
        committed = self.committed()
        before = str(committed.get("attempt")) if committed else ""
        numbers = {each: _numbers(each) for each in (*self.attempts(), before)}
        tries = max(plan.try_number, numbers[before][0])
        number = 1 + max(sequence for _, sequence in numbers.values())
        self.attempt = f"t{tries:05d}-{number:05d}-{uuid.uuid4().hex[:8]}"
        self.save_plan(plan)

    def begin_share(self, attempt: str) -> None:
        """A folder of its own for one of several workers that land the pages of an attempt."""
        self.attempt = f"{attempt}.share-{uuid.uuid4().hex[:8]}"
        self._make_own_folder()

    def _make_own_folder(self) -> None:
        if is_local(self.staging):
            (self.staging / self.attempt).mkdir(parents=True, exist_ok=True)

    def newer_attempt(self) -> str | None:
        """An attempt that began after this one, if there is one."""
        newest = next(iter(self.attempts()), "")
        return newest if newest > self.attempt else None

    def require_newest(self, committed: Manifest | None = None) -> None:
        """Raise ConcurrentRunError when a newer attempt has begun, or has `committed`: it is the one that publishes."""
        newer = max(self.newer_attempt() or "", str(committed.get("attempt") or "") if committed else "")
        if newer > self.attempt:
            raise ConcurrentRunError(
                f"A newer attempt ({newer}) at this extract has begun while this one ({self.attempt}) was under way, so this "
                "one commits nothing. Nothing needs to be done if that is Airflow's own retry; if no other attempt is under "
                "way, remove what dead ones left with `airflow-sfcc vacuum --older-than 0` and clear the task."
            )

    def save_plan(self, plan: Plan) -> None:
        self._make_own_folder()
        self._write(PLAN, plain(plan))

    def plan_of(self, attempt: str) -> Plan | None:
        """The plan that an attempt staged; None where it did not get so far. Raises ExtractError for what is no plan."""
        path = self.staging / attempt / PLAN
        data = _read_json(path)
        return None if data is None else from_plain(data, Plan, f"The staged plan {path}")

    def leave(self) -> None:
        """Say that this attempt has ended, and leave what it staged for the next one."""
        self._write(_ENDED, {})

    def committed(self) -> Manifest | None:
        """The newest manifest that was committed of this extract."""
        return read_manifest(self.folder)

    # Files

    @contextmanager
    def open_file(self, name: str) -> Iterator[CountedFile]:
        """A staged file to write: it has its name once it is complete, and is not there when writing it fails."""
        with open_whole(self.staging / name) as raw:
            yield CountedFile(raw)

    def open_staged(self, name: str) -> StoragePath:
        """The path of a staged file, to read it."""
        return self.staging / name

    def save_receipt(self, page: StagedFile) -> None:
        """Leave word that the page's file is complete. Without the receipt, or with an empty one, the page is fetched again."""
        write_spare(self.staging / self.own(_receipt(page.index)), _json(plain(page)))

    def staged_files(self) -> StagedFiles:
        """The result pages that this attempt has staged, or that workers landed who share its plan."""
        plan = self.attempt.partition(".")[0]
        folders = [name for name in listed(self.staging) if name == plan or name.startswith(f"{plan}.share-")]
        return StagedFiles(self, [page for folder in folders for page in self._receipts(folder)])

    def adopt(self) -> None:
        """Take over the pages of earlier attempts, the newest first, under names of this attempt's own."""
        have = {page.index for page in self._receipts(self.attempt)}
        for attempt in self.attempts():
            if attempt < self.attempt:
                pages = [page for page in self._receipts(attempt) if page.index not in have]
                have |= {page.index for page in pages}
                self._take(pages)

    def _take(self, pages: Sequence[StagedFile]) -> None:
        """A page that its owner has given up meanwhile gets a receipt without a file, and is fetched again."""
        taken = [msgspec.structs.replace(page, name=self.own(page.name.rsplit("/", 1)[-1])) for page in pages]
        give_names([(self.staging / page.name, self.staging / own.name) for page, own in zip(pages, taken)])
        for own in taken:
            self.save_receipt(own)

    def _receipts(self, folder: str) -> Iterator[StagedFile]:
        for name in listed(self.staging / folder):
            if name.startswith("page-") and name.endswith(".json"):
                with contextlib.suppress(ExtractError):  # of another version of the package, or cut off: fetched again
                    page = from_plain(_read_json(self.staging / folder / name), StagedFile, "A receipt")
                    if page.name.startswith(f"{folder}/"):
                        yield page

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        write_whole(self.staging / self.own(name), _json(data))

    # The end

    def start_afresh(self) -> None:
        """Nothing staged by this attempt but its plan."""
        for name in listed(self.staging / self.attempt):
            if name != PLAN:
                remove(self.staging / self.attempt / name)

    def discard(self) -> None:
        """Remove what this attempt staged, and what earlier ones left which have ended; what others work at stays."""
        ended = {each for each in self.attempts() if each < self.attempt and exists(self.staging / each / _ENDED)}
        for name in listed(self.staging):
            if name == self.attempt or name.partition(".")[0] in ended:
                remove(self.staging / name)
        self._remove_empty()

    def discard_all(self) -> None:
        """Remove what all attempts staged up to this one, which has committed; its own plan goes last."""
        mine = self.attempt.partition(".")[0]
        for name in listed(self.staging):
            if name.partition(".")[0] < mine or name.startswith(f"{mine}."):
                remove(self.staging / name)
        remove(self.staging / mine)
        end_uploads(self.staging, lambda name: name.partition("/")[0].partition(".")[0] <= mine)
        self._remove_empty()

    def _remove_empty(self) -> None:
        remove_if_empty(self.staging)
        remove_if_empty(self.staging.parent)

    def flush(self) -> None:
        """See that what is staged outlives a power cut under its names."""
        flush_folder(self.staging / self.attempt)


class StagedFiles:
    """Receipts by index; a file counts only if it still holds what its receipt says."""

    def __init__(self, landing: Landing, receipts: Iterable[StagedFile]) -> None:
        self._landing = landing
        self._receipts: dict[int, list[StagedFile]] = {}
        self._whole: set[StagedFile] = set()
        for page in receipts:
            self._receipts.setdefault(page.index, []).append(page)

    def get(self, index: int, url: str) -> StagedFile | None:
        """The file that holds the page of that index, read from that URL; None when the page has to be fetched."""
        for page in self._receipts.get(index, ()):
            if page.url == url and self._is_whole(page):
                return page
        return None

    def _is_whole(self, page: StagedFile) -> bool:
        if page in self._whole:
            return True
        try:
            require_content(self._landing.open_staged(page.name), page.bytes, page.sha256)
        except DamagedFileError as problem:
            log.warning("Result page %d is fetched again: %s", page.index, problem.message)
            return False
        self._whole.add(page)
        return True


def _receipt(index: int) -> str:
    return f"page-{index:05d}.json"


def _json(data: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(data), indent=2)


def _read_json(path: StoragePath) -> Any:
    """The JSON in a file; None when there is no file, or one that was cut off when its writer died."""
    try:
        return msgspec.json.decode(read_small(path, _MOST_BYTES))
    except (FileNotFoundError, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
