#!/bin/sh
# Generates the secrets of the local stack into a folder, one file per secret. A secret that is there already stays, so
# that a database, and what Airflow encrypted in it, outlive a restart.
#
# Usage: generate-secrets.sh FOLDER
#
# Files carry no newline at their end: Airflow takes the whole output of its *_CMD settings as the value.
set -eu

folder=${1:?"Say which folder the secrets go to: generate-secrets.sh FOLDER"}
local_org_host=${LOCAL_ORG_HOST:-local-org:8711}

# The Airflow image runs with group 0 whatever its user, so the group may read and others may not.
umask 027
mkdir -p "$folder"
chmod 750 "$folder"

random_hex() {
    od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'
}

# Fernet wants 32 bytes in URL-safe Base64.
random_fernet_key() {
    head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'
}

# Written to a second name first: a run that is interrupted must not leave half a secret behind.
keep() {
    if [ ! -s "$folder/$1" ]; then
        printf '%s' "$2" > "$folder/$1.new"
        mv "$folder/$1.new" "$folder/$1"
        echo "generated $1"
    fi
}

value_of() {
    cat "$folder/$1"
}

keep postgres_password "$(random_hex 24)"
keep fernet_key "$(random_fernet_key)"
keep jwt_secret "$(random_hex 64)"
keep api_secret_key "$(random_hex 32)"
keep admin_password "$(random_hex 12)"
keep redis_password "$(random_hex 24)"
keep s3_access_key "$(random_hex 10)"
keep s3_secret_key "$(random_hex 20)"
keep consumer_key "3MVG9$(random_hex 40)"
keep consumer_secret "$(random_hex 32)"

keep sql_alchemy_conn "postgresql+psycopg2://airflow:$(value_of postgres_password)@postgres/airflow"
keep simple_auth_manager_passwords.json "{\"admin\": \"$(value_of admin_password)\"}"
keep connection.json "{\"conn_type\": \"sfcc\", \"host\": \"http://$local_org_host\", \
\"login\": \"$(value_of consumer_key)\", \"password\": \"$(value_of consumer_secret)\", \
\"extra\": {\"allow_http\": true}}"
keep broker_url "redis://:$(value_of redis_password)@redis:6379/0"
# Nothing is kept on disk: what was queued when the broker ends is queued again by Airflow's scheduler.
keep redis.conf "requirepass $(value_of redis_password)
save \"\"
appendonly no
dir /tmp"
keep landing_connection.json "{\"conn_type\": \"aws\", \"login\": \"$(value_of s3_access_key)\", \
\"password\": \"$(value_of s3_secret_key)\", \
\"extra\": {\"endpoint_url\": \"http://object-storage:9000\", \"region_name\": \"us-east-1\"}}"

# Airflow's simple auth manager opens its passwords for writing, even when it has nothing to write.
chmod 660 "$folder/simple_auth_manager_passwords.json"

echo "The secrets of the stack are complete."
