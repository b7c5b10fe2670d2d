#!/bin/bash
# Starts an Airflow component. Airflow reads its own secrets from files (the *_CMD settings in docker-compose.yaml), but a
# connection can only come as the value of a variable. One that the caller has set is kept: so the stack can be
# pointed at a real org, or at a real bucket.
set -euo pipefail

secrets=/run/stack-secrets

connect() {
    if [[ -z "${!1:-}" && -r "$secrets/$2" ]]; then
        export "$1=$(<"$secrets/$2")"
    fi
}

connect AIRFLOW_CONN_SFCC_DEFAULT connection.json
connect AIRFLOW_CONN_AWS_LANDING landing_connection.json

exec /usr/bin/dumb-init -- /entrypoint "$@"
