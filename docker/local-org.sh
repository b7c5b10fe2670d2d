#!/bin/bash
# Starts the local Salesforce org with the consumer key and secret that the stack generated.
# LOCAL_ORG_OPTIONS holds further options of `airflow-sfcc org`, separated by spaces.
set -euo pipefail

# With a user id that the image does not know, HOME is unset or "/", and Python would not find what pip installed.
export HOME="${AIRFLOW_USER_HOME_DIR:-/home/airflow}"

secrets=/run/stack-secrets
read -r -a options <<< "${LOCAL_ORG_OPTIONS:-}"

# As a variable rather than an option, so that no list of processes shows it.
LOCALORG_CONSUMER_SECRET=$(<"$secrets/consumer_secret")
export LOCALORG_CONSUMER_SECRET

exec /usr/bin/dumb-init -- airflow-sfcc org \
    --host 0.0.0.0 \
    --port 8711 \
    --my-domain local-org \
    --open-admin \
    --data-dir /opt/airflow/local-org \
    --consumer-key "$(<"$secrets/consumer_key")" \
    "${options[@]}"
