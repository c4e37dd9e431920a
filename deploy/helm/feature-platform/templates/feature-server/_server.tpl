{{/* The feature server's own Secrets, mounted as directories: files in them follow the Secret, so tokens and certificates change without a restart. */}}

{{- define "fp.serverSecretVolumes" -}}
{{- with .Values.featureServer.tokens.existingSecret }}
- name: tokens
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.featureServer.tls.existingSecret }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{- define "fp.serverSecretMounts" -}}
{{- if .Values.featureServer.tokens.existingSecret }}
- {name: tokens, mountPath: /etc/feature-server/tokens, readOnly: true}
{{- end }}
{{- if .Values.featureServer.tls.existingSecret }}
- {name: tls, mountPath: /etc/feature-server/tls, readOnly: true}
{{- end }}
{{- end -}}

{{/* How the verification reaches it. */}}
{{- define "fp.serverOptions" -}}
{{- $server := .Values.featureServer -}}
- --server={{ ternary "https" "http" (ne $server.tls.existingSecret "") }}://{{ include "fp.fullname" . }}-feature-server:{{ $server.service.port }}
{{- if $server.tokens.existingSecret }}
- --tokens=/etc/feature-server/tokens/{{ $server.tokens.key }}
{{- end }}
{{- if $server.tls.existingSecret }}
- --ca=/etc/feature-server/tls/ca.crt
{{- end }}
{{- end -}}
