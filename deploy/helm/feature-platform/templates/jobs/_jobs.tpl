{{/*
Jobs are Helm hooks, and only Helm hooks: one Argo CD hook beside them would make Argo CD ignore them all. Each may run at every sync, so each is safe to
repeat. A job runs before anything of the release changes ("pre") where the servers it needs are outside the release, and after it ("post") where
the release brings them. Before a release its own ConfigMaps and service accounts are not there yet, so "pre" jobs have copies that are hooks too.
*/}}

{{- define "fp.migrateStage" -}}{{ ternary "post" "pre" .Values.postgresql.enabled }}{{- end -}}
{{- define "fp.applyStage" -}}{{ ternary "post" "pre" .Values.s3.enabled }}{{- end -}}
{{- define "fp.hasPreJobs" -}}
{{- if or (and .Values.dagster.enabled (eq (include "fp.migrateStage" .) "pre")) (eq (include "fp.applyStage" .) "pre") }}true{{ end -}}
{{- end -}}

{{/* The prefix of names of what a job uses: dict "root" "stage". */}}
{{- define "fp.stagePrefix" -}}
{{- include "fp.fullname" .root }}{{ if eq .stage "pre" }}-pre{{ end -}}
{{- end -}}

{{- define "fp.stageHooks" -}}
{{- if eq . "pre" }}pre-install,pre-upgrade{{ else }}post-install,post-upgrade{{ end -}}
{{- end -}}

{{/* Annotations of a hook: dict "hooks" "weight" "keep" (whether it stays after it succeeded, for its log). */}}
{{- define "fp.hook" -}}
helm.sh/hook: {{ .hooks }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation{{ if not .keep }},hook-succeeded{{ end }}
{{- end -}}

{{/* A Job: dict "root" "name" "stage" "hooks" "weight" "redis" "postgres" "contracts" "instance" "command" (YAML) "servers", and "server"
(whether it asks the feature server, and so needs its token and its authority). */}}
{{- define "fp.job" -}}
{{- $root := .root -}}
{{- $prefix := include "fp.stagePrefix" . -}}
{{- $files := dict "root" $root "contracts" (ternary (printf "%s-contracts" $prefix) "" .contracts) "instance" (ternary (printf "%s-instance" $prefix) "" .instance) -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "fp.fullname" $root }}-{{ .name }}
  labels:
    {{- include "fp.labels" (dict "root" $root "component" .name) | nindent 4 }}
  annotations:
    {{- include "fp.hook" (dict "hooks" .hooks "weight" .weight "keep" true) | nindent 4 }}
spec:
  backoffLimit: {{ $root.Values.jobs.backoffLimit | int64 }}
  activeDeadlineSeconds: {{ $root.Values.jobs.activeDeadlineSeconds | int64 }}
  # Helm does not own what hooks made: without it an uninstalled release would leave its jobs behind.
  ttlSecondsAfterFinished: {{ $root.Values.jobs.ttlSecondsAfterFinished | int64 }}
  template:
    metadata:
      labels:
        {{- include "fp.labels" (dict "root" $root "component" .name) | nindent 8 }}
    spec:
      restartPolicy: Never
      {{- include "fp.podHead" (dict "root" $root "account" (printf "%s-jobs" $prefix) "token" false) | nindent 6 }}
      securityContext:
        {{- include "fp.podSecurityContext" (dict "user" (include "fp.uid" $root)) | nindent 8 }}
      {{- include "fp.waitForServers" (dict "root" $root "servers" .servers) | nindent 6 }}
      containers:
        - name: {{ .name }}
          image: {{ include "fp.platformImage" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command:
            {{- .command | nindent 12 }}
          env:
            {{- include "fp.env" (dict "root" $root "redis" .redis "postgres" .postgres) | nindent 12 }}
          envFrom:
            {{- include "fp.envFrom" (dict "root" $root "config" (printf "%s-env" $prefix)) | nindent 12 }}
          resources:
            {{- toYaml $root.Values.jobs.resources | nindent 12 }}
          securityContext:
            {{- include "fp.containerSecurityContext" $root | nindent 12 }}
          volumeMounts:
            {{- include "fp.volumeMounts" $files | nindent 12 }}
            {{- if .server }}
            {{- include "fp.serverSecretMounts" $root | nindent 12 }}
            {{- end }}
      {{- include "fp.scheduling" $root.Values.jobs | nindent 6 }}
      volumes:
        {{- include "fp.volumes" $files | nindent 8 }}
        {{- if .server }}
        {{- include "fp.serverSecretVolumes" $root | nindent 8 }}
        {{- end }}
{{- end -}}
