"""Bearer tokens that attackers made: by what they know, none may be taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey

from schemas.evidence.purposes import Purpose
from tenancy.evidence.keys import LocalKey
from tenancy.evidence.signer import Signer
from tenancy.tokens import AUDIENCE, ISSUER

VICTIM = "victim"
ALGORITHM = "Ed25519"


@dataclass(frozen=True)
class Forger:
    """Has everything but the signing key; ``ours`` signs only what an issuer with a defect would."""

    ours: Signer
    now: int

    def claims(self, **changed: Any) -> dict[str, Any]:
        made = {"iss": ISSUER, "aud": AUDIENCE, "sub": VICTIM, "iat": self.now, "exp": self.now + 600, "jti": "x"}
        return {name: value for name, value in {**made, **changed}.items() if value is not ...}

    def signed(self, claims: Any, signer: Signer | None = None, **header: Any) -> str:
        """By hand, so that nothing is too odd to be signed."""
        header = {"alg": ALGORITHM, "kid": self.ours.key_id, "typ": "JWT", **header}
        body = f"{part(header)}.{claims if isinstance(claims, str) else part(claims)}"
        return f"{body}.{encoded((signer or self.ours).key.sign(body.encode()))}"


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def part(held: Any) -> str:
    return encoded(json.dumps(held).encode())


def forged(ours: Signer, now: int) -> Iterator[tuple[str, str]]:
    """What the attacker does, and the token."""
    forger = Forger(ours, now)
    strange = LocalKey.generate()
    stranger = Signer.of(Purpose.TOKEN, strange)
    kid = {"kid": ours.key_id, "typ": "JWT"}
    claims, good = forger.claims(), forger.signed(forger.claims(sub="attacker"))
    head, body, signature = good.split(".")
    public = ours.key.public_key
    pem, raw = (
        public.pem(),
        public.inner.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
    )
    jwk = OKPKey.import_key(strange.pem())
    yield "signs with a key of its own", forger.signed(claims, stranger)
    yield "brings its key in the header", forger.signed(claims, stranger, jwk=jwk.as_dict(private=False))
    yield "names a key to fetch", forger.signed(claims, stranger, jku="http://127.0.0.1:1/keys", kid="1")
    yield "names a certificate to fetch", forger.signed(claims, stranger, x5u="http://127.0.0.1:1/c", x5c=["AA=="])
    yield "names a key by a path", forger.signed(claims, stranger, kid="../../../../dev/null")
    for algorithm in ("none", "None", "NONE", "", None, [ALGORITHM], {"a": 1}):
        unsigned = f"{part({'alg': algorithm, **kid})}.{part(claims)}"
        yield f"says that it is signed by {algorithm!r}", f"{unsigned}."
        yield f"the same with a signature that is somebody's ({algorithm!r})", f"{unsigned}.{signature}"
    for name, secret in (("PEM", pem), ("bytes", raw[-32:]), ("nothing", b"")):
        for algorithm, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
            symmetric = f"{part({'alg': algorithm, **kid})}.{part(claims)}"
            tag = hmac.new(secret, symmetric.encode(), digest).digest()
            yield f"{algorithm} with the public key's {name} as the secret", f"{symmetric}.{encoded(tag)}"
    elliptic = ECKey.generate_key("P-256")
    yield "another algorithm", jwt.encode({"alg": "ES256", **kid}, claims, elliptic, algorithms=["ES256"])
    yield "puts a victim's claims under its own signature", f"{head}.{part(claims)}.{signature}"
    yield "cuts the signature off", f"{head}.{body}."
    yield "makes the signature zero", f"{head}.{body}.{encoded(bytes(64))}"
    yield "turns the signature round", f"{head}.{body}.{signature[::-1]}"
    yield "adds a part", f"{good}.{signature}"
    yield "encrypts it", f"{head}..{body}.{body}.{signature}"
    yield "critical header", forger.signed(claims, crit=["b64"], b64=False)
    yield "uses a token that has run out", forger.signed(forger.claims(exp=now - 1))
    yield "uses a token before its time", forger.signed(forger.claims(nbf=now + 3600))
    yield "uses a token that is issued in the future", forger.signed(forger.claims(iat=now + 3600, exp=now + 7200))
    for value in ("soon", None, True, [now + 60], {"a": 1}, "9" * 5_000):
        yield f"an expiry of type {type(value).__name__}", forger.signed(forger.claims(exp=value))
        yield f"a not-before of type {type(value).__name__}", forger.signed(forger.claims(nbf=[value]))
    for number in ("1e999", "-1e999", "NaN", "Infinity", "9" * 5_000):
        for claim in ("exp", "iat", *(() if number.startswith("-") else ("nbf",))):
            text = json.dumps(forger.claims(**{claim: "@"})).replace('"@"', number)
            yield f"{claim}: {number[:9]}", forger.signed(encoded(text.encode()))
    for subject in ("../victim", "VICTIM", "victim/", "victim\x00", "", "a" * 64, None, ["victim"], {"a": 1}, ...):
        yield f"a subject like {str(subject)[:12]!r}", forger.signed(forger.claims(sub=subject))
    yield "a token for another audience", forger.signed(forger.claims(aud="sanolith-training"))
    yield "a token for many audiences", forger.signed(forger.claims(aud=[AUDIENCE, "x"]))
    yield "a token of another issuer", forger.signed(forger.claims(iss="sanolith2"))
    for missing in ("iss", "aud", "sub", "iat", "exp"):
        yield f"no {missing}", forger.signed(forger.claims(**{missing: ...}))
    yield "claims that are a list", forger.signed([claims])
    yield "claims that are no JSON", forger.signed(encoded(b"{"))
    yield "claims that nest", forger.signed(encoded(b'{"a":' * 20_000))
    yield "a header that nests", f"{encoded(b'[' * 20_000)}.{body}.{signature}"
    yield "claims said twice", forger.signed(encoded(json.dumps(claims)[:-1].encode() + b', "exp": "x"}'))
    yield "spaces between the parts", good.replace(".", " .")


def refused_by_the_api(ours: Signer) -> Iterator[tuple[str, str]]:
    """Those that a header can hold."""
    for what, token in forged(ours, int(time.time())):
        if len(token) < 30_000 and token.isprintable():
            yield what, token
