#!/bin/bash
# As in the image postgres: the first start makes the database POSTGRES_DB of the user POSTGRES_USER, whose password is in
# the file POSTGRES_PASSWORD_FILE; then PostgreSQL runs under its own user.
set -euo pipefail

as_postgres() {
    setpriv --reuid=postgres --regid=postgres --init-groups "$@"
}

if [[ ! -s "$PGDATA/PG_VERSION" ]]; then
    install --directory --owner=postgres --group=postgres --mode=700 "$PGDATA" /var/run/postgresql
    install --owner=postgres --mode=600 "$POSTGRES_PASSWORD_FILE" /var/run/postgresql/first-password
    as_postgres initdb --pgdata="$PGDATA" --username="$POSTGRES_USER" --encoding=UTF8 --locale=C.UTF-8 \
        --auth=scram-sha-256 --pwfile=/var/run/postgresql/first-password
    rm /var/run/postgresql/first-password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    # Single-user mode listens on nothing, so nobody sees a database that is not ready.
    as_postgres postgres --single -D "$PGDATA" postgres <<< "CREATE DATABASE \"$POSTGRES_DB\""
fi

cd "$PGDATA"
exec setpriv --reuid=postgres --regid=postgres --init-groups "$@" -D "$PGDATA" -c "listen_addresses=*"
