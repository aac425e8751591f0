"""Where the log and the store are and how processes behave, from the environment. Names and defaults only."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """LEDGENT_LOG, LEDGENT_STORE, LEDGENT_BLOBS and LEDGENT_AGENTS; flags override them."""

    model_config = SettingsConfigDict(env_prefix="LEDGENT_", extra="ignore")

    log: str = "sqlite:///.ledgent/log.db"
    store: str = "chdb:///.ledgent/store"
    blobs: str = ".ledgent/blobs"
    """The directory of the files that runs refer to: one that all processes of a log share."""
    agents: str = ""
    """Modules whose agents a worker runs, separated by commas."""


class KafkaSettings(BaseSettings):
    """LEDGENT_KAFKA_PARTITIONS and the like: how to reach a cluster, and what its topics shall be."""

    model_config = SettingsConfigDict(env_prefix="LEDGENT_KAFKA_", extra="ignore")

    partitions: int = Field(12, ge=1)
    """Of requests, events and run states, when the topics are made; they never change after that."""
    replication: int | None = Field(None, ge=1)
    """Copies of each partition; None: three, or as many as there are brokers."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: str = ""
    """Of the authority that signed the brokers' certificates; empty: the system's own."""
    cert_file: str = ""
    key_file: str = ""
    """A client certificate, where brokers ask for one."""


class ProcessorSettings(BaseSettings):
    """LEDGENT_PROCESSORS_STALLED_S and the like: for the processors of a log on Kafka."""

    model_config = SettingsConfigDict(env_prefix="LEDGENT_PROCESSORS_", extra="ignore")

    stalled_s: float = Field(300.0, gt=0)
    """How long a live run may have no record before an alert is raised."""
    stuck_s: float = Field(60.0, gt=0)
    """How long there may be lag without progress before `/healthz` turns red."""
    stop_s: float = Field(20.0, gt=0)
    """How long a stop may take before the process ends anyway; nothing is lost by it."""
    port: int = Field(6066, ge=0)
    """Of `/healthz`, on loopback; 0: none."""
