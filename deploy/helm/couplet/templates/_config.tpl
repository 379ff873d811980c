{{/* The configuration of each role: as a tree in JSON, and as the TOML file. */}}

{{- define "couplet.common.config" -}}
{{- $full := include "couplet.fullname" . -}}
{{- $hosts := list -}}
{{- range list "edge-admin" "origin-admin" -}}
{{- $service := printf "%s-%s" $full . -}}
{{- $short := printf "%s.%s" $service $.Release.Namespace -}}
{{- $hosts = concat $hosts (list $service $short (printf "%s.svc" $short) (printf "%s.svc.%s" $short $.Values.clusterDomain)) -}}
{{- end -}}
{{- $config := dict
  "domains" .Values.domains
  "log" (dict "level" .Values.log.level "format" .Values.log.format)
  "admin" (dict
    "listen" (printf "%s:%v" .Values.listenAddress .Values.ports.admin)
    "hosts" (concat $hosts .Values.admin.hosts)
    "token_file" "/etc/couplet/admin/token")
  "link" (dict
    "lanes" .Values.link.lanes
    "ca" "/etc/couplet/link/ca.crt"
    "certificate" "/etc/couplet/link/tls.crt"
    "key" "/etc/couplet/link/tls.key")
-}}
{{- with .Values.accessLog }}{{ if .enabled -}}
{{- $_ := set $config "access_log" (dict "folder" .folder "format" .format "rotate_bytes" .rotateBytes "rotate_secs" .rotateSecs "keep" .keep) -}}
{{- with .fields }}{{ $_ := set $config.access_log "fields" . }}{{ end -}}
{{- end }}{{ end -}}
{{- $config | toJson -}}
{{- end -}}

{{- define "couplet.edge.config" -}}
{{- $full := include "couplet.fullname" . -}}
{{- $config := include "couplet.common.config" . | fromJson -}}
{{- $origins := include "couplet.host" (dict "top" . "service" (printf "%s-origin" $full)) -}}
{{- /* The dot at the end: no other domain is searched first. */ -}}
{{- $_ := set $config.link "origins" (list (printf "dns:%s.:%v" $origins .Values.ports.link)) -}}
{{- $_ := set $config "drain" (dict
  "wait_secs" .Values.edge.drain.waitSecs
  "per_second" .Values.edge.drain.perSecond
  "deadline_secs" .Values.edge.drain.deadlineSecs) -}}
{{- $c2s := dict
  "listen" (list (printf "%s:%v" .Values.listenAddress .Values.ports.c2s))
  "tls_listen" (list (printf "%s:%v" .Values.listenAddress .Values.ports.directTls)) -}}
{{- with .Values.proxyProtocol.from }}{{ $_ := set $c2s "proxy_protocol_from" . }}{{ end -}}
{{- $_ := set $config "c2s" $c2s -}}
{{- $_ := set $config "limits" (dict "connections" .Values.edge.connections) -}}
{{- $tls := include "couplet.tls" . | fromJson -}}
{{- $files := dict "certificate" "/etc/couplet/tls/default/tls.crt" "key" "/etc/couplet/tls/default/tls.key" -}}
{{- if $tls.domains -}}
{{- $own := dict -}}
{{- range $tls.domains -}}
{{- $folder := printf "/etc/couplet/tls/%s" .folder -}}
{{- $_ := set $own .domain (dict "certificate" (printf "%s/tls.crt" $folder) "key" (printf "%s/tls.key" $folder)) -}}
{{- end -}}
{{- $_ := set $files "domains" $own -}}
{{- end -}}
{{- $_ := set $config "tls" $files -}}
{{- mustMergeOverwrite $config (deepCopy .Values.config.common) (deepCopy .Values.config.edge) | toJson -}}
{{- end -}}

{{- define "couplet.origin.config" -}}
{{- $config := include "couplet.common.config" . | fromJson -}}
{{- $_ := set $config.link "listen" (printf "%s:%v" .Values.listenAddress .Values.ports.link) -}}
{{- $_ := set $config "drain" (dict "deadline_secs" .Values.origin.drain.deadlineSecs) -}}
{{- $store := dict "key_prefix" .Values.store.keyPrefix -}}
{{- if .Values.store.ca.existingSecret }}{{ $_ := set $store "ca" "/etc/couplet/store/ca.crt" }}{{ end -}}
{{- $_ := set $config "store" $store -}}
{{- $cluster := dict "weight" .Values.origin.weight "join_wait_secs" .Values.origin.joinWaitSecs -}}
{{- with .Values.origin.group }}{{ $_ := set $cluster "group" . }}{{ end -}}
{{- $_ := set $config "cluster" $cluster -}}
{{- mustMergeOverwrite $config (deepCopy .Values.config.common) (deepCopy .Values.config.origin) | toJson -}}
{{- end -}}

{{- define "couplet.edge.toml" -}}
{{- include "couplet.toml" (dict "tree" (include "couplet.edge.config" . | fromJson) "path" "") -}}
{{- end -}}

{{- define "couplet.origin.toml" -}}
{{- include "couplet.toml" (dict "tree" (include "couplet.origin.config" . | fromJson) "path" "") -}}
{{- end -}}

{{/*
A tree as TOML: values first, then sections. Helm's own toToml writes whole numbers as 4.0, because
YAML has only one kind of number.
*/}}
{{- define "couplet.toml" -}}
{{- range $key := keys .tree | sortAlpha }}
{{- $value := get $.tree $key }}
{{- if not (kindIs "map" $value) }}
{{ include "couplet.toml.key" $key }} = {{ include "couplet.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $key := keys .tree | sortAlpha }}
{{- $value := get $.tree $key }}
{{- if kindIs "map" $value }}
{{- $own := include "couplet.toml.key" $key }}
{{- $path := ternary $own (printf "%s.%s" $.path $own) (eq $.path "") }}
[{{ $path }}]
{{- include "couplet.toml" (dict "tree" $value "path" $path) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "couplet.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end -}}

{{- define "couplet.toml.value" -}}
{{- if kindIs "slice" . -}}
{{- $values := list -}}
{{- range . }}{{ $values = append $values (include "couplet.toml.value" .) }}{{ end -}}
[{{ join ", " $values }}]
{{- else if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else if or (kindIs "invalid" .) (kindIs "map" .) -}}
{{- fail (printf "config: %s cannot be written as a value of TOML" (toJson .)) -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}
