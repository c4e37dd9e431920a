#!/bin/sh
# Starts PostgreSQL as the official image does: an empty PGDATA is initialised from POSTGRES_USER, POSTGRES_PASSWORD (or _FILE) and
# POSTGRES_DB; after that its arguments are run.
set -eu

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

initialise() {
  secret=$(mktemp)
  if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    cat "$POSTGRES_PASSWORD_FILE" >"$secret"
  else
    printf '%s\n' "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE}" >"$secret"
  fi
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA"
  initdb --username="$user" --pwfile="$secret" --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 >/dev/null
  rm -f "$secret"
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  # Without a network address: nobody must find a server that has no database yet.
  pg_ctl --wait --silent -o "-c listen_addresses='' -c unix_socket_directories=/tmp" start
  [ "$database" = postgres ] || createdb --host=/tmp --username="$user" "$database"
  pg_ctl --wait --silent --mode=fast stop
}

if [ "${1:-postgres}" = postgres ]; then
  [ -s "$PGDATA/PG_VERSION" ] || initialise
  shift || true
  exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
fi
exec "$@"
