"""One node of Apache Kafka (KRaft: broker and controller in one) on loopback, from its Maven artifacts.

Run as a program, it fetches the artifacts.
"""

import asyncio
import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka.errors import KafkaError

from actionmap.consume.ends import cluster_id
from actionmap.embedded import free_port
from actionmap.process import end_with_parent

HERE = Path(__file__).parent
#: The oldest Java that Kafka 4 runs on.
JAVA = 17
START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
#: Made for seconds of life: no warming up, one thread for collecting garbage.
_JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{direct},PROXIED://127.0.0.1:{proxied},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{direct},PROXIED://127.0.0.1:{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A node that was killed is let in again only after this: 9 s by default.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
controller.quorum.election.timeout.ms=300
controller.quorum.election.backoff.max.ms=100
delete.topic.enable=true
# A consumer that looks for a deleted topic would otherwise make it anew.
auto.create.topics.enable=false
"""


class Missing(Exception):
    """Java, Maven or the artifacts are not there; the message says what to do."""


def fetch() -> Path:
    """The folder with Kafka's jars, fetched with Maven when it is not there yet.

    Raises:
        Missing: there is no Java or Maven that can be used, or it could not fetch them.
    """
    _check_tools()
    version = re.search(r"<kafka.version>(.+)</kafka.version>", (HERE / "pom.xml").read_text())
    assert version is not None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "actionmap"
    jars = cache / f"kafka-{version[1]}"
    if not jars.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        print(f"• fetching Apache Kafka {version[1]} into {jars} (44 MB) …", flush=True)
        _fetch_into(jars)
    return jars


def _fetch_into(jars: Path) -> None:
    """All or nothing: the folder gets its name when everything is in it."""
    with tempfile.TemporaryDirectory(prefix=f"{jars.name}.", dir=jars.parent) as part:
        command = ("mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies",
                   "-DincludeScope=runtime", f"-DoutputDirectory={part}/jars")  # fmt: skip
        if subprocess.run(command, check=False).returncode:
            raise Missing("Maven could not fetch Apache Kafka; what it says stands above")
        try:
            Path(part, "jars").rename(jars)
        except OSError:  # another run was quicker
            if not jars.is_dir():
                raise


def _check_tools() -> None:
    install = f"on Debian and Ubuntu: apt-get install openjdk-{JAVA}-jre-headless maven"
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise Missing(
                f"the tests on Apache Kafka need Java {JAVA} or later and Maven: no {tool} is here; {install}"
            )
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA:
        raise Missing(f"Apache Kafka needs Java {JAVA} or later, this is {said.splitlines()[:1]}; {install}")


class ApacheKafka:
    """Keeps its data and its ports while it is killed and started again.

    Args:
        folder: Where its data, settings and log go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        ports = {name: free_port() for name in ("direct", "proxied", "proxy", "controller")}
        self._properties = _PROPERTIES.format(**ports, data=folder / "data")
        #: ``host:port`` for clients.
        self.bootstrap = f"127.0.0.1:{ports['direct']}"
        #: A second listener says that it is at ``proxy_port``: whoever begins there stays there, as long as a proxy
        #: that listens on that port passes everything to ``behind_proxy``.
        self.behind_proxy = f"127.0.0.1:{ports['proxied']}"
        self.proxy_port = ports["proxy"]
        self.log = folder / "kafka.log"

    async def __aenter__(self) -> Self:
        self._jars = fetch()
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = self._folder / "server.properties"
        settings.write_text(self._properties)
        # The first character must not be a dash, which would make an option of it.
        cluster = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        with self.log.open("ab") as log:
            command = self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings))
            await asyncio.to_thread(subprocess.run, command, stdout=log, stderr=log, check=True)
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, _STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def _java(self, program: str, *args: str) -> tuple[str, ...]:
        logging = f"-Dlog4j2.configurationFile={HERE / 'log4j2.yaml'}"
        return ("java", *_JVM, logging, "-cp", f"{self._jars}/*", program, *args)

    async def start(self) -> None:
        """Start it, on what it had when it ended, and wait until it answers."""
        self._process = self._launch()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._answering()
        except TimeoutError:
            self.kill()
            raise AssertionError(f"Apache Kafka did not start:\n{self.log.read_text()[-5000:]}") from None

    def _launch(self) -> subprocess.Popen[bytes]:
        """No part of an event loop, so that each test, in its own, can restart it."""
        command = self._java("kafka.Kafka", str(self._folder / "server.properties"))
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - it takes no lock
            )  # fmt: skip

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    async def restart(self) -> None:
        """`kill`, then `start`."""
        self.kill()
        await self.start()

    async def _answering(self) -> None:
        assert self._process is not None
        host, _, port = self.bootstrap.rpartition(":")
        while self._process.poll() is None:
            try:  # aiokafka logs each refusal
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                if await cluster_id(self.bootstrap):
                    return
            except (OSError, KafkaError):
                await asyncio.sleep(0.05)
        raise TimeoutError


if __name__ == "__main__":
    try:
        fetch()
    except Missing as error:
        sys.exit(str(error))
