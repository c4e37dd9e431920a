#!/bin/sh
# Writes the sealed Secrets of an environment to deploy/envs/ENVIRONMENT/sealed-secrets, to be committed. Only the cluster's controller can
# open them. Passwords that are ours are drawn; what others gave us is read from the environment:
#   POSTGRESQL_PASSWORD   of the managed server (prod; drawn in dev, where the release runs the server)
#   REDIS_LOADER_PASSWORD, REDIS_READER_PASSWORD   of the managed server's users (prod; drawn in dev)
#   SLACK_TOKEN           the bot's token; without it there is no Secret for Slack
# Needs kubeseal and the controller's certificate: kubeseal --fetch-cert > certificate.pem
# Usage: seal-secrets.sh dev|prod CERTIFICATE
set -eu

environment=${1:?usage: seal-secrets.sh dev|prod CERTIFICATE}
certificate=${2:?usage: seal-secrets.sh dev|prod CERTIFICATE}
namespace=features-$environment
directory=$(dirname "$0")/../envs/$environment/sealed-secrets

# Letters and digits, and a letter first: Feast splits connection strings at commas and reads numbers as numbers.
draw() { printf 'p%s' "$(LC_ALL=C tr -dc 'a-zA-Z0-9' < /dev/urandom | head -c 31)"; }

given_or_drawn() { # name of the variable that holds it, its value
  if [ -n "$2" ]; then printf %s "$2"; return; fi
  if [ "$environment" = prod ]; then echo "seal-secrets.sh: $1 must be set for prod" >&2; return 1; fi
  draw
}

seal() { # name, key, value, key, value …
  name=$1
  shift
  {
    printf 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\nstringData:\n' "$name" "$namespace"
    while [ $# -gt 0 ]; do
      # In single quotes YAML takes everything as it stands but the quote itself.
      printf "  %s: '%s'\n" "$1" "$(printf %s "$2" | sed "s/'/''/g")"
      shift 2
    done
  } | kubeseal --format yaml --cert "$certificate" > "$directory/$name.yaml.new"
  mv "$directory/$name.yaml.new" "$directory/$name.yaml"
  echo "$directory/$name.yaml"
}

mkdir -p "$directory"
# One by one: a failed command inside a command's arguments would go unnoticed.
postgresql=$(given_or_drawn POSTGRESQL_PASSWORD "${POSTGRESQL_PASSWORD:-}")
loader=$(given_or_drawn REDIS_LOADER_PASSWORD "${REDIS_LOADER_PASSWORD:-}")
reader=$(given_or_drawn REDIS_READER_PASSWORD "${REDIS_READER_PASSWORD:-}")
admin=$(draw)
seal feature-platform-postgresql postgresql-password "$postgresql"
seal feature-platform-redis admin-password "$admin" loader-password "$loader" reader-password "$reader"
if [ -n "${SLACK_TOKEN:-}" ]; then seal feature-platform-slack token "$SLACK_TOKEN"; fi
