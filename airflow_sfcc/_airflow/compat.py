"""What common-compat gives only in versions newer than those that came with Airflow 3.1.

Airflow's own constraints pin the providers of its month: common-compat 1.10 for 3.1.5, which knows neither of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import determine_kwargs
    from airflow.sdk.configuration import conf
else:
    try:
        from airflow.sdk.configuration import conf
    except ImportError:
        from airflow.configuration import conf
    try:
        from airflow.sdk.bases.decorator import determine_kwargs
    except ImportError:
        from airflow.utils.operator_helpers import determine_kwargs

__all__ = ["conf", "determine_kwargs"]
