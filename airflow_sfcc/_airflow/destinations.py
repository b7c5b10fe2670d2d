"""A task's destination: the path of a URL, and what to say where it cannot be reached."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_sfcc.errors import OptionError, StorageError
from airflow_sfcc.wording import did_you_mean

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_sfcc.extract.storage import StoragePath

_PROVIDERS = {
    "s3": "apache-airflow-providers-amazon[s3fs]",
    "s3a": "apache-airflow-providers-amazon[s3fs]",
    "gs": "apache-airflow-providers-google",
    "gcs": "apache-airflow-providers-google",
    "abfs": "apache-airflow-providers-microsoft-azure",
    "abfss": "apache-airflow-providers-microsoft-azure",
    "adl": "apache-airflow-providers-microsoft-azure",
    "wasb": "apache-airflow-providers-microsoft-azure",
}
"""What registers a scheme with Airflow."""


PLACEHOLDERS = ("{sobject}",)
"""What is filled in when the task runs."""

_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_JINJA_SOBJECT = re.compile(r"\{\{\s*sobject\s*\}\}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_UNSET = re.compile(r"(^|[/@])(None|undefined|\$\{\w+\}|\$[A-Z_]{2,})(?=/|$)")
"""What an environment variable that is not set, or not filled in, leaves."""

_PATTERN = re.compile(r"[*?\[]")
"""fsspec and DuckDB take a path with one of these for all the paths that it fits, also where they remove files."""

_EXTRACT_FOLDER = re.compile(r"/extract=[^/]+(/_manifest[^/]*\.json)?/?$")
_POSTGRES = ("postgres", "postgresql")
_OF_FOLDERS = ("delta+", "changes+")

_EXAMPLES = "s3://bucket/salesforce/{sobject} or file:///data/salesforce/{sobject}"


def check_placeholders(url: str, option: str = "destination") -> None:
    """Raise OptionError for a placeholder that nothing fills in; Jinja is left alone."""
    if _JINJA_SOBJECT.search(url):
        raise OptionError(f"{option}={url!r}: write {{sobject}} with single braces; it is not a Jinja variable.")
    for found in _PLACEHOLDER.findall(_JINJA.sub("", url)):
        if found not in PLACEHOLDERS:
            hint = did_you_mean(found, PLACEHOLDERS) or f"The only placeholder is {PLACEHOLDERS[0]}."
            raise OptionError(f"{option}={url!r}: nothing fills in {found}. {hint}")


def check_table(table: str) -> None:
    """Raise OptionError for a table's URL with parts that nothing reads, for one that holds a password, and for one that was put
    together from a variable that is not set."""
    url = _JINJA.sub("", table)
    scheme, _, rest = url.partition("://")
    if scheme in _POSTGRES and re.search(r"[@:]", rest.partition("/")[0]):
        raise OptionError(
            "table names a database server where the id of an Airflow connection belongs: write "
            "postgres://<connection id>/<schema>/{sobject}, and keep host, user and password in that connection."
        )
    if scheme in (*_POSTGRES, "duckdb") and re.search(r"[?#]", rest):
        raise OptionError(
            f"table={table!r} has '?' or '#' in it, and what follows names no table: settings of a database belong into the "
            "extra of its Airflow connection, and such characters in a name are written %3F and %23."
        )
    if scheme == "duckdb" and url == table and not rest.startswith("/"):
        raise OptionError(
            f"table={table!r} is no full path: write duckdb:///<path of the file>/<table> with three slashes."
        )
    check_placeholders(table, "table")
    _refuse_unset(url, "table")
    if scheme.startswith(_OF_FOLDERS):
        _refuse_pattern(url, "table")
    if scheme.startswith(_OF_FOLDERS) and url == table:
        _require_absolute(table.partition("+")[2], "table")


def destination_url(value: Any, option: str = "destination") -> str:
    """The URL (or absolute path) of a destination given as text, Path or ObjectStoragePath; `option` is what it was given as.

    Raises OptionError for what would land files where nobody looks for them: nothing, a relative path, the name of a
    variable that was not filled in.
    """
    if not isinstance(value, str) and hasattr(value, "protocol"):
        _refuse_options(value, option)
        value = str(value)  # an ObjectStoragePath, which with older versions of universal-pathlib is a PurePath too
    elif isinstance(value, PurePath):
        value = f"file://{value}" if value.is_absolute() else str(value)
    if not isinstance(value, str):
        raise OptionError(f"{option} must be a URL such as {_EXAMPLES}, a Path or an ObjectStoragePath, not {value!r}.")
    if not value.strip():
        raise OptionError(f"{option} is empty: is a variable not set? Give a URL such as {_EXAMPLES}.")
    check_placeholders(value, option)
    _require_absolute(value, option)
    _refuse_unset(value, option)
    _refuse_pattern(_JINJA.sub("", value), option)
    return value


def _refuse_options(path: Any, option: str) -> None:
    """Raise OptionError for a path with options of its storage: only its URL goes on, and another store may be behind that."""
    names = sorted({*(getattr(path, "storage_options", None) or {})} - {"conn_id"})
    if names and path.protocol not in ("", "file", "local"):
        raise OptionError(
            f"{option} is a path with {', '.join(names)} for its storage, which only its URL goes on without: put them into the "
            "extra of an Airflow connection, and name that in the URL, such as s3://connection@bucket/salesforce/{sobject}."
        )


def _refuse_unset(url: str, option: str) -> None:
    unset = _UNSET.search(url)
    if unset:
        raise OptionError(
            f"{option}={url!r} holds {unset[2]!r}, as if a variable was not set: check where it comes from."
        )


def _refuse_pattern(url: str, option: str) -> None:
    found = _PATTERN.search(url)
    if found:
        raise OptionError(
            f"{option}={url!r} has {found[0]!r} in it, which storages take for a pattern of several folders: give it a folder "
            "without any of * ? [."
        )


def destinations_of(destination: str, sobjects: Sequence[str] | None) -> list[str]:
    """The folder of each object, or the one folder. Raises OptionError unless `{sobject}` and the names go together."""
    if PLACEHOLDERS[0] not in destination:
        if sobjects:
            raise OptionError(f"sobjects has no effect: destination={destination!r} has no {{sobject}}.")
        return [destination]
    if not sobjects:
        raise OptionError(f"destination={destination!r} has {{sobject}}: name the objects in sobjects.")
    return [destination.replace(PLACEHOLDERS[0], sobject) for sobject in sobjects]


def _require_absolute(url: str, option: str) -> None:
    """Raise OptionError unless the URL names a place by itself, whatever folder the worker runs in."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        if not url.startswith("/"):
            raise OptionError(
                f"{option}={url!r} is a relative path, which begins in whatever folder the worker runs in: give a URL such as "
                f"{_EXAMPLES}."
            )
    elif scheme in ("file", "local"):
        if not rest.startswith("/"):
            raise OptionError(
                f"{option}={url!r} is a relative path: write {scheme}:/// with three slashes and a full path."
            )
    elif not urlsplit(url).netloc.rpartition("@")[2]:
        raise OptionError(f"{option}={url!r} names no bucket or container: is a variable not set?")


def destination_path(url: str) -> ObjectStoragePath:
    """The path that an ObjectStoragePath URL names. Raises ConfigurationError where nothing here reads or writes such, and
    OptionError for a pattern."""
    from airflow.sdk import ObjectStoragePath

    from airflow_sfcc.errors import ConfigurationError

    _refuse_pattern(url, "destination")
    scheme = url.partition("://")[0]
    try:
        path: ObjectStoragePath = ObjectStoragePath(url)
        _ = path.fs  # which is looked up only when asked for
    except (ValueError, ImportError) as problem:
        provider = _PROVIDERS.get(scheme)
        advice = f"install {provider} beside Airflow" if provider else "use file://, s3://, gs:// or abfs://"
        raise ConfigurationError(f"The destination {url} cannot be used here ({problem}): {advice}.") from None
    return path


def place_of(written: str) -> StoragePath:
    """The path that a command names: one on this machine, or a URL as in a DAG (`s3://conn_id@bucket/…`).

    Raises what `destination_path` raises, and OptionError for none.
    """
    if not written.strip():
        raise OptionError(
            "A destination is empty: name a folder, or a URL as in a DAG; . is the folder that you are in."
        )
    if "://" not in written:
        from upath import UPath

        local: StoragePath = UPath(written).absolute()
        _refuse_pattern(local.path, "destination")
        return local
    return destination_path(written)


def landed_in(result: object) -> str | None:
    """The destination's URL, from what an extract returned (its XCom); None for anything else."""
    folder = (result.get("path") or result.get("manifest")) if isinstance(result, Mapping) else None
    if not isinstance(folder, str) or not _EXTRACT_FOLDER.search(folder):
        return None
    url = _EXTRACT_FOLDER.sub("", folder)
    return url if "://" in url else f"file://{url}"


def filled_in(destination: str, sobject: str | None) -> str:
    """The destination with the object's name, where that is known. Raises UnexpectedResponseError for what is no name."""
    from airflow_sfcc.errors import UnexpectedResponseError

    if sobject and not re.fullmatch(r"[A-Za-z0-9_]+", sobject):
        raise UnexpectedResponseError(
            f"The org describes an object by the name {sobject[:80]!r}, which is no API name, so nothing is written below it."
        )
    return destination.replace(PLACEHOLDERS[0], sobject) if sobject else destination


def sync_root(destination: str) -> str:
    """The folder that the objects' folders of a destination are in: what comes before the part with `{sobject}`.

    Raises OptionError where the objects would have no folder of their own below one that they share.
    """
    before, found, _ = destination.partition(PLACEHOLDERS[0])
    root = before.rpartition("/")[0]
    if not found or root.endswith((":/", ":")) or not root:
        raise OptionError(
            f"destination={destination!r} needs {{sobject}} as a part of its path, such as {_EXAMPLES}: each object has a folder "
            "of its own, and what is known of all of them lies beside these."
        )
    return root


_STORAGE_LIBRARIES = frozenset({"botocore", "aiobotocore", "s3fs", "gcsfs", "google", "adlfs", "azure", "fsspec"})
"""Where storages raise what is no OSError, such as credentials or an endpoint that are missing."""


@contextmanager
def storage_failures(place: str | Callable[[], str], left: str = "nothing was landed") -> Iterator[None]:
    """Name the destination in an error of the storage, and what is `left` of the task. Such a failure is worth another attempt.

    `place` may be a function, for what is known only while the block runs. What the storage's libraries raised is kept as
    the cause, without the chain of their own.
    """
    try:
        yield
    except Exception as problem:
        if not is_of_storage(problem):
            raise
        url = place if isinstance(place, str) else place()
        problem.__cause__ = problem.__context__ = None
        raise StorageError(
            f"The storage of the destination {url} failed ({type(problem).__name__}: {problem}); {left}.\nCheck that the "
            "folder or bucket can be made or is there, that the worker may write to it, and that it has room."
        ) from problem


def is_of_storage(problem: Exception) -> bool:
    """Whether a storage, or the library that reaches it, raised this."""
    import requests

    if isinstance(problem, requests.RequestException):  # an OSError too, of the way to Salesforce
        return False
    return isinstance(problem, OSError) or type(problem).__module__.partition(".")[0] in _STORAGE_LIBRARIES
