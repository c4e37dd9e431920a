{{/*
Who speaks to whom. Each component: "in" (ports, and from which components, namespace or given peers) and "out" (a component, or addresses outside).
Whoever goes out to a component is let in by it: both ends are written from the same lists.
*/}}
{{- define "fp.flows" -}}
{{- $values := .Values -}}
{{- $policy := $values.networkPolicy -}}
{{- $https := dict "cidr" $policy.https.cidr "ports" $policy.https.ports "except" $policy.https.except -}}
{{- $api := dict "cidr" $policy.kubernetesApi.cidr "ports" $policy.kubernetesApi.ports -}}
{{- $s3 := list $https -}}
{{- if $values.s3.enabled }}{{ $s3 = list $https (dict "component" "s3" "ports" (list 8333)) }}{{ end -}}
{{- $redis := dict "cidr" $policy.redisCidr "ports" (include "fp.externalRedisPorts" . | fromYamlArray) -}}
{{- if $values.redis.enabled }}{{ $redis = dict "component" "redis" "ports" (list $values.redis.port) }}{{ end -}}
{{- $postgres := dict "cidr" $policy.postgresqlCidr "ports" (list $values.postgresql.service.port) -}}
{{- if $values.postgresql.enabled }}{{ $postgres = dict "component" "postgresql" "ports" (list $values.postgresql.service.port) }}{{ end -}}
{{- $code := dict "component" "code-location" "ports" (list $values.codeLocation.port) -}}
{{- $server := dict "component" "feature-server" "ports" (list 6566) -}}
{{- $dagster := ternary (list "webserver" "daemon" "code-location" "run" "migrate") list $values.dagster.enabled -}}
{{- /* The code location too: people execute `feast materialize` in its pod. */ -}}
{{- $loaders := ternary (list "run" "code-location" "apply" "verify") (list "apply" "verify") $values.dagster.enabled -}}
{{- $flows := dict -}}
{{- if $values.dagster.enabled -}}
{{- $_ := set $flows "webserver" (dict
  "in" (list (dict "port" 3000 "peers" $policy.webserverFrom "namespace" (not $policy.webserverFrom) "components" (ternary (list "watch") list $values.watch.enabled)))
  "out" (concat $s3 (list $postgres $code $api))) -}}
{{- $_ := set $flows "cleanup" (dict "out" (list $api)) -}}
{{- $_ := set $flows "daemon" (dict "out" (concat $s3 (list $postgres $code $api))) -}}
{{- $_ := set $flows "code-location" (dict
  "in" (list (dict "port" $values.codeLocation.port "components" (list "webserver" "daemon")))
  "out" (concat $s3 (list $postgres $redis))) -}}
{{- $_ := set $flows "run" (dict "out" (concat $s3 (list $postgres $redis))) -}}
{{- $_ := set $flows "migrate" (dict "out" (concat $s3 (list $postgres))) -}}
{{- if $values.postgresql.enabled -}}
{{- $_ := set $flows "postgresql" (dict "in" (list (dict "port" $values.postgresql.service.port "components" $dagster))) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $flows "apply" (dict "out" (concat $s3 (list $redis))) -}}
{{- $_ := set $flows "verify" (dict "out" (concat $s3 (list $redis $server))) -}}
{{- if $values.featureServer.enabled -}}
{{- $_ := set $flows "feature-server" (dict
  "in" (list (dict "port" 6566 "peers" $policy.featureServerFrom "namespace" (not $policy.featureServerFrom) "components" (list "verify")))
  "out" (concat $s3 (list $redis))) -}}
{{- $loaders = append $loaders "feature-server" -}}
{{- end -}}
{{- if $values.watch.enabled -}}
{{- $_ := set $flows "watch" (dict
  "in" (list (dict "port" 9108 "peers" $policy.metricsFrom "namespace" (not $policy.metricsFrom)))
  "out" (concat $s3 (list $redis) (ternary (list (dict "component" "webserver" "ports" (list 3000))) list $values.dagster.enabled))) -}}
{{- $loaders = append $loaders "watch" -}}
{{- end -}}
{{- if $values.redis.enabled -}}
{{- $_ := set $flows "redis" (dict "in" (list (dict "port" $values.redis.port "components" $loaders "peers" $policy.redisFrom))) -}}
{{- end -}}
{{- if $values.s3.enabled -}}
{{- $clients := concat $dagster (list "apply" "verify") -}}
{{- if $values.featureServer.enabled }}{{ $clients = append $clients "feature-server" }}{{ end -}}
{{- if $values.watch.enabled }}{{ $clients = append $clients "watch" }}{{ end -}}
{{- $_ := set $flows "s3" (dict "in" (list (dict "port" 8333 "components" $clients))) -}}
{{- end -}}
{{- toYaml $flows -}}
{{- end -}}

{{/* The ports of an external Redis, from its address. */}}
{{- define "fp.externalRedisPorts" -}}
{{- $ports := list -}}
{{- range splitList "," .Values.redis.external.address -}}
{{- $ports = append $ports (int (last (splitList ":" .))) -}}
{{- end -}}
{{- toYaml (uniq $ports) -}}
{{- end -}}
