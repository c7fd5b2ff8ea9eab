"""Signs and checks manifests, receipts and certificates: bytes and a public key in, a verdict out."""
