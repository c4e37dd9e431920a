{{/* Dagster's instance: dagster.yaml and workspace.yaml. Keys are in Dagster's words. */}}

{{- define "fp.instanceData" -}}
dagster.yaml: |
  {{- include "fp.dagsterYaml" . | nindent 2 }}
  run_launcher:
    module: dagster_k8s.launcher
    class: K8sRunLauncher
    config:
      {{- include "fp.runLauncher" . | nindent 6 }}
{{- if .Values.dagsterWebserver.readOnly }}
# The launcher speaks to Kubernetes as soon as a page shows the instance's settings, and a read-only webserver has no token.
read-only.yaml: |
  {{- include "fp.dagsterYaml" . | nindent 2 }}
{{- end }}
workspace.yaml: |
  load_from:
    - grpc_server:
        host: {{ include "fp.fullname" . }}-code-location
        port: {{ .Values.codeLocation.port | int64 }}
        # As `dagster dev -m` names it, so that runs queued by one are found by the other.
        location_name: feature_platform.definitions
{{- end -}}

{{- define "fp.dagsterYaml" -}}
storage:
  postgres:
    postgres_db:
      # SQLAlchemy 2.1 takes plain `postgresql` for psycopg 3; dagster-postgres brings psycopg2.
      scheme: postgresql+psycopg2
      username: {{ .Values.postgresql.postgresqlUsername | quote }}
      password: {env: DAGSTER_PG_PASSWORD}
      hostname: {{ include "fp.postgresHost" . }}
      db_name: {{ .Values.postgresql.postgresqlDatabase | quote }}
      port: {{ .Values.postgresql.service.port | int64 }}
      {{- with .Values.postgresql.postgresqlParams }}
      params:
        {{- toYaml . | nindent 8 }}
      {{- end }}
compute_logs:
  module: dagster_aws.s3.compute_log_manager
  class: S3ComputeLogManager
  config:
    bucket: {{ include "fp.logBucket" . | quote }}
    prefix: {{ .Values.instance.computeLogs.prefix | quote }}
    local_dir: /tmp/compute-logs
    skip_empty_files: true
    upload_interval: {{ .Values.instance.computeLogs.uploadIntervalSeconds | int64 }}
    region: {{ .Values.aws.region | quote }}
    {{- with include "fp.s3Endpoint" . }}
    endpoint_url: {{ . }}
    {{- end }}
scheduler:
  module: dagster.core.scheduler
  class: DagsterDaemonScheduler
  config:
    max_catchup_runs: {{ .Values.instance.maxCatchupRuns | int64 }}
concurrency:
  runs:
    max_concurrent_runs: {{ .Values.instance.maxConcurrentRuns | int64 }}
    tag_concurrency_limits:
      - key: feature_platform/queue
        value: daily_features
        limit: {{ .Values.instance.dailyJobLimit | int64 }}
  pools:
    granularity: op
    default_limit: {{ .Values.instance.defaultPoolLimit | int64 }}
# What the platform's own modules warn of, such as an S3 that is waited for, stands in the run's log.
python_logs:
  managed_python_loggers: [feature_platform]
run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: {{ .Values.instance.pollIntervalSeconds | int64 }}
  start_timeout_seconds: {{ .Values.instance.startTimeoutSeconds | int64 }}
  max_runtime_seconds: {{ .Values.instance.maxRuntimeSeconds | int64 }}
  poll_interval_seconds: {{ .Values.instance.pollIntervalSeconds | int64 }}
  # A run that lost its pod is started anew by run_retries: its steps are safe to repeat, resuming is not.
  max_resume_run_attempts: 0
run_retries:
  enabled: true
  max_retries: {{ .Values.instance.maxRetries | int64 }}
  retry_on_asset_or_op_failure: false
retention:
  sensor:
    purge_after_days:
      skipped: {{ .Values.instance.skippedTicksDays | int64 }}
telemetry:
  enabled: false
nux:
  enabled: false
{{- end -}}

{{/* How a run becomes a Job with one pod. The instance travels in the Job's arguments, so run pods mount no dagster.yaml. */}}
{{- define "fp.runLauncher" -}}
job_namespace: {{ .Release.Namespace }}
instance_config_map: {{ include "fp.fullname" . }}-instance
dagster_home: {{ include "fp.dagsterHome" . }}
job_image: {{ include "fp.platformImage" . }}
image_pull_policy: {{ .Values.image.pullPolicy }}
{{- with .Values.imagePullSecrets }}
image_pull_secrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
service_account_name: {{ include "fp.serviceAccount" (dict "root" . "role" "run") }}
fail_pod_on_run_failure: true
labels:
  {{- include "fp.labels" (dict "root" . "component" "run") | nindent 2 }}
resources:
  {{- toYaml .Values.runLauncher.resources | nindent 2 }}
env_config_maps: [{{ include "fp.fullname" . }}-env]
{{- with .Values.aws.existingSecret }}
env_secrets: [{{ . }}]
{{- end }}
{{- $files := dict "root" . "contracts" (printf "%s-contracts" (include "fp.fullname" .)) "instance" "" "scratch" .Values.runLauncher.scratchSize }}
volumes:
  {{- include "fp.volumes" $files | nindent 2 }}
volume_mounts:
  {{- include "fp.volumeMounts" $files | nindent 2 }}
run_k8s_config:
  container_config:
    env:
      {{- include "fp.env" (dict "root" . "redis" "loader" "postgres" true) | nindent 6 }}
    security_context:
      {{- include "fp.containerSecurityContext" . | nindent 6 }}
  pod_template_spec_metadata:
    annotations:
      # A run must not be moved: ending it is losing its work.
      cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
      {{- with .Values.runLauncher.podAnnotations }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  pod_spec_config:
    automount_service_account_token: false
    enable_service_links: false
    security_context:
      {{- include "fp.podSecurityContext" (dict "user" (include "fp.uid" .)) | nindent 6 }}
    {{- include "fp.scheduling" .Values.runLauncher | nindent 4 }}
  job_spec_config:
    # A repeated pod would run one run twice; another attempt is a run of its own.
    backoff_limit: 0
    ttl_seconds_after_finished: {{ .Values.runLauncher.ttlSecondsAfterFinished | int64 }}
only_allow_user_defined_k8s_config_fields:
  {{- toYaml .Values.runLauncher.allowedUserFields | nindent 2 }}
only_allow_user_defined_env_vars: []
{{- end -}}
