#!/usr/bin/env bash
# Withdraws an example with command-line tools: openssl makes the id and signs, Kafka's own producer publishes.
#
#   TENANT=t-… SOURCE=/ehr/interface-3 KEY=event.pem KID=… BOOTSTRAP=host:9092 withdraw.sh EXAMPLE REASON
#
# PRODUCER is the command of the producer, kafka-console-producer.sh if unset.
set -euo pipefail
example=$1 reason=$2
topic=sano.curation.v1 type=sano.example.withdrawn

# UUID version 5 (RFC 9562) of a name in the contract's namespace.
uuid5() {
    local digest
    digest=$({ printf '\x6f\x0f\x3c\x0a\x52\xb1\x5b\x57\x8d\x2e\x9a\x4a\x3f\x8a\x6a\x11' && printf %s "$1"; } |
        openssl dgst -sha1 -r | cut -c 1-32)
    printf '%s-%s-5%s-%x%s-%s' "${digest:0:8}" "${digest:8:4}" "${digest:13:3}" \
        $((0x${digest:16:1} & 3 | 8)) "${digest:17:3}" "${digest:20:12}"
}

b64url() { base64 -w 0 | tr '+/' '-_' | tr -d '='; }

value="{\"example_id\":\"$example\",\"reason_code\":\"$reason\"}"
id=$(uuid5 "$type|$TENANT|$example")
time=$(date -u +%Y-%m-%dT%H:%M:%SZ)
schema=urn:sanolith:schema:example.withdrawn:v1
digest=$(printf %s "$value" | openssl dgst -sha256 -r | cut -d ' ' -f 1)

# Canonical JSON: names sorted, no spaces. None of the values has a quote or a backslash in it.
attributes="{\"ce_dataschema\":\"$schema\",\"ce_id\":\"$id\",\"ce_source\":\"$SOURCE\",\"ce_specversion\":\"1.0\""
attributes+=",\"ce_subject\":\"$TENANT\",\"ce_time\":\"$time\",\"ce_type\":\"$type\",\"content-type\":\"application/json\"}"
covered="{\"attributes\":$attributes,\"topic\":\"$topic\",\"value_sha256\":\"$digest\"}"
header="{\"alg\":\"Ed25519\",\"iat\":$(date +%s),\"kid\":\"$KID\",\"typ\":\"sano-event+jws\"}"
first=$(printf %s "$header" | b64url)
signed=$(mktemp)
trap 'rm -f "$signed"' EXIT
printf %s "$first.$(printf %s "$covered" | b64url)" >"$signed"
signature=$(openssl pkeyutl -sign -rawin -inkey "$KEY" -in "$signed" | b64url)

headers="ce_specversion|1.0;ce_id|$id;ce_type|$type;ce_source|$SOURCE;ce_subject|$TENANT;ce_time|$time"
headers+=";ce_dataschema|$schema;content-type|application/json;sano_signature|$first..$signature"
printf '%s\t%s\t%s\n' "$headers" "$TENANT" "$value" | ${PRODUCER:-kafka-console-producer.sh} \
    --bootstrap-server "$BOOTSTRAP" --topic "$topic" --producer-property acks=all \
    --property parse.headers=true --property parse.key=true --property 'headers.separator=;' \
    --property 'headers.key.separator=|' --property 'headers.delimiter=	'
echo "withdrew $example of $TENANT" >&2
