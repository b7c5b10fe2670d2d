#!/bin/bash
# Starts the S3-compatible server of the local stack, with the bucket S3_BUCKET in it and the stack's own key.
set -euo pipefail

# With a user id that the image does not know, HOME is unset or "/", and Python would not find what pip installed.
export HOME="${AIRFLOW_USER_HOME_DIR:-/home/airflow}"

secrets=/run/stack-secrets
exec /usr/bin/dumb-init -- python /opt/airflow-sfcc/docker/object_storage.py "$secrets/s3_access_key" "$secrets/s3_secret_key"
