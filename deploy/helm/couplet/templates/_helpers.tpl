{{/* Names, labels, and what both roles have in common. */}}

{{- define "couplet.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- /* A pod's name is the node's, which has 64 letters: room for what Kubernetes adds. */ -}}
{{- $full | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: (dict "top" . "component" "edge") */}}
{{- define "couplet.selector" -}}
app.kubernetes.io/name: {{ default .top.Chart.Name .top.Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .top.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "couplet.labels" -}}
{{ include "couplet.selector" . }}
app.kubernetes.io/version: {{ .top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .top.Release.Service }}
app.kubernetes.io/part-of: couplet
helm.sh/chart: {{ printf "%s-%s" .top.Chart.Name .top.Chart.Version | replace "+" "_" }}
{{- with .top.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "couplet.image" -}}
{{- with .Values.image -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "couplet.serviceAccountName" -}}
{{- $own := ternary (include "couplet.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{/* A service of this release as it is looked up: (dict "top" . "service" "x") */}}
{{- define "couplet.host" -}}
{{ .service }}.{{ .top.Release.Namespace }}.svc.{{ .top.Values.clusterDomain }}
{{- end -}}

{{/* Secrets */}}

{{- define "couplet.storeSecret" -}}
{{- if .Values.store.existingSecret.name -}}
{{- .Values.store.existingSecret.name -}}
{{- else if .Values.redis.enabled -}}
{{- include "couplet.redisSecret" . -}}
{{- else -}}
{{- include "couplet.fullname" . }}-store
{{- end -}}
{{- end -}}

{{- define "couplet.storeSecretKey" -}}
{{- ternary .Values.store.existingSecret.key "url" (ne .Values.store.existingSecret.name "") -}}
{{- end -}}

{{- define "couplet.redisSecret" -}}
{{- default (printf "%s-redis" (include "couplet.fullname" .)) .Values.redis.existingSecret -}}
{{- end -}}

{{- define "couplet.adminSecret" -}}
{{- default (printf "%s-admin" (include "couplet.fullname" .)) .Values.admin.existingSecret.name -}}
{{- end -}}

{{/* (dict "top" . "role" "edge") */}}
{{- define "couplet.linkSecret" -}}
{{- $link := .top.Values.link -}}
{{- if eq $link.certificates "existing" -}}
{{- ternary $link.existing.edgeSecret $link.existing.originSecret (eq .role "edge") -}}
{{- else -}}
{{- include "couplet.fullname" .top }}-link-{{ .role }}
{{- end -}}
{{- end -}}

{{/*
Certificates for clients: {default: secret, domains: [{domain, secret, folder, issued}]}, as JSON.
The folder is a number: a domain may have letters a path should not.
*/}}
{{- define "couplet.tls" -}}
{{- $full := include "couplet.fullname" . -}}
{{- $own := dict -}}
{{- range .Values.tls.domains -}}
{{- $_ := set $own .domain .existingSecret -}}
{{- end -}}
{{- $domains := list -}}
{{- range $index, $domain := .Values.domains -}}
{{- $folder := printf "domain-%d" $index -}}
{{- if hasKey $own $domain -}}
{{- $domains = append $domains (dict "domain" $domain "secret" (get $own $domain) "folder" $folder "issued" false) -}}
{{- else if $.Values.tls.certManager.enabled -}}
{{- $domains = append $domains (dict "domain" $domain "secret" (printf "%s-tls-%d" $full $index) "folder" $folder "issued" true) -}}
{{- end -}}
{{- end -}}
{{- $default := .Values.tls.existingSecret -}}
{{- $isMade := and (not $default) (lt (len $domains) (len .Values.domains)) -}}
{{- if $isMade -}}
{{- $default = printf "%s-tls" $full -}}
{{- else if not $default -}}
{{- with first $domains }}{{ $default = .secret }}{{ end -}}
{{- end -}}
{{- dict "default" $default "isMade" $isMade "domains" $domains | toJson -}}
{{- end -}}

{{/* How long the grace periods must be, in seconds. */}}

{{- define "couplet.edge.drainSecs" -}}
{{- $drain := (include "couplet.edge.config" . | fromJson).drain -}}
{{- /* Then two seconds to cut off who is left and to tell the origins, and some to end. */ -}}
{{- add (int $drain.wait_secs) (int $drain.deadline_secs) 5 -}}
{{- end -}}

{{- define "couplet.origin.drainSecs" -}}
{{- $drain := (include "couplet.origin.config" . | fromJson).drain -}}
{{- /* Then two for logins under way, fifteen for commits, two to leave the cluster, and some. */ -}}
{{- add (int $drain.deadline_secs) 22 -}}
{{- end -}}

{{- define "couplet.grace" -}}
{{- $given := int (index .top.Values .role).terminationGracePeriodSeconds -}}
{{- $needed := include (printf "couplet.%s.drainSecs" .role) .top | int -}}
{{- ternary $given (add $needed 10) (gt $given 0) -}}
{{- end -}}

{{/* What the pods of both roles have: (dict "top" . "role" "edge") */}}

{{- define "couplet.podMetadata" -}}
{{- $own := index .top.Values .role -}}
labels:
  {{- include "couplet.labels" (dict "top" .top "component" .role) | nindent 2 }}
  {{- with $own.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # What is read at the start only: a change makes new pods.
  checksum/config: {{ include (printf "couplet.%s.toml" .role) .top | sha256sum }}
  {{- if eq .role "origin" }}
  checksum/store: {{ omit .top.Values.store "url" | toJson | sha256sum }}
  {{- end }}
  {{- with $own.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "couplet.podSpec" -}}
{{- $own := index .top.Values .role -}}
serviceAccountName: {{ include "couplet.serviceAccountName" .top }}
automountServiceAccountToken: false
# Otherwise Kubernetes describes every service in the environment, and COUPLET_… are settings.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "couplet.grace" . }}
{{- with .top.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .top.Values.podSecurityContext | nindent 2 }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $own.topologySpread }}
topologySpreadConstraints:
  {{- range $own.topologySpread }}
  - {{ toYaml . | nindent 4 | trim }}
    labelSelector:
      matchLabels:
        {{- include "couplet.selector" (dict "top" $.top "component" $.role) | nindent 8 }}
    {{- if eq $.role "edge" }}
    # Old pods on their way out do not count while new ones are placed.
    matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "couplet.env" -}}
{{- $own := index .top.Values .role -}}
# The name of the node is that of the pod.
- name: COUPLET_NODE
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
# So that `kubectl exec POD -- couplet ctl nodes` needs nothing else.
- name: COUPLET_CTL_SERVER
  value: http://127.0.0.1:{{ .top.Values.ports.admin }}
- name: COUPLET_CTL_TOKEN_FILE
  value: /etc/couplet/admin/token
{{- if eq .role "origin" }}
- name: COUPLET_STORE__URL
  valueFrom:
    secretKeyRef:
      name: {{ include "couplet.storeSecret" .top }}
      key: {{ include "couplet.storeSecretKey" .top }}
# By its address, not by a name: that is known at once, a name only when name servers have it.
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: COUPLET_LINK__ADVERTISE
  value: {{ printf (ternary "[$(POD_IP)]:%v" "$(POD_IP):%v" .top.Values.ipv6) .top.Values.ports.link | quote }}
{{- end }}
{{- with $own.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "couplet.probes" -}}
livenessProbe:
  httpGet:
    path: /healthz
    port: admin
  {{- toYaml .Values.probes.liveness | nindent 2 }}
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
  {{- toYaml .Values.probes.readiness | nindent 2 }}
startupProbe:
  httpGet:
    path: /readyz
    port: admin
  {{- toYaml .Values.probes.startup | nindent 2 }}
{{- end -}}

{{/* The drain begins here and SIGTERM, which comes next, goes on with it. */}}
{{- define "couplet.lifecycle" -}}
{{- $own := index .top.Values .role -}}
{{- if $own.lifecycle -}}
{{- toYaml $own.lifecycle -}}
{{- else -}}
preStop:
  exec:
    command: [couplet, ctl, drain]
{{- end -}}
{{- end -}}

{{- define "couplet.mounts" -}}
{{- $own := index .top.Values .role -}}
- name: config
  mountPath: /etc/couplet/config
  readOnly: true
- name: link
  mountPath: /etc/couplet/link
  readOnly: true
- name: admin
  mountPath: /etc/couplet/admin
  readOnly: true
{{- if .top.Values.accessLog.enabled }}
- name: access-log
  mountPath: {{ .top.Values.accessLog.folder }}
  # On a volume that pods share each has a folder of its own.
  subPathExpr: $(COUPLET_NODE)
{{- end }}
{{- with $own.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "couplet.volumes" -}}
{{- $own := index .top.Values .role -}}
- name: config
  configMap:
    name: {{ include "couplet.fullname" .top }}-{{ .role }}
- name: link
  secret:
    secretName: {{ include "couplet.linkSecret" . }}
    defaultMode: 0440
- name: admin
  secret:
    secretName: {{ include "couplet.adminSecret" .top }}
    defaultMode: 0440
    items:
      - key: {{ ternary .top.Values.admin.existingSecret.key "token" (ne .top.Values.admin.existingSecret.name "") }}
        path: token
{{- with .top.Values.accessLog }}
{{- if .enabled }}
- name: access-log
  {{- if .volume }}
  {{- toYaml .volume | nindent 2 }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ mul (int64 .rotateBytes) (add (int64 .keep) 2) | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- with $own.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
