{{/* Names, labels and images. What several pods share of the platform itself is in _platform.tpl. */}}

{{- define "fp.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels by which one component's pods are selected: dict "root" "component". They never change, selectors cannot. */}}
{{- define "fp.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "fp.labels" -}}
{{ include "fp.selectorLabels" . }}
app.kubernetes.io/part-of: feature-platform
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* repository:tag or repository@digest of an `image` value: dict "image" "tag" (the default tag). */}}
{{- define "fp.image" -}}
{{- $tag := .image.tag | default .tag -}}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}{{ else }}{{ .image.repository }}:{{ $tag }}{{ end -}}
{{- end -}}

{{- define "fp.platformImage" -}}
{{- include "fp.image" (dict "image" .Values.image "tag" .Chart.AppVersion) -}}
{{- end -}}

{{/* Restricted Pod Security, for every pod: dict "user" (numeric id, of the group and of volumes too). */}}
{{- define "fp.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .user | int64 }}
runAsGroup: {{ .user | int64 }}
fsGroup: {{ .user | int64 }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "fp.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where a component's pods may run: the component's values. */}}
{{- define "fp.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The head of every pod spec: dict "root" "account" (service account) "token" (whether its token is mounted). */}}
{{- define "fp.podHead" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: {{ .token }}
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The names of service accounts that have annotations: dict "root" "role". */}}
{{- define "fp.serviceAccount" -}}
{{ include "fp.fullname" .root }}-{{ .role }}
{{- end -}}

{{/* A volume claim of a StatefulSet: dict "persistence". */}}
{{- define "fp.dataClaim" -}}
- metadata:
    name: data
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .persistence.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ .persistence.size }}
{{- end -}}

{{/* A Service in front of a component's pods: dict "root" "component" "name" (of its port) "port" "service" (values with a type and annotations; left out where the component has none). */}}
{{- define "fp.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "fp.fullname" .root }}-{{ .component }}
  labels:
    {{- include "fp.labels" . | nindent 4 }}
  {{- with .service }}{{ with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}{{ end }}
spec:
  {{- with .service }}
  type: {{ .type }}
  {{- end }}
  selector:
    {{- include "fp.selectorLabels" . | nindent 4 }}
  ports:
    - {name: {{ .name }}, port: {{ .port }}, targetPort: {{ .name }}}
{{- end -}}
