import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import com.nimbusds.jose.EncryptionMethod;
import com.nimbusds.jose.JWEAlgorithm;
import com.nimbusds.jose.JWEHeader;
import com.nimbusds.jose.JWEObject;
import com.nimbusds.jose.Payload;
import com.nimbusds.jose.crypto.X25519Encrypter;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.OctetKeyPair;
import java.io.File;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.spec.PKCS8EncodedKeySpec;
import java.time.Instant;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.UUID;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Publishes one redacted conversation to Sanolith: its consent, then the example as a proposal. Options and the file are
 * those of publish.py. What the messages look like (topic, type, schema's name) is read from the AsyncAPI document.
 */
public class Publish {
    static final UUID NAMESPACE = UUID.fromString("6f0f3c0a-52b1-5b57-8d2e-9a4a3f8a6a11");
    // Canonical JSON (RFC 8785) of what has no numbers other than integers: sorted names, no spaces.
    static final ObjectMapper JSON = new ObjectMapper().configure(SerializationFeature.ORDER_MAP_ENTRIES_BY_KEYS, true);

    final Map<String, String> given;
    final JsonNode contract;
    final PrivateKey signingKey;

    Publish(Map<String, String> given) throws Exception {
        this.given = given;
        contract = new ObjectMapper(new YAMLFactory()).readTree(new File(given.get("asyncapi")));
        signingKey = ed25519(Files.readString(Path.of(given.get("key"))));
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> given = new HashMap<>();
        for (int at = 0; at + 1 < arguments.length; at += 2) {
            given.put(arguments[at].substring(2), arguments[at + 1]);
        }
        new Publish(given).run(JSON.readTree(new File(arguments[arguments.length - 1])));
    }

    void run(JsonNode example) throws Exception {
        OctetKeyPair key = tenantKey();
        String exampleId = example.get("example_id").asText();
        String consentId = example.get("consent_id").asText();
        long version = example.get("version").asLong();
        Object messages = JSON.convertValue(example.get("messages"), Object.class);
        // The same example has the same salt whenever it is published, and nobody without the key can tell it.
        byte[] name = canonical(new Object[] {given.get("tenant"), exampleId, version, messages});
        byte[] salt = hmac(Files.readAllBytes(Path.of(given.get("salt-key"))), name);

        Map<String, Object> consent = Map.of("consent_id", consentId, "version", 1);
        Map<String, Object> proposal = new TreeMap<>();
        proposal.put("example_id", exampleId);
        proposal.put("version", version);
        proposal.put("source", "publisher");
        proposal.put("consent_id", consentId);
        proposal.put("redaction", JSON.convertValue(example.get("redaction"), Object.class));
        proposal.put("content", sealed(key, messages, salt));

        Properties properties = new Properties();
        properties.put("bootstrap.servers", given.get("bootstrap"));
        properties.put("acks", "all");
        properties.put("enable.idempotence", "true");
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.send(record("consent.granted", consent, consentId + "|1")).get();
            producer.send(record("example.proposed", proposal, exampleId + "|" + version)).get();
        }
        System.out.println("published 2 events for " + given.get("tenant"));
    }

    /** The key to encrypt to. The thumbprint came from the operator, by another way than this one. */
    OctetKeyPair tenantKey() throws Exception {
        for (JWK jwk : JWKSet.load(URI.create(given.get("jwks-url")).toURL()).getKeys()) {
            if (jwk.computeThumbprint().toString().equals(given.get("thumbprint"))) {
                return jwk.toOctetKeyPair();
            }
        }
        throw new IllegalStateException("the tenant's key is not the one that the operator named: nothing was published");
    }

    Map<String, Object> sealed(OctetKeyPair key, Object messages, byte[] salt) throws Exception {
        byte[] content = canonical(Map.of("messages", messages, "salt", HexFormat.of().formatHex(salt)));
        JWEHeader header = new JWEHeader(JWEAlgorithm.ECDH_ES_A256KW, EncryptionMethod.A256GCM);
        JWEObject token = new JWEObject(header, new Payload(content));
        token.encrypt(new X25519Encrypter(key));
        String commitment = HexFormat.of().formatHex(hmac(salt, canonical(messages)));
        return Map.of("reference", Map.of("kind", "jwe", "jwe", token.serialize()), "commitment", commitment);
    }

    ProducerRecord<byte[], byte[]> record(String message, Map<String, Object> data, String naturalKey) throws Exception {
        JsonNode fixed = contract.at("/components/messages/" + message + "/headers/properties");
        String type = fixed.at("/ce_type/const").asText();
        String tenant = given.get("tenant");
        Map<String, String> attributes = new TreeMap<>();
        attributes.put("ce_specversion", "1.0");
        attributes.put("ce_id", uuid5(type + "|" + tenant + "|" + naturalKey).toString());
        attributes.put("ce_type", type);
        attributes.put("ce_dataschema", fixed.at("/ce_dataschema/const").asText());
        attributes.put("ce_source", given.get("source"));
        attributes.put("ce_subject", tenant);
        attributes.put("ce_time", Instant.now().toString());
        attributes.put("content-type", "application/json");
        byte[] value = canonical(data);
        String topic = topic(message);
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, utf8(tenant), value);
        attributes.forEach((name, text) -> record.headers().add(name, utf8(text)));
        record.headers().add("sano_signature", utf8(signature(topic, value, attributes)));
        return record;
    }

    String topic(String message) {
        for (Map.Entry<String, JsonNode> channel : contract.get("channels").properties()) {
            if (channel.getValue().get("messages").has(message)) {
                return channel.getKey();
            }
        }
        throw new IllegalArgumentException("no channel has " + message);
    }

    String signature(String topic, byte[] value, Map<String, String> attributes) throws Exception {
        String digest = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(value));
        Map<String, Object> covered = Map.of("attributes", attributes, "topic", topic, "value_sha256", digest);
        long now = Instant.now().getEpochSecond();
        Map<String, Object> header = Map.of("alg", "Ed25519", "iat", now, "kid", given.get("kid"), "typ", "sano-event+jws");
        String first = b64url(canonical(header));
        Signature signer = Signature.getInstance("Ed25519");
        signer.initSign(signingKey);
        signer.update(utf8(first + "." + b64url(canonical(covered))));
        return first + ".." + b64url(signer.sign());
    }

    static PrivateKey ed25519(String pem) throws Exception {
        String body = pem.replaceAll("-----[A-Z ]+-----|\\s", "");
        return KeyFactory.getInstance("Ed25519")
                .generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(body)));
    }

    static UUID uuid5(String name) throws Exception {
        MessageDigest sha1 = MessageDigest.getInstance("SHA-1");
        ByteBuffer namespace = ByteBuffer.allocate(16);
        namespace.putLong(NAMESPACE.getMostSignificantBits()).putLong(NAMESPACE.getLeastSignificantBits());
        sha1.update(namespace.array());
        ByteBuffer digest = ByteBuffer.wrap(sha1.digest(utf8(name)));
        long most = digest.getLong() & ~0xF000L | 0x5000L;
        long least = digest.getLong() & ~(3L << 62) | (2L << 62);
        return new UUID(most, least);
    }

    static byte[] canonical(Object value) throws Exception {
        return JSON.writeValueAsBytes(value);
    }

    static byte[] hmac(byte[] key, byte[] message) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(message);
    }

    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String b64url(byte[] raw) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(raw);
    }
}
