"""A real Apache Kafka broker without Docker, for tests and for `make kafka`. No test, no fixture.

Kafka comes from Maven Central, once, into a cache outside the checkout. One Java process is broker and controller.
"""

import fcntl
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

POM = Path(__file__).with_name("pom.xml")
JAVA_MIN = 17
PATIENCE_S = 120.0
"""How long a start may take; it takes about 4 s on an idle machine."""

USER = "ledgent"
PASSWORD = "the-right-password"
"""Who may come in through the SASL listeners (mechanism PLAIN)."""

PORTS = range(20_000, 32_000)
"""Below those that clients get: a client that tries again and again to reach a stopped broker on one of its own ports
connects to itself sooner or later, and the broker cannot come back."""

# The Java process stays only as long as whoever started it, however that one ends: when the pipe breaks
# it is killed. (The kernel's death signal would do it, but it counts the death of the thread that started it.)
WATCHED = 'exec 3<&0 </dev/null; { read -r _ <&3 || kill -KILL $$; } & exec 3<&-; exec "$@"'

STARTED = "Kafka Server started"
JAVA_FLAGS = (
    "-Xms128m",
    "-Xmx512m",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",  # says STARTED
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)
# The broker's session: after a kill it comes back only when its old one is over.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
sasl.enabled.mechanisms=PLAIN
"""


class KafkaMissing(Exception):
    """There is no Kafka to start: says what is missing, and what to do."""


class Broker:
    """One broker with its own ports and data; both stay the same when it is started again.

    It has a PLAINTEXT listener and those of `protocols`: SSL, SASL_PLAINTEXT, SASL_SSL.
    """

    def __init__(self, folder: Path, *, port: int | None = None, protocols: Sequence[str] = ()) -> None:
        self.folder = folder.resolve()
        self.log_file = self.folder / "broker.log"
        ports = free_ports(2 + len(protocols))
        self._ports = dict(zip(("CONTROLLER", "PLAINTEXT", *protocols), ports, strict=True))
        if port is not None:
            self._ports["PLAINTEXT"] = port
        self._process: subprocess.Popen[str] | None = None

    def address(self, protocol: str = "PLAINTEXT") -> str:
        """Host and port, for `bootstrap_servers`."""
        return f"127.0.0.1:{self._ports[protocol]}"

    @property
    def authority(self) -> Path:
        """The certificate to trust on the SSL listeners."""
        return self.folder / "authority.pem"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it serves clients.

        Raises:
            KafkaMissing: no Java, no Maven, or Maven Central cannot be reached.
            RuntimeError: it did not start; with the end of its log.
        """
        assert self._process is None, "the broker is running already"
        java, libraries = find_java(), fetch_libraries()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_properties()
        command = [str(java), *JAVA_FLAGS, "-cp", f"{libraries}/*"]
        properties = str(self.folder / "server.properties")
        if not (self.folder / "data" / "meta.properties").exists():
            format_command = [*command, "kafka.tools.StorageTool", "format", "-t", "bGVkZ2VudC1sb2NhbC0xIQ"]
            subprocess.run([*format_command, "-c", properties], check=True, capture_output=True, timeout=PATIENCE_S)
        with self.log_file.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(
                ["sh", "-c", WATCHED, "sh", *command, "kafka.Kafka", properties],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop the broker
            )
        self._wait_until_started(begin)

    def stop(self) -> None:
        """Asks it to stop, and waits until it has."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it as a crash would. What clients were told is written stays written: the system holds it."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()
            dismiss_watch(process.stdin)

    def _wait_until_started(self, begin: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE_S
        while True:
            said = self.log_file.read_bytes()[begin:].decode(errors="replace")
            if STARTED in said:
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"Kafka did not start. Its log, {self.log_file}, ends:\n{said[-4000:]}")
            time.sleep(0.05)

    def _write_properties(self) -> None:
        listeners = [f"{name}://127.0.0.1:{port}" for name, port in self._ports.items()]
        lines = [
            f"listeners={','.join(listeners)}",
            f"advertised.listeners={','.join(listeners[1:])}",
            f"controller.quorum.voters=1@127.0.0.1:{self._ports['CONTROLLER']}",
            f"log.dirs={self.folder / 'data'}",
        ]
        for name in self._ports:
            if name.startswith("SASL"):
                login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
                lines.append(f"listener.name.{name.lower()}.plain.sasl.jaas.config={login}")
            if name.endswith("SSL"):
                lines += [f"listener.name.{name.lower()}.ssl.{line}" for line in self._key_store()]
        (self.folder / "server.properties").write_text(PROPERTIES + "\n".join(lines) + "\n")

    def _key_store(self) -> tuple[str, str, str]:
        """The settings of a key and a certificate that vouches for itself; made by Java's own tool, once."""
        store = self.folder / "keys.p12"
        if not store.exists():
            keytool = ["keytool", "-keystore", str(store), "-storepass", PASSWORD, "-storetype", "PKCS12"]
            key = ["-genkeypair", "-alias", "broker", "-keyalg", "EC", "-dname", "CN=localhost", "-validity", "3650"]
            subprocess.run([*keytool, *key, "-ext", "SAN=IP:127.0.0.1,DNS:localhost"], check=True, capture_output=True)
            show = ["-exportcert", "-rfc", "-alias", "broker", "-file", str(self.authority)]
            subprocess.run([*keytool, *show], check=True, capture_output=True)
        return f"keystore.location={store}", f"keystore.password={PASSWORD}", "keystore.type=PKCS12"


def dismiss_watch(pipe: IO[str] | None) -> None:
    """Tells the watch that the broker has ended as it should: by now its process id may be another's."""
    assert pipe is not None
    try:
        pipe.write("ended\n")
        pipe.close()
    except BrokenPipeError:
        pass  # the watch was killed too


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now."""
    found: set[int] = set()
    while len(found) < count:
        port = random.choice(PORTS)
        if is_free(port):
            found.add(port)
    return list(found)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def find_java() -> Path:
    """A Java that Kafka runs on."""
    remedy = "install one, as in: apt-get install default-jre-headless"
    java = shutil.which("java")
    if java is None:
        raise KafkaMissing(f"Kafka needs Java {JAVA_MIN} or later, and there is none: {remedy}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=PATIENCE_S, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA_MIN:
        raise KafkaMissing(f"Kafka needs Java {JAVA_MIN} or later, and {java} is not: {remedy}")
    return Path(java)


def fetch_libraries() -> Path:
    """The folder of Kafka's jars, fetched by Maven if this is the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ledgent"
    pom = POM.read_bytes()
    version = re.search(rb"<kafka.version>(.+)</kafka.version>", pom)
    assert version is not None
    libraries = cache / f"kafka-{version[1].decode()}-{hashlib.sha256(pom).hexdigest()[:8]}"
    if libraries.is_dir():
        return libraries
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaMissing("Kafka is fetched with Maven, and there is none: install it, as in: apt-get install maven")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not libraries.is_dir():
            # Under its own name only when whole.
            with tempfile.TemporaryDirectory(dir=cache) as unfinished:
                copied = Path(unfinished) / "libraries"
                goal = ["dependency:copy-dependencies", f"-DoutputDirectory={copied}"]
                command = [maven, "--batch-mode", "--quiet", "--file", str(POM), *goal]
                outcome = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
                if outcome.returncode != 0:
                    said = re.sub(r"\x1b\[[\d;]*m", "", outcome.stdout).strip().partition("\n")[0]
                    raise KafkaMissing(f"Maven could not fetch Kafka (is Maven Central reachable?). It says: {said}")
                copied.rename(libraries)
    return libraries


def main() -> None:
    """FOLDER PORT [COMMAND...]: a broker for a person until Ctrl-C, or while the command runs."""
    folder, port, command = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    broker = Broker(folder, port=port)
    if not is_free(port):
        sys.exit(f"Port {port} is taken; by another Kafka? Stop what listens there, or choose another port.")
    try:
        broker.start()
        url = f"kafka://{broker.address()}"
        print(f"Kafka is at {broker.address()}, its data in {folder}. Ctrl-C stops it.", flush=True)
        if command:
            sys.exit(_run(command, {**os.environ, "LEDGENT_LOG": url}))
        print(f"In another shell:\nexport LEDGENT_LOG={url}", flush=True)
        signal.pause()
    except (KafkaMissing, RuntimeError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("Stopping Kafka ...")
    finally:
        broker.stop()


def _run(command: Sequence[str], environment: dict[str, str]) -> int:
    """Its exit code. Ctrl-C reaches the command as well: the broker stays until that has left in good order."""
    process = subprocess.Popen(command, env=environment)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    main()
