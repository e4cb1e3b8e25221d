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

{{/* Call with (list . imageValues); a full reference wins, so that an image can be named by digest. */}}
{{- define "contentgen.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{ default (printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag)) $image.reference }}
{{- end }}

{{- define "contentgen.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "contentgen.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
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

{{- define "contentgen.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "contentgen.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The worker API's address, which workers are given. */}}
{{- define "contentgen.deskUrl" -}}
https://{{ include "contentgen.fullname" . }}-desk.{{ .Release.Namespace }}.svc:8443
{{- end }}

{{/* What the operator puts into the pods of Jobs, as JSON. */}}
{{- define "contentgen.workerPod" -}}
{{- $pod := pick .Values.worker "nodeSelector" "tolerations" "affinity" "priorityClassName" "runtimeClassName" "imagePullSecrets" -}}
{{ merge (dict "labels" .Values.worker.podLabels "annotations" .Values.worker.podAnnotations) $pod | toJson }}
{{- end }}

{{/* Call with (list event weight deletePolicies). */}}
{{- define "contentgen.hook" -}}
helm.sh/hook: {{ index . 0 }}
helm.sh/hook-weight: {{ index . 1 | quote }}
helm.sh/hook-delete-policy: {{ index . 2 }}
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
securityContext:
  {{- include "contentgen.podSecurityContext" $root | nindent 2 }}
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
    securityContext:
      {{- include "contentgen.containerSecurityContext" $root | nindent 6 }}
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

{{/* Where records and files are, as environment variables; the operator and the gateway have the same. */}}
{{- define "contentgen.storeEnv" -}}
{{- $fullname := include "contentgen.fullname" . -}}
{{- $s3Endpoint := include "contentgen.s3Endpoint" . -}}
{{- if or .Values.mongodb.existingSecret (include "contentgen.mongodbUri" .) }}
- name: CONTENTGEN_MONGODB_URI
  valueFrom:
    secretKeyRef:
      name: {{ default (printf "%s-mongodb" $fullname) .Values.mongodb.existingSecret }}
      key: {{ .Values.mongodb.existingSecretKey }}
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
{{- if or .Values.storage.existingSecret (include "contentgen.accessKeyId" .) }}
{{- $storageSecret := default (printf "%s-storage" $fullname) .Values.storage.existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ $storageSecret }}
      key: access-key-id
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $storageSecret }}
      key: secret-access-key
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

{{/* Call with (list . policy namespace): refuses what the policy does, in one namespace or, where that is empty, in all. */}}
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
  {{- with index . 2 }}
  matchResources:
    namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: {{ . }}
  {{- end }}
{{- end }}

{{- define "contentgen.namespaceRule" -}}
# A namespace and a cluster are known by their uids: one that was created again is another tenant. Namespaces are read
# one by one, by name, and never listed.
- apiGroups: [""]
  resources: [namespaces]
  {{- if .Values.watchNamespace }}
  resourceNames: [kube-system, {{ .Values.watchNamespace }}]
  {{- end }}
  verbs: [get]
{{- end -}}
