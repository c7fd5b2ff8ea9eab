"""The contract: events, topics, object keys, manifests and policies. Imports nothing else of ours."""
