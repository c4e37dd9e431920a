{{/* What containers of the platform's image share: environment, files, volumes, addresses of the servers. */}}

{{- define "fp.uid" -}}10001{{- end -}}
{{- define "fp.contractsDir" -}}/etc/feature-platform/contracts{{- end -}}
{{- define "fp.dagsterHome" -}}/var/lib/dagster{{- end -}}
{{- define "fp.home" -}}/var/lib/feature-platform{{- end -}}
{{- define "fp.redisCaDir" -}}/etc/feature-platform/redis{{- end -}}

{{- define "fp.s3Endpoint" -}}
{{- if .Values.s3.enabled }}http://{{ include "fp.fullname" . }}-s3:8333{{ else }}{{ .Values.aws.endpointUrl }}{{ end -}}
{{- end -}}

{{- define "fp.postgresHost" -}}
{{- if .Values.postgresql.enabled }}{{ include "fp.fullname" . }}-postgresql{{ else }}{{ .Values.postgresql.postgresqlHost }}{{ end -}}
{{- end -}}

{{- define "fp.logBucket" -}}
{{- .Values.instance.computeLogs.bucket | default (regexReplaceAll "^s3://([^/]+).*$" .Values.settings.workUri "${1}") -}}
{{- end -}}

{{/* Feast's connection string: dict "root" "user" "options". The password is a variable that Kubernetes puts in. */}}
{{- define "fp.redisConnection" -}}
{{- $redis := .root.Values.redis -}}
{{- $parts := list -}}
{{- if $redis.enabled -}}
{{- $parts = append $parts (printf "%s-redis:%v" (include "fp.fullname" .root) $redis.port) -}}
{{- else -}}
{{- $parts = append $parts $redis.external.address -}}
{{- with $redis.external.options }}{{ $parts = append $parts . }}{{ end -}}
{{- end -}}
{{- if $redis.auth.existingSecret -}}
{{- $parts = append $parts (printf "username=%s,password=$(REDIS_PASSWORD)" .user) -}}
{{- end -}}
{{- if $redis.tls.enabled -}}
{{- $parts = append $parts "ssl=true" -}}
{{- if $redis.tls.existingSecret -}}
{{- $parts = append $parts (printf "ssl_ca_certs=%s/ca.crt" (include "fp.redisCaDir" .root)) -}}
{{- end -}}
{{- end -}}
{{- with .options }}{{ $parts = append $parts . }}{{ end -}}
{{- join "," $parts -}}
{{- end -}}

{{- define "fp.dagsterLogFormat" -}}{{ ternary "json" "colored" (eq .Values.settings.logFormat "json") }}{{- end -}}

{{/* Variables without a secret, as data of a ConfigMap. */}}
{{- define "fp.environmentData" -}}
FEATURE_PLATFORM_ENV: {{ .Values.environment | quote }}
FEATURE_PLATFORM_RAW_URI: {{ .Values.settings.rawUri | quote }}
FEATURE_PLATFORM_WORK_URI: {{ .Values.settings.workUri | quote }}
FEATURE_PLATFORM_FEATURE_BASE: {{ .Values.settings.featureBase | quote }}
FEATURE_PLATFORM_REGISTRY_URI: {{ .Values.settings.registryUri | quote }}
FEATURE_PLATFORM_START_DATE: {{ .Values.settings.startDate | quote }}
FEATURE_PLATFORM_LOOK_BACK_DAYS: {{ .Values.settings.lookBackDays | int64 | quote }}
FEATURE_PLATFORM_ONLINE_FULL_DAYS: {{ .Values.settings.onlineFullDays | int64 | quote }}
FEATURE_PLATFORM_SENSOR_INTERVAL_S: {{ .Values.settings.sensorIntervalSeconds | int64 | quote }}
FEATURE_PLATFORM_LOG_FORMAT: {{ .Values.settings.logFormat | quote }}
{{- with .Values.settings.engineMemoryMib }}
FEATURE_PLATFORM_ENGINE_MEMORY_MIB: {{ . | int64 | quote }}
{{- end }}
{{- with .Values.settings.sparkRemote }}
FEATURE_PLATFORM_SPARK_REMOTE: {{ . | quote }}
{{- end }}
FEATURE_PLATFORM_CONTRACTS_DIR: {{ include "fp.contractsDir" . | quote }}
FEATURE_PLATFORM_HOME: {{ include "fp.home" . | quote }}
AWS_REGION: {{ .Values.aws.region | quote }}
AWS_DEFAULT_REGION: {{ .Values.aws.region | quote }}
{{- with include "fp.s3Endpoint" . }}
AWS_ENDPOINT_URL: {{ . | quote }}
{{- end }}
DAGSTER_HOME: {{ include "fp.dagsterHome" . | quote }}
# Nothing is written outside the mounted directories.
HOME: /tmp
PYTHONDONTWRITEBYTECODE: "1"
PYTHONUNBUFFERED: "1"
FEAST_USAGE: "False"
{{- end -}}

{{/* Variables of one container: dict "root" "redis" (loader, reader or none) "postgres" (whether it speaks to Dagster's storage) "slack" (whether it speaks to Slack, where it has no storage). */}}
{{- define "fp.env" -}}
{{- $values := .root.Values -}}
{{- if and (ne .redis "none") $values.redis.auth.existingSecret }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $values.redis.auth.existingSecret }}
      key: {{ ternary $values.redis.auth.readerPasswordKey $values.redis.auth.loaderPasswordKey (eq .redis "reader") }}
{{- end }}
{{- if eq .redis "reader" }}
- name: FEATURE_PLATFORM_REDIS
  value: {{ include "fp.redisConnection" (dict "root" .root "user" $values.redis.auth.readerUsername "options" $values.redis.readerOptions) | quote }}
{{- else if eq .redis "loader" }}
- name: FEATURE_PLATFORM_REDIS
  value: {{ include "fp.redisConnection" (dict "root" .root "user" $values.redis.auth.loaderUsername "options" "") | quote }}
{{- end }}
{{- if and $values.settings.slack.channel (or .postgres .slack) (ne .redis "none") }}
{{- /* Both or neither: the settings refuse one alone. Only sensors, runs and the watch speak to Slack. */}}
- name: FEATURE_PLATFORM_SLACK_CHANNEL
  value: {{ $values.settings.slack.channel | quote }}
- name: FEATURE_PLATFORM_SLACK_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ $values.settings.slack.existingSecret }}, key: {{ $values.settings.slack.tokenKey }}}
{{- end }}
{{- if .postgres }}
- name: DAGSTER_PG_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $values.postgresql.existingSecret }}, key: {{ $values.postgresql.passwordKey }}}
{{- end }}
{{- with $values.settings.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "fp.envFrom" -}}
- configMapRef: {name: {{ .config }}}
{{- with .root.Values.aws.existingSecret }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end -}}

{{/* Contract files by name, as data of a ConfigMap. */}}
{{- define "fp.contractData" -}}
{{- $files := dict -}}
{{- if .Values.contracts.shipped -}}
{{- range $path, $_ := .Files.Glob "contracts/*" -}}
{{- $_ := set $files (base $path) ($.Files.Get $path) -}}
{{- end -}}
{{- end -}}
{{- range $name, $text := .Values.contracts.files -}}
{{- $_ := set $files $name $text -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{- define "fp.contractsChecksum" -}}{{ include "fp.contractData" . | sha256sum }}{{- end -}}

{{/* Volumes of a platform pod: dict "root" "contracts" "instance" (names of ConfigMaps, left out where empty) "scratch" (size). */}}
{{- define "fp.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
- name: home
  emptyDir: {sizeLimit: {{ .scratch | default "1Gi" }}}
- name: dagster-home
  emptyDir: {sizeLimit: 256Mi}
{{- with .contracts }}
- name: contracts
  configMap: {name: {{ . }}}
{{- end }}
{{- with .instance }}
- name: instance
  configMap: {name: {{ . }}}
{{- end }}
{{- if and .root.Values.redis.tls.enabled .root.Values.redis.tls.existingSecret }}
- name: redis-ca
  secret:
    secretName: {{ .root.Values.redis.tls.existingSecret }}
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- end -}}

{{/* Their mounts; "settings" is the file that is Dagster's dagster.yaml. Contracts are mounted file by file: a directory mount would hold the links by which Kubernetes swaps its content. */}}
{{- define "fp.volumeMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: home, mountPath: {{ include "fp.home" .root }}}
- {name: dagster-home, mountPath: {{ include "fp.dagsterHome" .root }}}
{{- if .contracts }}
{{- range $name, $_ := (include "fp.contractData" .root | fromYaml) }}
- {name: contracts, mountPath: {{ include "fp.contractsDir" $.root }}/{{ $name }}, subPath: {{ $name }}, readOnly: true}
{{- end }}
{{- end }}
{{- if .instance }}
- {name: instance, mountPath: {{ include "fp.dagsterHome" .root }}/dagster.yaml, subPath: {{ .settings | default "dagster.yaml" }}, readOnly: true}
- {name: instance, mountPath: /etc/dagster/workspace.yaml, subPath: workspace.yaml, readOnly: true}
{{- end }}
{{- if and .root.Values.redis.tls.enabled .root.Values.redis.tls.existingSecret }}
- {name: redis-ca, mountPath: {{ include "fp.redisCaDir" .root }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* Init containers that wait for the servers of this release to listen: dict "root" "servers" (names). Without them pods would restart with growing pauses. */}}
{{- define "fp.waitForServers" -}}
{{- $addresses := list -}}
{{- $name := include "fp.fullname" .root -}}
{{- if and (has "postgresql" .servers) .root.Values.postgresql.enabled -}}
{{- $addresses = append $addresses (printf "%s-postgresql:%v" $name .root.Values.postgresql.service.port) -}}
{{- end -}}
{{- if and (has "s3" .servers) .root.Values.s3.enabled -}}
{{- $addresses = append $addresses (printf "%s-s3:8333" $name) -}}
{{- end -}}
{{- if and (has "redis" .servers) .root.Values.redis.enabled -}}
{{- $addresses = append $addresses (printf "%s-redis:%v" $name .root.Values.redis.port) -}}
{{- end -}}
{{- if $addresses }}
initContainers:
  - name: wait-for-servers
    image: {{ include "fp.platformImage" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command:
      - python
      - -c
      - |
        import socket, sys, time
        for address in sys.argv[1:]:
            host, port = address.rsplit(":", 1)
            while True:
                try:
                    socket.create_connection((host, int(port)), timeout=2).close()
                    break
                except OSError as error:
                    print(f"waiting for {address}: {error}", flush=True)
                    time.sleep(1)
      {{- range $addresses }}
      - {{ . }}
      {{- end }}
    resources:
      requests: {cpu: 10m, memory: 32Mi}
      limits: {memory: 64Mi}
    securityContext:
      {{- include "fp.containerSecurityContext" .root | nindent 6 }}
{{- end }}
{{- end -}}

{{/* Values that other values depend on roll the pods that read them. */}}
{{- define "fp.checksums" -}}
checksum/environment: {{ include "fp.environmentData" .root | sha256sum }}
{{- if .contracts }}
checksum/contracts: {{ include "fp.contractsChecksum" .root }}
{{- end }}
{{- if .instance }}
checksum/instance: {{ include "fp.instanceData" .root | sha256sum }}
{{- end }}
{{- end -}}
