"""Seals objects: AES-256-GCM in frames, under a key per object, bound to the object's name.

Format: ``SANO1`` | 32-byte salt | frames. The object's key is HKDF-SHA256 (RFC 5869) of the tenant's data key with
the salt, for the object's full key: an object copied to another tenant or another name does not open. A frame is at
most 1 MiB of plaintext, sealed under the nonce ``counter (11 bytes) | last (1 byte)``. The key is used for this one
object only, so a counter cannot repeat; the last-flag makes truncation visible (STREAM, Hoang et al. 2015).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tenancy.errors import SealBroken
from tenancy.storage.derived_keys import derived_key

MAGIC = b"SANO1"
SALT_BYTES = 32
FRAME_BYTES = 1024 * 1024
TAG_BYTES = 16
SEALED_FRAME_BYTES = FRAME_BYTES + TAG_BYTES
HEADER_BYTES = len(MAGIC) + SALT_BYTES
OTHERWISE = "another key, another name, or changed bytes"


def seal_chunks(data_key: bytes, object_key: str, plaintext: Iterable[bytes]) -> Iterator[bytes]:
    """Seal a stream in constant memory."""
    salt = secrets.token_bytes(SALT_BYTES)
    cipher = _cipher(data_key, salt, object_key)
    yield MAGIC + salt
    for counter, (frame, is_last) in enumerate(_frames(plaintext, FRAME_BYTES)):
        yield cipher.encrypt(_nonce(counter, is_last), frame, object_key.encode())


def open_chunks(data_key: bytes, object_key: str, sealed: Iterable[bytes]) -> Iterator[bytes]:
    """Open a sealed stream frame by frame. Raises :class:`SealBroken`; a truncated stream raises at its end."""
    source = _Reader(sealed)
    header = source.read(HEADER_BYTES)
    cipher = _cipher_of(header, data_key, object_key)
    for counter, (frame, is_last) in enumerate(_frames(source.rest(), SEALED_FRAME_BYTES)):
        yield _opened(cipher, counter, is_last, frame, object_key)


def seal(data_key: bytes, object_key: str, plaintext: bytes) -> bytes:
    """Seal a small object."""
    return b"".join(seal_chunks(data_key, object_key, (plaintext,)))


def open_sealed(data_key: bytes, object_key: str, sealed: bytes) -> bytes:
    """Open an object that is here whole, each frame where it lies. Raises :class:`SealBroken`."""
    whole = memoryview(sealed)
    frames, framed = Frames(data_key, object_key, bytes(whole[:HEADER_BYTES]), len(whole)), whole[HEADER_BYTES:]
    return b"".join(
        frames.open(number, framed[number * SEALED_FRAME_BYTES : (number + 1) * SEALED_FRAME_BYTES])
        for number in range(frames.count)
    )


class Frames:
    """Opens the frames of an object whose sealed size is known, in any order.

    ``count``: how many there are. ``header``: the sealed object's first :data:`HEADER_BYTES`. A size that is not the
    object's own breaks the seal of its last frame. Raises :class:`SealBroken`.
    """

    def __init__(self, data_key: bytes, object_key: str, header: bytes, sealed_bytes: int) -> None:
        self._cipher = _cipher_of(header, data_key, object_key)
        self._object_key = object_key
        self._framed_bytes = sealed_bytes - HEADER_BYTES
        self.count = max(1, -(-self._framed_bytes // SEALED_FRAME_BYTES))

    def sealed_bytes(self, number: int) -> int:
        """Of frame ``number``."""
        return min(SEALED_FRAME_BYTES, self._framed_bytes - number * SEALED_FRAME_BYTES)

    def open(self, number: int, frame: memoryview) -> bytes:
        return _opened(self._cipher, number, number == self.count - 1, frame, self._object_key)

    def open_into(self, number: int, frame: memoryview, target: memoryview) -> memoryview:
        """Open frame ``number`` into the beginning of ``target``, and return that part. What lies there is authentic
        only if this returns.
        """
        opened = target[: max(0, len(frame) - TAG_BYTES)]
        nonce = _nonce(number, number == self.count - 1)
        try:
            self._cipher.decrypt_into(nonce, frame, self._object_key.encode(), opened)
        except InvalidTag:
            raise SealBroken(OTHERWISE) from None
        return opened


def _cipher(data_key: bytes, salt: bytes, object_key: str) -> AESGCM:
    info = b"sanolith/seal/v1/" + object_key.encode()
    return AESGCM(derived_key(data_key, info, salt))


def _cipher_of(header: bytes, data_key: bytes, object_key: str) -> AESGCM:
    if len(header) != HEADER_BYTES or not header.startswith(MAGIC):
        raise SealBroken("it has no seal")
    return _cipher(data_key, header[len(MAGIC) :], object_key)


def _opened(cipher: AESGCM, counter: int, is_last: bool, frame: bytes | memoryview, object_key: str) -> bytes:
    try:
        return cipher.decrypt(_nonce(counter, is_last), frame, object_key.encode())
    except InvalidTag:
        raise SealBroken(OTHERWISE) from None


def _nonce(counter: int, is_last: bool) -> bytes:
    return counter.to_bytes(11, "big") + bytes([is_last])


def _frames(chunks: Iterable[bytes], size: int) -> Iterator[tuple[bytes, bool]]:
    """Frames of ``size`` bytes, the last one shorter and flagged. There is always one, possibly empty."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        start = 0
        while len(buffer) - start > size:
            yield bytes(buffer[start : start + size]), False
            start += size
        del buffer[:start]  # once per chunk: what is left moves to the front
    yield bytes(buffer), True


class _Reader:
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""

    def read(self, count: int) -> bytes:
        while len(self._held) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._held += chunk
        taken, self._held = self._held[:count], self._held[count:]
        return taken

    def rest(self) -> Iterator[bytes]:
        yield self._held
        yield from self._chunks
