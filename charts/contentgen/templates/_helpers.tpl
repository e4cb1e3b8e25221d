{{- define "contentgen.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The release's name where it already says contentgen. */}}
{{- define "contentgen.fullname" -}}
{{- $name := include "contentgen.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* Call with (list . "component"). */}}
{{- define "contentgen.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "contentgen.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "contentgen.labels" -}}
{{- $root := index . 0 -}}
{{ include "contentgen.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Call with (list . imageValues); a digest wins over the tag, and a full reference over both. */}}
{{- define "contentgen.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $version := printf ":%s" (default $root.Chart.AppVersion $image.tag) -}}
{{- with $image.digest }}{{ $version = printf "@%s" . }}{{ end -}}
{{ default (printf "%s%s" $image.repository $version) $image.reference }}
{{- end }}

{{- define "contentgen.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "contentgen.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{/* Names of the Secrets that are granted as headers of notifications, each once, as JSON. */}}
{{- define "contentgen.headerSecrets" -}}
{{- $names := list -}}
{{- range .Values.notifications.headers -}}
{{- $names = append $names .secret -}}
{{- end -}}
{{ $names | uniq | toJson }}
{{- end }}

{{- define "contentgen.sandboxHost" -}}
{{ include "contentgen.fullname" . }}-sandbox.{{ .Release.Namespace }}.svc
{{- end }}

{{- define "contentgen.mongodbUri" -}}
{{ default (ternary (printf "mongodb://%s:27017/" (include "contentgen.sandboxHost" .)) "" .Values.sandbox.enabled) .Values.mongodb.uri }}
{{- end }}

{{- define "contentgen.s3Endpoint" -}}
{{ default (ternary (printf "http://%s:7070" (include "contentgen.sandboxHost" .)) "" .Values.sandbox.enabled) .Values.storage.endpoint }}
{{- end }}

{{/* Call with (list . givenUrl "path"): the given URL, or the sandbox's, or none for the provider's own. */}}
{{- define "contentgen.providerUrl" -}}
{{- $root := index . 0 -}}
{{ default (ternary (printf "http://%s/%s" (include "contentgen.sandboxHost" $root) (index . 2)) "" $root.Values.sandbox.enabled) (index . 1) }}
{{- end }}

{{/* The sandbox's key pair. Fixed and public on purpose: it opens nothing but a pod that holds demonstration data. */}}
{{- define "contentgen.accessKeyId" -}}
{{ default (ternary "contentgen-sandbox" "" .Values.sandbox.enabled) .Values.storage.accessKeyId }}
{{- end }}

{{- define "contentgen.secretAccessKey" -}}
{{ default (ternary "contentgen-sandbox-secret" "" .Values.sandbox.enabled) .Values.storage.secretAccessKey }}
{{- end }}

{{- define "contentgen.falKey" -}}
{{ default (ternary "sandbox" "" .Values.sandbox.enabled) .Values.providers.fal.key }}
{{- end }}

{{- define "contentgen.assemblyaiKey" -}}
{{ default (ternary "sandbox" "" .Values.sandbox.enabled) .Values.providers.assemblyai.key }}
{{- end }}

{{/* The worker API's address, which workers are given. */}}
{{- define "contentgen.workerApiUrl" -}}
https://{{ include "contentgen.fullname" . }}-worker-api.{{ .Release.Namespace }}.svc:8443
{{- end }}

{{/* What the operator puts into Jobs and their pods, as JSON. */}}
{{- define "contentgen.workerPod" -}}
{{- $worker := .Values.worker -}}
{{- $pod := pick $worker "nodeSelector" "tolerations" "affinity" "priorityClassName" "runtimeClassName" "imagePullSecrets" "jobLabels" "jobAnnotations" -}}
{{- $contexts := dict "securityContext" (default dict $worker.podSecurityContext) "containerSecurityContext" (default dict $worker.securityContext) -}}
{{ merge (dict "labels" $worker.podLabels "annotations" $worker.podAnnotations) $contexts $pod | toJson }}
{{- end }}

{{/* The given tolerations, and short ones for a node that is gone unless they have their own: Kubernetes' are 300 s. */}}
{{- define "contentgen.tolerations" -}}
{{- $all := default list . -}}
{{- range $taint := list "node.kubernetes.io/not-ready" "node.kubernetes.io/unreachable" -}}
{{- $given := false -}}
{{- range $all }}{{ if and (eq (default $taint .key) $taint) (eq (default "NoExecute" .effect) "NoExecute") }}{{ $given = true }}{{ end }}{{ end -}}
{{- if not $given }}{{ $all = append $all (dict "key" $taint "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" 30) }}{{ end -}}
{{- end -}}
{{ toYaml $all }}
{{- end }}

{{/* Call with (list event weight deletePolicies). */}}
{{- define "contentgen.hook" -}}
helm.sh/hook: {{ index . 0 }}
helm.sh/hook-weight: {{ index . 1 | quote }}
helm.sh/hook-delete-policy: {{ index . 2 }}
{{- end }}

{{/* A value as a literal of CEL, where the values of a map may have different types only as dyn. */}}
{{- define "contentgen.cel" -}}
{{- $parts := list -}}
{{- if kindIs "map" . -}}
{{- range $key, $value := . }}{{ $parts = append $parts (printf "%s: dyn(%s)" ($key | toJson) (include "contentgen.cel" $value)) }}{{ end -}}
{{ printf "{%s}" (join ", " $parts) }}
{{- else if kindIs "slice" . -}}
{{- range . }}{{ $parts = append $parts (printf "dyn(%s)" (include "contentgen.cel" .)) }}{{ end -}}
{{ printf "[%s]" (join ", " $parts) }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end }}

{{/* Labels as a selector's text. */}}
{{- define "contentgen.selector" -}}
{{- $terms := list -}}
{{- range $name, $value := . }}{{ $terms = append $terms (printf "%s=%s" $name $value) }}{{ end -}}
{{ join "," $terms }}
{{- end }}

{{/* Call with (list . serviceAccount module): a pod of the operator's image that runs one of its modules; args follow. */}}
{{- define "contentgen.hookPod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ index . 1 }}
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
containers:
  - name: {{ index . 2 }}
    image: {{ include "contentgen.image" (list $root $root.Values.image) }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    command: [python3, -m, contentgen_operator.{{ index . 2 }}]
    {{- with $root.Values.securityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    resources:
      {{- toYaml $root.Values.hooks.resources | nindent 6 }}
    volumeMounts:
      - name: tmp
        mountPath: /tmp
{{- end }}

{{/*
A warning for each key that a Secret of the user's lacks; call with (list . value secret keys consequence). Rendered without
a cluster nothing can be looked up, and nothing is said.
*/}}
{{- define "contentgen.missing" -}}
{{- $root := index . 0 -}}
{{- $secret := index . 2 -}}
{{- if and $secret (lookup "v1" "Namespace" "" "kube-system") -}}
{{- $data := get (lookup "v1" "Secret" $root.Release.Namespace $secret) "data" | default dict -}}
{{- range $key := index . 3 }}
{{- if not (hasKey $data $key) }}

WARNING: {{ index $ 1 }} names the Secret {{ $secret }}, which lacks the key {{ $key }}: {{ index $ 4 }} until it is there.
{{- end }}
{{- end }}
{{- end -}}
{{- end }}

{{/* The Secrets with MongoDB's URI and the S3 key; empty where nobody named any. */}}
{{- define "contentgen.mongodbSecret" -}}
{{- $own := ternary (printf "%s-mongodb" (include "contentgen.fullname" .)) "" (ne (include "contentgen.mongodbUri" .) "") -}}
{{ default $own .Values.mongodb.existingSecret }}
{{- end }}

{{- define "contentgen.storageSecret" -}}
{{- $own := ternary (printf "%s-storage" (include "contentgen.fullname" .)) "" (ne (include "contentgen.accessKeyId" .) "") -}}
{{ default $own .Values.storage.existingSecret }}
{{- end }}

{{/* Where records and files are, as environment variables; the operator and the gateway have the same. */}}
{{- define "contentgen.storeEnv" -}}
{{- $s3Endpoint := include "contentgen.s3Endpoint" . -}}
{{- if include "contentgen.mongodbSecret" . }}
- name: CONTENTGEN_MONGODB_URI_FILE
  value: /etc/contentgen/mongodb/uri
{{- end }}
- name: CONTENTGEN_MONGODB_DATABASE
  value: {{ .Values.mongodb.database | quote }}
- name: CONTENTGEN_S3_ENDPOINT
  value: {{ $s3Endpoint | quote }}
- name: CONTENTGEN_S3_PUBLIC_ENDPOINT
  value: {{ default $s3Endpoint .Values.storage.publicEndpoint | quote }}
- name: CONTENTGEN_S3_REGION
  value: {{ .Values.storage.region | quote }}
- name: CONTENTGEN_S3_BUCKET
  value: {{ .Values.storage.bucket | quote }}
{{- if include "contentgen.storageSecret" . }}
- name: CONTENTGEN_S3_KEY_FOLDER
  value: /etc/contentgen/storage
{{- end }}
{{- end }}

{{/* Proxy of workers as JSON; empty for none. Work orders have it, and others may read a work order. */}}
{{- define "contentgen.workerProxy" -}}
{{- $proxy := .Values.proxy -}}
{{- $url := default $proxy.https $proxy.workers.https -}}
{{- if not (or (eq $url "") (eq $url "none")) -}}
{{- if not (regexMatch "^http://(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?$" $url) -}}
{{- fail "proxy.https has a password, a path or is not http://, which workers do not use: set proxy.workers.https to another proxy, or to none" -}}
{{- end -}}
{{- dict "url" $url "exceptions" $proxy.exceptions "stores" $proxy.workers.stores "resolvesNames" $proxy.workers.resolvesNames | toJson -}}
{{- end -}}
{{- end }}

{{/* Address and port of the workers' proxy, [CIDR, port] as JSON; empty if it is a name, which a NetworkPolicy cannot have. */}}
{{- define "contentgen.workerProxyAddress" -}}
{{- with include "contentgen.workerProxy" . -}}
{{- $url := urlParse (fromJson .).url -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default "80" | int -}}
{{- if contains ":" $url.hostname -}}
{{- list (printf "%s/128" $url.hostname) $port | toJson -}}
{{- else if regexMatch "^[0-9]+(\\.[0-9]+){3}$" $url.hostname -}}
{{- list (printf "%s/32" $url.hostname) $port | toJson -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Their Secrets as files. Whole folders: a file that is mounted by subPath never changes. */}}
{{- define "contentgen.storeMounts" -}}
{{- if include "contentgen.mongodbSecret" . }}
- name: mongodb
  mountPath: /etc/contentgen/mongodb
  readOnly: true
{{- end }}
{{- if include "contentgen.storageSecret" . }}
- name: storage
  mountPath: /etc/contentgen/storage
  readOnly: true
{{- end }}
{{- if .Values.caBundle.configMap }}
- name: ca
  mountPath: /etc/contentgen/ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "contentgen.storeVolumes" -}}
{{- with include "contentgen.mongodbSecret" . }}
- name: mongodb
  secret:
    secretName: {{ . }}
    items: [{key: {{ $.Values.mongodb.existingSecretKey | quote }}, path: uri}]
{{- end }}
{{- with include "contentgen.storageSecret" . }}
- name: storage
  secret:
    secretName: {{ . }}
    items:
      - {key: access-key-id, path: access-key-id}
      - {key: secret-access-key, path: secret-access-key}
{{- end }}
{{- with .Values.caBundle }}
{{- if .configMap }}
- name: ca
  configMap:
    name: {{ .configMap }}
    items: [{key: {{ .key | quote }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end }}

{{- define "contentgen.gatewayServiceAccountName" -}}
{{- if .Values.gateway.serviceAccount.create -}}
{{ default (printf "%s-gateway" (include "contentgen.fullname" .)) .Values.gateway.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.gateway.serviceAccount.name }}
{{- end -}}
{{- end }}

{{/* Where people reach the gateway; empty where nobody said. */}}
{{- define "contentgen.gatewayUrl" -}}
{{- $ingress := .Values.gateway.ingress -}}
{{- $scheme := ternary "https" "http" (or (ne $ingress.tlsSecret "") .Values.gateway.externalTls) -}}
{{ default (ternary (printf "%s://%s" $scheme $ingress.host) "" $ingress.enabled) .Values.gateway.url }}
{{- end }}

{{/* The operator's user name, as the API server knows it. */}}
{{- define "contentgen.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "contentgen.serviceAccountName" . }}
{{- end }}

{{- define "contentgen.gatewayUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "contentgen.gatewayServiceAccountName" . }}
{{- end }}

{{- define "contentgen.operatorClass" -}}
{{ .Values.operatorClass }}
{{- end }}

{{/* The operator class of a resource as an expression of CEL; call with object or oldObject. */}}
{{- define "contentgen.classOf" -}}
(has({{ . }}.spec.operatorClass) ? {{ . }}.spec.operatorClass : 'default')
{{- end }}

{{/* The namespaces of the list, as JSON; none: all, or those of the selector. */}}
{{- define "contentgen.watchNamespaces" -}}
{{- $names := default list .Values.watchNamespaces -}}
{{- if and $names (include "contentgen.watchSelector" .) -}}
{{- fail "watchNamespaces and watchNamespaceSelector are set: expected one of them" -}}
{{- end -}}
{{ $names | toJson }}
{{- end }}

{{/* The selector of namespaces, as JSON; empty where there is none. */}}
{{- define "contentgen.watchSelector" -}}
{{- with .Values.watchNamespaceSelector -}}
{{- if not (or .matchLabels .matchExpressions) -}}
{{- fail "watchNamespaceSelector: expected matchLabels or matchExpressions with one term or more; without any it would select all namespaces" -}}
{{- end -}}
{{ . | toJson }}
{{- end -}}
{{- end }}

{{/*
The namespaces of the list where this release has Roles, as JSON. One that does not exist is left out, because a Role in it
would make the upgrade of all others fail; NOTES names it. Rendered without a cluster nothing can be looked up: all. Helm
makes the release's own namespace after it has rendered.
*/}}
{{- define "contentgen.roleNamespaces" -}}
{{- $there := list -}}
{{- $unseen := not (lookup "v1" "Namespace" "" "kube-system") -}}
{{- range include "contentgen.watchNamespaces" . | fromJsonArray -}}
{{- if or $unseen (eq . $.Release.Namespace) (lookup "v1" "Namespace" "" .) }}{{ $there = append $there . }}{{ end -}}
{{- end -}}
{{ $there | toJson }}
{{- end }}

{{/* The namespaces that are worked in, as a LabelSelector; {} for all. */}}
{{- define "contentgen.namespaceSelector" -}}
{{- $names := include "contentgen.watchNamespaces" . | fromJsonArray -}}
{{- if $names -}}
{{ dict "matchExpressions" (list (dict "key" "kubernetes.io/metadata.name" "operator" "In" "values" $names)) | toYaml }}
{{- else -}}
{{ default dict .Values.watchNamespaceSelector | toYaml }}
{{- end -}}
{{- end }}

{{/* The same for operator and gateway, as environment variables. */}}
{{- define "contentgen.watchEnv" -}}
- name: CONTENTGEN_WATCH_NAMESPACES
  value: {{ include "contentgen.watchNamespaces" . | quote }}
- name: CONTENTGEN_WATCH_NAMESPACE_SELECTOR
  value: {{ include "contentgen.watchSelector" . | quote }}
{{- end }}

{{/* yes: the operator that is deployed works in no namespace that these values do not select. By its environment. */}}
{{- define "contentgen.selectsNoLess" -}}
{{- $names := include "contentgen.watchNamespaces" . | fromJsonArray -}}
{{- $labels := include "contentgen.watchSelector" . -}}
{{- $env := dict -}}
{{- with lookup "apps/v1" "Deployment" .Release.Namespace (include "contentgen.fullname" .) -}}
{{- range (first .spec.template.spec.containers).env }}{{ $_ := set $env .name (default "" .value) }}{{ end -}}
{{- end -}}
{{- $before := get $env "CONTENTGEN_WATCH_NAMESPACES" | default "[]" | fromJsonArray -}}
{{- $gone := list -}}
{{- range $before }}{{ if not (has . $names) }}{{ $gone = append $gone . }}{{ end }}{{ end -}}
{{- if or (and $before (not $gone)) (and $labels (eq $labels (get $env "CONTENTGEN_WATCH_NAMESPACE_SELECTOR"))) -}}
yes
{{- end -}}
{{- end }}

{{/*
Call with (list . policy where): refuses what the policy does; where: watched, or empty for all namespaces. A fourth item
names the policy's parameter; where there is none, the policy refuses nothing.
*/}}
{{- define "contentgen.policyBinding" -}}
{{- $root := index . 0 -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ index . 1 }}
  labels:
    {{- include "contentgen.labels" (list $root "admission") | nindent 4 }}
spec:
  policyName: {{ index . 1 }}
  validationActions: [Deny]
  {{- if gt (len .) 3 }}
  paramRef:
    name: {{ index . 3 }}
    parameterNotFoundAction: Allow
  {{- end }}
  {{- $selector := include "contentgen.namespaceSelector" $root }}
  {{- if and (index . 2) (ne $selector "{}") }}
  matchResources:
    namespaceSelector:
      {{- $selector | nindent 6 }}
  {{- end }}
{{- end }}

{{- define "contentgen.namespaceRule" -}}
{{- $names := include "contentgen.watchNamespaces" . | fromJsonArray -}}
# A namespace and a cluster are known by their uids: one that was created again is another tenant. Namespaces are read
# one by one, by name; they are listed only where a selector asks for their labels.
- apiGroups: [""]
  resources: [namespaces]
  {{- if $names }}
  resourceNames: {{ prepend $names "kube-system" | uniq | toJson }}
  {{- end }}
  verbs: [get{{ if include "contentgen.watchSelector" . }}, list, watch{{ end }}]
{{- end -}}

{{/*
Call with (list . component constraints): over nodes where there are several, and the user's constraints. The API server
refuses two constraints with the same key and the same whenUnsatisfiable: then the user's is the only one.
*/}}
{{- define "contentgen.spread" -}}
{{- $given := false -}}
{{- range index . 2 }}
{{- if and (eq .topologyKey "kubernetes.io/hostname") (eq .whenUnsatisfiable "ScheduleAnyway") }}{{ $given = true }}{{ end -}}
{{- end -}}
{{- if not $given }}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "contentgen.selectorLabels" (list (index . 0) (index . 1)) | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- with index . 2 }}
{{ toYaml . }}
{{- end }}
{{- end }}
