"""Defines what travels on Kafka: events, their envelope, topics, and the documents generated from them."""
