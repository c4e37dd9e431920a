#!/bin/sh
# Makes the Secrets that deploy/envs/local/values.yaml names, with drawn passwords; leaves those that exist as they are.
# Usage: create-secrets.sh NAMESPACE
set -eu

namespace=${1:?usage: create-secrets.sh NAMESPACE}

# Letters and digits, and a letter first: Feast splits connection strings at commas and reads numbers as numbers.
draw() { printf 'p%s' "$(LC_ALL=C tr -dc 'a-zA-Z0-9' < /dev/urandom | head -c 31)"; }

secret() { # name, key=value …
  name=$1
  shift
  if kubectl --namespace "$namespace" get secret "$name" > /dev/null 2>&1; then
    echo "secret/$name exists"
    return
  fi
  for pair in "$@"; do
    printf '%s\n' "  ${pair%%=*}: \"${pair#*=}\""
  done | {
    printf 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\nstringData:\n' "$name"
    cat
  } | kubectl --namespace "$namespace" create --filename -
}

secret feature-platform-postgresql "postgresql-password=$(draw)"
secret feature-platform-redis "admin-password=$(draw)" "loader-password=$(draw)" "reader-password=$(draw)"
secret feature-platform-s3 "AWS_ACCESS_KEY_ID=feature-platform" "AWS_SECRET_ACCESS_KEY=$(draw)"
