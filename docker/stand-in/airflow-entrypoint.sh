#!/bin/bash
# As in the image apache/airflow: a command of the system runs as it is, everything else is a command of Airflow.
set -euo pipefail
export HOME="${AIRFLOW_USER_HOME_DIR}"

case "${1:-}" in
    airflow | bash | python | sh) exec "$@" ;;
    *) exec airflow "$@" ;;
esac
