#!/bin/bash
# Starts an Airflow component. Airflow reads its own secrets from files (the *_CMD settings in docker-compose.yaml), but a
# connection can only come as the value of a variable. One that the caller has set is kept: so the stack can be
# pointed at a real org.
set -euo pipefail

connection_file=/run/stack-secrets/connection.json

if [[ -z "${AIRFLOW_CONN_SFCC_DEFAULT:-}" && -r "$connection_file" ]]; then
    AIRFLOW_CONN_SFCC_DEFAULT=$(<"$connection_file")
    export AIRFLOW_CONN_SFCC_DEFAULT
fi

exec /usr/bin/dumb-init -- /entrypoint "$@"
