#!/bin/bash
# Starts the S3-compatible server of the local stack, with the bucket S3_BUCKET in it. It takes any credentials.
set -euo pipefail

# With a user id that the image does not know, HOME is unset or "/", and Python would not find what pip installed.
export HOME="${AIRFLOW_USER_HOME_DIR:-/home/airflow}"

moto_server --host 0.0.0.0 --port 9000 &
server=$!
trap 'kill "$server"' TERM INT

until curl --fail --silent --output /dev/null --request PUT "http://localhost:9000/$S3_BUCKET"; do
    kill -0 "$server"
    sleep 0.5
done
echo "The bucket $S3_BUCKET is ready."

wait "$server"
