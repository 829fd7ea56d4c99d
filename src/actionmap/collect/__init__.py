"""Website events in: HTTP bodies, files and access logs become records that Kafka has acknowledged."""
