{{/* Called with root (the chart's scope) and name; those about pods also with service (its values over the defaults),
signer (whose event key it has), container (the container's name) and probed (whether it answers on the health port). */}}

{{- define "sanolith.selector" -}}
app.kubernetes.io/name: sanolith
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "sanolith.labels" -}}
{{ include "sanolith.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* The settings of one pod that are not those of every pod. */}}
{{- define "sanolith.environment" -}}
{{- $keys := "/etc/sanolith/keys" }}
{{- $signer := .signer }}
{{- $own := dict "SANO_HEALTH_HOST" "0.0.0.0" "SANO_HEALTH_PORT" "8080" "SANO_WORK_DIR" "/var/lib/sanolith" }}
{{- $_ := set $own "SANO_TRUST_FILE" "/etc/sanolith/trust/trust.json" }}
{{- $_ := set $own "SANO_TRUST_ROOT_FILE" "/etc/sanolith/trust/root.pub.pem" }}
{{- if .root.Values.kafkaAuthorities }}{{- $_ := set $own "SANO_KAFKA_SSL_CA_FILE" "/etc/sanolith/kafka/ca.crt" }}{{- end }}
{{- if .service.usesBaseModel }}{{- $_ := set $own "SANO_BASE_MODEL" .root.Values.baseModel.path }}{{- end }}
{{- if .service.usesCluster }}{{- $_ := set $own "SANO_WORKER_JOB_FILE" "/etc/sanolith/worker/job.yaml" }}{{- end }}
{{- if .service.keys }}
{{- range .service.signs }}
{{- $_ := set $own (printf "SANO_%s_KEY" (upper .)) (printf "%s/%s.pem" $keys (ternary (printf "event-%s" $signer) . (eq . "event"))) }}
{{- end }}
{{- end }}
{{- /* The root is read-only: whatever a library writes goes here. */}}
{{- $home := "/home/sanolith" }}
{{- $_ := set $own "HOME" $home }}
{{- $_ := set $own "TMPDIR" "/tmp" }}
{{- range $variable, $folder := dict "XDG_CACHE_HOME" "" "XDG_CONFIG_HOME" "config" "HF_HOME" "huggingface" "TRITON_CACHE_DIR" "triton" "TORCHINDUCTOR_CACHE_DIR" "inductor" "VLLM_CACHE_ROOT" "vllm" }}
{{- $_ := set $own $variable (printf "%s/.cache/%s" $home $folder | trimSuffix "/") }}
{{- end }}
{{- range $variable, $value := mustMergeOverwrite $own .service.settings }}
- name: {{ $variable }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "sanolith.pod" -}}
{{- $values := .root.Values }}
{{- $image := required (printf "images.%s must be set" .service.image) (index $values.images .service.image) }}
serviceAccountName: {{ .root.Release.Name }}-{{ .name }}
automountServiceAccountToken: {{ .service.usesCluster }}
# Of a service of the name sano-… it would make variables that read as settings.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .service.graceSeconds }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $values.user }}
  runAsGroup: {{ $values.user }}
  fsGroup: {{ $values.user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .service.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .service.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .service.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if gt (int .service.replicas) 1 }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "sanolith.selector" . | nindent 8 }}
{{- end }}
{{- if .service.keys }}
initContainers:
  # A volume's files belong to root, readable by a group. Some secrets are refused unless only their owner reads them.
  - name: keys
    image: {{ $image }}
    imagePullPolicy: {{ $values.imagePullPolicy }}
    command: [sh, -c, "install -m 0400 /secrets/* /etc/sanolith/keys/"]
    securityContext: {{- include "sanolith.confined" . | nindent 6 }}
    resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 64Mi}}
    volumeMounts:
      - {name: secrets, mountPath: /secrets, readOnly: true}
      - {name: keys, mountPath: /etc/sanolith/keys}
{{- end }}
containers:
  - name: {{ .container }}
    image: {{ $image }}
    imagePullPolicy: {{ $values.imagePullPolicy }}
    command: [python, -m, {{ .service.module }}]
    envFrom:
      - configMapRef: {name: {{ .root.Release.Name }}-settings}
      {{- range concat $values.secretSettings .service.secretSettings }}
      - secretRef: {name: {{ . }}}
      {{- end }}
    env: {{- include "sanolith.environment" . | nindent 6 }}
    securityContext: {{- include "sanolith.confined" . | nindent 6 }}
    resources: {{- toYaml .service.resources | nindent 6 }}
    {{- if .probed }}
    ports:
      - {name: health, containerPort: 8080}
      {{- with .service.port }}
      - {name: http, containerPort: {{ . }}}
      {{- end }}
    # A process answers from its start; a replica is ready once its model is loaded.
    startupProbe:
      httpGet: {path: {{ ternary "/health/ready" "/health/live" .service.stateful }}, port: health}
      periodSeconds: 5
      timeoutSeconds: 7
      failureThreshold: {{ div (int .service.startSeconds) 5 }}
    livenessProbe:
      httpGet: {path: /health/live, port: health}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /health/ready, port: health}
      periodSeconds: {{ ternary 1 10 .service.stateful }}
      timeoutSeconds: 7
    {{- end }}
    {{- with .service.preStopSeconds }}
    lifecycle:
      preStop: {sleep: {seconds: {{ . }}}}
    {{- end }}
    volumeMounts:
      - {name: temporary, mountPath: /tmp}
      - {name: home, mountPath: /home/sanolith}
      - {name: work, mountPath: /var/lib/sanolith}
      - {name: trust, mountPath: /etc/sanolith/trust, readOnly: true}
      {{- if .service.keys }}
      - {name: keys, mountPath: /etc/sanolith/keys, readOnly: true}
      {{- end }}
      {{- if $values.kafkaAuthorities }}
      - {name: kafka, mountPath: /etc/sanolith/kafka, readOnly: true}
      {{- end }}
      {{- if .service.usesBaseModel }}
      - {name: base-model, mountPath: {{ $values.baseModel.path }}, readOnly: true}
      {{- end }}
      {{- if .service.usesCluster }}
      - {name: worker, mountPath: /etc/sanolith/worker, readOnly: true}
      {{- end }}
      {{- if .service.sharedMemory }}
      - {name: shared-memory, mountPath: /dev/shm}
      {{- end }}
volumes:
  - {name: temporary, emptyDir: {sizeLimit: 1Gi}}
  - {name: home, emptyDir: {sizeLimit: 10Gi}}
  - name: work
    emptyDir: {{- toYaml .service.work | nindent 6 }}
  - {name: trust, configMap: {name: {{ $values.trust }}}}
  {{- if .service.keys }}
  - {name: secrets, secret: {secretName: {{ .service.keys }}, defaultMode: 0440}}
  - {name: keys, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  {{- end }}
  {{- with $values.kafkaAuthorities }}
  - {name: kafka, secret: {secretName: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}}
  {{- end }}
  {{- if .service.usesBaseModel }}
  - name: base-model {{- toYaml $values.baseModel.volume | nindent 4 }}
  {{- end }}
  {{- if .service.usesCluster }}
  - {name: worker, configMap: {name: {{ .root.Release.Name }}-worker}}
  {{- end }}
  {{- with .service.sharedMemory }}
  - {name: shared-memory, emptyDir: {medium: Memory, sizeLimit: {{ . }}}}
  {{- end }}
{{- end }}

{{- define "sanolith.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The Job that attempts are made from: the training service names it, and gives it labels and arguments. */}}
{{- define "sanolith.worker" -}}
{{- $training := mustMergeOverwrite (deepCopy .Values.defaults) (deepCopy .Values.services.training) }}
{{- $service := mustMergeOverwrite $training (deepCopy .Values.worker) }}
{{- $_ := set $service "module" "consumers.training.worker" }}
{{- $_ := set $service "usesCluster" false }}
{{- $scope := dict "root" . "name" "training-worker" "signer" "training" "service" $service "container" "worker" "probed" false }}
apiVersion: batch/v1
kind: Job
metadata:
  labels:
    {{- include "sanolith.selector" $scope | nindent 4 }}
    {{- with .Values.worker.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  ttlSecondsAfterFinished: {{ .Values.worker.ttlSecondsAfterFinished }}
  activeDeadlineSeconds: {{ .Values.worker.activeDeadlineSeconds }}
  template:
    metadata:
      labels: {{- include "sanolith.selector" $scope | nindent 8 }}
    spec:
      restartPolicy: Never
      {{- include "sanolith.pod" $scope | nindent 6 }}
{{- end }}
