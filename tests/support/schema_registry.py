"""A real schema registry for the tests: Apicurio from Maven Central, in memory, on a free loopback port."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path

from tests.support.services import CACHE, Service, output_of, program

VERSION = "3.0.9"
_ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
# Apicurio's parent project is not on Maven Central; later versions of the plugin don't fetch without it.
_UNPACK = "org.apache.maven.plugins:maven-dependency-plugin:2.8:unpack"
_API = "/apis/ccompat/v7"


class SchemaRegistry(Service):
    """One Apicurio. Its data are a file of its folder, so that it goes on with them after a kill."""

    name = "registry"
    start_seconds = 180.0  # 11 on an idle machine

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{_API}"

    def command(self) -> Sequence[str]:
        settings = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": self.port,
            "apicurio.datasource.url": f"jdbc:h2:file:{self.folder}/schemas",
        }
        options = [f"-D{name}={value}" for name, value in settings.items()]
        jar = registry_folder() / f"apicurio-registry-app-{VERSION}-runner.jar"
        return [program("java"), "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *options, "-jar", str(jar)]

    def answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", f"{_API}/subjects")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def registry_folder() -> Path:
    """The folder of Apicurio; fetched once and kept."""
    folder = CACHE / f"apicurio-{VERSION}"
    program("java")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as new:
        pom = "<groupId>tests</groupId><artifactId>registry</artifactId><version>1</version>"
        Path(new, "pom.xml").write_text(f"<project><modelVersion>4.0.0</modelVersion>{pom}</project>", encoding="utf-8")
        options = [f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={new}/app"]
        output_of([program("mvn"), "-q", "-B", _UNPACK, *options], cwd=new)
        os.replace(Path(new) / "app", folder)
