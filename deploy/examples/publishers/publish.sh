#!/usr/bin/env bash
# Publishes an event without content, with command-line tools: yq and jq read the contract and hold the data against
# it, openssl makes the id and signs, Kafka's own producer publishes.
#
#   ASYNCAPI=asyncapi.yaml TENANT=t-… SOURCE=/ehr/interface-3 KEY=event.pem KID=… BOOTSTRAP=host:9092 \
#       publish.sh consent.granted '{"consent_id": "consent-7", "version": 1}'
#
# PRODUCER is the command of the producer, kafka-console-producer.sh if unset. yq may be either of the two programs of
# that name.
set -euo pipefail
message=$1 data=$2
contract=$(yq -o=json . "$ASYNCAPI" 2>/dev/null || yq . "$ASYNCAPI")

# What the contract says of this message.
of_contract() { jq -er --arg message "$message" "$@" <<<"$contract"; }

# The base of a JSON Schema: fields, their types and patterns. Consumers look at the rest.
fits() {
    of_contract --argjson data "$data" '
        .components.schemas[.components.messages[$message].payload["$ref"] | split("/") | last] as $schema
        | (($data | keys) - ($schema.properties | keys) == []) and ($schema.required - ($data | keys) == [])
          and ([$data | to_entries[] | $schema.properties[.key] as $rule | .value
                | if $rule.type == "string" then type == "string" and test($rule.pattern // "")
                  elif $rule.type == "integer" then type == "number" and . == floor and . >= ($rule.minimum // .)
                  else true end] | all)' >/dev/null
}

# UUID version 5 (RFC 9562) of a name in the contract's namespace.
uuid5() {
    local digest
    digest=$({ printf '\x6f\x0f\x3c\x0a\x52\xb1\x5b\x57\x8d\x2e\x9a\x4a\x3f\x8a\x6a\x11' && printf %s "$1"; } |
        openssl dgst -sha1 -r | cut -c 1-32)
    printf '%s-%s-5%s-%x%s-%s' "${digest:0:8}" "${digest:8:4}" "${digest:13:3}" \
        $((0x${digest:16:1} & 3 | 8)) "${digest:17:3}" "${digest:20:12}"
}

b64url() { base64 -w 0 | tr '+/' '-_' | tr -d '='; }

# Canonical JSON: names sorted, no spaces.
canonical() { jq -cSn "$@"; }

topic=$(of_contract '.channels[] | select(.messages[$message]) | .address') ||
    { echo "refused: the contract has no message $message" >&2 && exit 1; }
fits || { echo "refused: the data is not of the contract's shape for $message" >&2 && exit 1; }
type=$(of_contract '.components.messages[$message].headers.properties.ce_type.const')
schema=$(of_contract '.components.messages[$message].headers.properties.ce_dataschema.const')
natural_key=$(of_contract --argjson data "$data" \
    '[.components.messages[$message]["x-natural-key"][] as $field | $data[$field] | tostring] | join("|")')

value=$(canonical --argjson data "$data" '$data')
attributes=$(canonical --arg ce_specversion 1.0 --arg ce_type "$type" --arg ce_source "$SOURCE" \
    --arg ce_subject "$TENANT" --arg ce_id "$(uuid5 "$type|$TENANT|$natural_key")" --arg ce_dataschema "$schema" \
    --arg ce_time "$(date -u +%Y-%m-%dT%H:%M:%SZ)" --arg content-type application/json '$ARGS.named')
covered=$(canonical --argjson attributes "$attributes" --arg topic "$topic" \
    --arg value_sha256 "$(printf %s "$value" | openssl dgst -sha256 -r | cut -d ' ' -f 1)" '$ARGS.named')
header=$(canonical --arg kid "$KID" --argjson iat "$(date +%s)" '{alg: "Ed25519", $iat, $kid, typ: "sano-event+jws"}')
first=$(printf %s "$header" | b64url)
signed=$(mktemp)
trap 'rm -f "$signed"' EXIT
printf %s "$first.$(printf %s "$covered" | b64url)" >"$signed"
signature=$(openssl pkeyutl -sign -rawin -inkey "$KEY" -in "$signed" | b64url)

headers=$(jq -r --arg sano_signature "$first..$signature" '. + $ARGS.named | map_values(tostring) | to_entries
    | map("\(.key)|\(.value)") | join(";")' <<<"$attributes")
printf '%s\t%s\t%s\n' "$headers" "$TENANT" "$value" | ${PRODUCER:-kafka-console-producer.sh} \
    --bootstrap-server "$BOOTSTRAP" --topic "$topic" --producer-property acks=all \
    --property parse.headers=true --property parse.key=true --property 'headers.separator=;' \
    --property 'headers.key.separator=|' --property 'headers.delimiter=	'
echo "published $message of $TENANT" >&2
