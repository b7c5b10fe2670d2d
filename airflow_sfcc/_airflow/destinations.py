"""A task's destination: the path of a URL, and what to say where it cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

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


def destination_path(url: str) -> ObjectStoragePath:
    """The path that an ObjectStoragePath URL names. Raises ConfigurationError where nothing here reads or writes such."""
    from airflow.sdk import ObjectStoragePath

    from airflow_sfcc.errors import ConfigurationError

    scheme = url.partition("://")[0]
    try:
        path: ObjectStoragePath = ObjectStoragePath(url)
        _ = path.fs  # which is looked up only when asked for
    except (ValueError, ImportError) as problem:
        provider = _PROVIDERS.get(scheme)
        advice = f"install {provider} beside Airflow" if provider else "use file://, s3://, gs:// or abfs://"
        raise ConfigurationError(f"The destination {url} cannot be used here ({problem}): {advice}.") from None
    return path


@contextmanager
def storage_failures(url: Any) -> Iterator[None]:
    """Say of an error of the storage which destination it is about. Such a failure is worth another try."""
    import requests

    from airflow_sfcc.errors import StorageError

    try:
        yield
    except requests.RequestException:
        raise
    except OSError as problem:
        raise StorageError(
            f"The storage of the destination {url} failed ({type(problem).__name__}: {problem}); nothing was landed. See that "
            "the folder or bucket can be made or is there, that the worker may write to it, and that it has room."
        ) from problem
