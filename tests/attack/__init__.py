"""The attack suite: what strangers, tenants and publishers may send, by the thousand. See docs/threat-model.md."""
