{{- define "fp.redisData" -}}
valkey.conf: |
  dir /data
  {{- if .Values.redis.tls.enabled }}
  port 0
  tls-port {{ .Values.redis.port }}
  tls-cert-file /tls/tls.crt
  tls-key-file /tls/tls.key
  tls-ca-cert-file /tls/ca.crt
  # Clients prove who they are by password.
  tls-auth-clients no
  {{- else }}
  port {{ .Values.redis.port }}
  {{- end }}
  bind * -::*
  aclfile /run/valkey/users.acl
  # Every write is in the file a second later. Snapshots would only write the same data again.
  appendonly yes
  appendfsync everysec
  save ""
  maxmemory {{ .Values.redis.maxmemory }}
  # A full cache must refuse writes: evicting would serve a part of the users without a word.
  maxmemory-policy noeviction
start.sh: |
  #!/bin/sh
  # Writes the users with digests of their passwords, then becomes the server. `sh /scripts/start.sh users` only rewrites them, for
  # `ACL LOAD` after a password changed.
  set -eu
  digest() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
  password() { cat "/passwords/$1"; }
  user() { # name, passwords (a file, and an optional file with the one before), rules
    name=$1 file=$2
    shift 2
    line="user $name on #$(digest "$(password "$file")")"
    if [ -s "/passwords/$file-previous" ]; then line="$line #$(digest "$(password "$file-previous")")"; fi
    printf '%s %s\n' "$line" "$*"
  }
  umask 077
  {
    echo 'user default off'
    # For the probes of this pod: it may ask whether the server answers, nothing else.
    echo 'user probe on nopass resetkeys resetchannels -@all +ping'
    user admin admin allkeys allchannels +@all
    user {{ .Values.redis.auth.loaderUsername }} loader '{{ include "fp.redisLoaderRules" . }}'
    user {{ .Values.redis.auth.readerUsername }} reader '{{ include "fp.redisReaderRules" . }}'
  } > /run/valkey/users.acl
  if [ "${1:-}" = users ]; then exit; fi
  server=$(command -v valkey-server || command -v redis-server)
  exec "$server" /scripts/valkey.conf
ping.sh: |
  #!/bin/sh
  # Answers whether the server has loaded its data.
  set -eu
  client=$(command -v valkey-cli || command -v redis-cli)
  answer=$("$client" -p {{ .Values.redis.port }} {{ if .Values.redis.tls.enabled }}--tls --cacert /tls/ca.crt --sni {{ include "fp.fullname" . }}-redis {{ end }}--user probe --pass none --no-auth-warning ping)
  [ "$answer" = PONG ]
{{- end -}}

{{/*
The accounts of docs/online.md: what a load needs, and what a reader needs. A reader also reads the marker (get, mget) and asks whether it speaks to a cluster
(info, cluster|slots); hello is how clients of the newer protocol say their name and password.
*/}}
{{- define "fp.redisLoaderRules" -}}
allkeys resetchannels -@all +@read +@write +@transaction +scan +info +ping +time +auth +select +client|setinfo +hello -@dangerous +info
{{- end -}}
{{- define "fp.redisReaderRules" -}}
allkeys resetchannels -@all +hmget +mget +get +ping +select +auth +hello +client|setinfo +info +cluster|slots
{{- end -}}
