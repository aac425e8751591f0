"""What kafka-python's errors mean to a user of the log, and why no broker answers. Reads and writes nothing."""

import socket
import ssl

from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    InvalidReceiveError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from ledgent.producers.kafka.wire import Address, client_options
from ledgent.schemas.errors import LogUnavailable
from ledgent.schemas.settings import KafkaSettings

GREETING_S = 5.0
"""How long one broker may take to answer."""


def check_reachable(address: Address, settings: KafkaSettings, timeout_s: float = GREETING_S) -> str:
    """The first broker that answers; it lets this user in. Raises LogUnavailable, which says why there is none.

    Asked before a client is made: a client only knows after its whole time-out, and then without the reason.
    """
    context = _tls(settings) if "SSL" in settings.security_protocol else None
    silent = []
    for server in address.servers:
        try:
            _connect(server, context, timeout_s)
        except OSError as error:
            silent.append(f"{server}: {error.strerror or error}")
        else:
            _greet(address._replace(servers=(server,)), settings, timeout_s)
            return server
    raise LogUnavailable(
        f"no Kafka broker answers ({', '.join(silent)}); start it, or name another with LEDGENT_LOG=kafka://host:port"
    )


def _tls(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file or None)
    except OSError as error:
        raise LogUnavailable(
            f"the certificates for TLS cannot be loaded ({error.strerror or error}); set LEDGENT_KAFKA_CA_FILE, "
            "LEDGENT_KAFKA_CERT_FILE and LEDGENT_KAFKA_KEY_FILE to files in PEM format"
        ) from error
    return context


def _connect(server: str, context: ssl.SSLContext | None, timeout_s: float) -> None:
    """Connects and hangs up. Raises OSError where nobody answers, LogUnavailable where TLS fails.

    kafka-python would leave the socket open in both cases.
    """
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    with socket.create_connection((host, int(port)), timeout_s) as connection:
        if context is None:
            return
        try:
            context.wrap_socket(connection, server_hostname=host).close()
        except OSError as error:
            said = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)
            raise LogUnavailable(
                f"TLS with the Kafka broker at {server} failed ({said}); set LEDGENT_KAFKA_CA_FILE to its authority's "
                "certificate, or LEDGENT_KAFKA_SECURITY_PROTOCOL to what the broker speaks"
            ) from error


def _greet(address: Address, settings: KafkaSettings, timeout_s: float) -> None:
    """Asks the one broker what it can do, and logs in."""
    network = NetworkSelector()
    manager = KafkaConnectionManager(network, **client_options(address, settings))

    async def greet() -> None:
        (broker,) = manager.cluster.bootstrap_brokers()
        await manager.get_connection(broker.node_id, timeout_ms=timeout_s * 1000)

    try:
        manager.run(greet)
    except KafkaError as error:
        # A broker may hang up before the client has read why, on one that cannot log in or speaks something else.
        hung_up = isinstance(error, KafkaConnectionError) and "disconnected" in str(error)
        if hung_up and "SASL" in settings.security_protocol:
            raise _refused(address, settings) from error
        if hung_up or isinstance(error, InvalidReceiveError):
            raise _not_understood(address, settings) from error
        raise translated(error, address, settings) from error
    finally:
        manager.close()
        network.close()


def translated(error: KafkaError, address: Address, settings: KafkaSettings) -> LogUnavailable:
    """The error in the log's own terms; no password in it."""
    where = ",".join(address.servers)
    match error:
        case SaslAuthenticationFailedError():
            return _refused(address, settings)
        case UnsupportedSaslMechanismError() | IllegalSaslStateError():
            return LogUnavailable(
                f"the Kafka broker at {where} does not offer {settings.sasl_mechanism} with "
                f"{settings.security_protocol}; set LEDGENT_KAFKA_SASL_MECHANISM and LEDGENT_KAFKA_SECURITY_PROTOCOL "
                "to what it offers"
            )
        case AuthorizationError():
            return LogUnavailable(
                f"user {settings.username!r} may not do this on the Kafka broker at {where} ({_named(error)}); "
                f"allow the user the topics and groups whose names begin with {address.prefix!r}"
            )
        case UnknownTopicOrPartitionError():
            return LogUnavailable(
                f"the Kafka broker at {where} lacks a topic of the log {address.prefix!r}; `ledgent topics create`"
            )
        case KafkaTimeoutError() if "bootstrap" in str(error):
            return _not_understood(address, settings)
        case KafkaConnectionError() | KafkaTimeoutError():
            return LogUnavailable(
                f"no Kafka broker answers at {where} ({_said(error)}); start it, or name another with "
                "LEDGENT_LOG=kafka://host:port"
            )
        case _:
            return LogUnavailable(
                f"the Kafka broker at {where} did not do what was asked ({_named(error)}); "
                "try again, and look at the broker's own log"
            )


def _refused(address: Address, settings: KafkaSettings) -> LogUnavailable:
    return LogUnavailable(
        f"the Kafka broker at {','.join(address.servers)} refused user {settings.username!r}: wrong name, password or "
        f"mechanism ({settings.sasl_mechanism}); set LEDGENT_KAFKA_USERNAME and LEDGENT_KAFKA_PASSWORD, or "
        "LEDGENT_KAFKA_SASL_MECHANISM"
    )


def _not_understood(address: Address, settings: KafkaSettings) -> LogUnavailable:
    return LogUnavailable(
        f"what listens at {','.join(address.servers)} does not speak Kafka as {settings.security_protocol}; "
        "set LEDGENT_KAFKA_SECURITY_PROTOCOL to what the broker speaks, or name another with LEDGENT_LOG"
    )


def _said(error: KafkaError) -> str:
    return " ".join(str(part) for part in error.args) or _named(error)


def _named(error: KafkaError) -> str:
    """The error's own name: its text may repeat a whole request."""
    return str(getattr(error, "message", None) or type(error).__name__)
