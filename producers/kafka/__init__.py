"""The log on Apache Kafka, through kafka-python: `log.py` has the ports, the other files what they are made of."""
