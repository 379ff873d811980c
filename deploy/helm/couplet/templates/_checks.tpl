{{/* What the schema cannot see: values that contradict each other. Renders nothing. */}}
{{- define "couplet.checks" -}}
{{- if not .Values.domains -}}
{{- fail "domains is empty: which domains are served? domains: [example.org]" -}}
{{- end -}}
{{- $stores := list -}}
{{- if .Values.store.existingSecret.name }}{{ $stores = append $stores "store.existingSecret.name" }}{{ end -}}
{{- if .Values.store.url }}{{ $stores = append $stores "store.url" }}{{ end -}}
{{- if .Values.redis.enabled }}{{ $stores = append $stores "redis.enabled" }}{{ end -}}
{{- if not $stores -}}
{{- fail "where is Redis? Set store.existingSecret.name or store.url; to try Couplet, redis.enabled" -}}
{{- else if gt (len $stores) 1 -}}
{{- fail (printf "there can be only one store: take out all but one of %s" (join ", " $stores)) -}}
{{- end -}}
{{- range $role := list "common" "edge" "origin" -}}
{{- $given := index $.Values.config $role -}}
{{- if hasKey $given "node" -}}
{{- fail (printf "config.%s.node: every pod would have the same name; it has its own" $role) -}}
{{- end -}}
{{- if hasKey (get $given "store" | default dict) "url" -}}
{{- fail (printf "config.%s.store.url would be in a ConfigMap: use store.existingSecret or store.url" $role) -}}
{{- end -}}
{{- end -}}
{{- include "couplet.checks.drain" . -}}
{{- include "couplet.checks.certificates" . -}}
{{- include "couplet.checks.scaling" . -}}
{{- end -}}

{{- define "couplet.checks.drain" -}}
{{- $config := include "couplet.edge.config" . | fromJson -}}
{{- $pace := int $config.drain.per_second -}}
{{- if gt $pace 0 -}}
{{- $needed := divf (float64 $config.limits.connections) (float64 $pace) -}}
{{- if gt $needed (mulf 0.75 (float64 $config.drain.deadline_secs)) -}}
{{- fail (printf "edge.drain: %v connections at %d a second take %v s, more than three quarters of deadlineSecs (%v): they would be sent away faster than that. Raise edge.drain.deadlineSecs or perSecond, or lower edge.connections" $config.limits.connections $pace (ceil $needed) $config.drain.deadline_secs) -}}
{{- end -}}
{{- end -}}
{{- $joining := int (include "couplet.origin.config" . | fromJson).cluster.join_wait_secs -}}
{{- if lt (int .Values.origin.minReadySeconds) $joining -}}
{{- fail (printf "origin.minReadySeconds is less than joinWaitSecs (%d): the next origin would be replaced while edges may not have found the new one" $joining) -}}
{{- end -}}
{{- range $role := list "edge" "origin" -}}
{{- $grace := include "couplet.grace" (dict "top" $ "role" $role) | int -}}
{{- $needed := include (printf "couplet.%s.drainSecs" $role) $ | int -}}
{{- if lt $grace $needed -}}
{{- fail (printf "%s.terminationGracePeriodSeconds: %d is less than the %d s that its drain may take: Kubernetes would kill it meanwhile. Raise it, set it to 0, or shorten %s.drain" $role $grace $needed $role) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "couplet.checks.certificates" -}}
{{- with .Values.link -}}
{{- if and (eq .certificates "existing") (not (and .existing.edgeSecret .existing.originSecret)) -}}
{{- fail "link.certificates is existing: link.existing.edgeSecret and originSecret say which" -}}
{{- end -}}
{{- if and .existing.edgeSecret (eq .existing.edgeSecret .existing.originSecret) -}}
{{- fail "link.existing: with one secret for both, an edge that is taken over could be an origin" -}}
{{- end -}}
{{- end -}}
{{- with .Values.tls -}}
{{- if and .certManager.enabled (not .certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name is missing: who signs the certificates for clients?" -}}
{{- end -}}
{{- range .domains -}}
{{- if not (has .domain $.Values.domains) -}}
{{- fail (printf "tls.domains: %s is not one of the domains" .domain) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "couplet.checks.scaling" -}}
{{- with .Values.edge -}}
{{- if and .autoscaling.enabled .keda.enabled -}}
{{- fail "edge.autoscaling and edge.keda would work against each other: enable one" -}}
{{- end -}}
{{- range $name := list "autoscaling" "keda" -}}
{{- $scaling := index $.Values.edge $name -}}
{{- if $scaling.enabled -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "edge.%s.minReplicas is more than maxReplicas" $name) -}}
{{- end -}}
{{- if not (or $scaling.cpuPercent $scaling.connections) -}}
{{- fail (printf "edge.%s: set cpuPercent, connections, or both" $name) -}}
{{- end -}}
{{- if gt (int64 $scaling.connections) (int64 $.Values.edge.connections) -}}
{{- fail (printf "edge.%s.connections is more than edge.connections: it would never be reached" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .keda.enabled .keda.connections (not .keda.prometheusAddress) -}}
{{- fail "edge.keda.prometheusAddress is missing: who knows the number of connections?" -}}
{{- end -}}
{{- $none := list "0" "0%" -}}
{{- if and (has (toString .strategy.maxSurge) $none) (has (toString .strategy.maxUnavailable) $none) -}}
{{- fail "edge.strategy: maxSurge and maxUnavailable cannot both be 0" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.accessLog.enabled (not (hasPrefix "/" .Values.accessLog.folder)) -}}
{{- fail "accessLog.folder must begin with a slash" -}}
{{- end -}}
{{- end -}}
