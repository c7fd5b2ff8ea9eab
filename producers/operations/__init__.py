"""What runs beside the tenants: topics, the doctor, a chat client."""
