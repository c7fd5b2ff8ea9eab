"""Operates the installation apart from tenants: topics, the doctor, a chat client."""
