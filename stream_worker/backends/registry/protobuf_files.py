"""Makes descriptors of Protobuf schemas, which a registry keeps as text, or serialized in base64."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

_SERIALIZED = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")  # no schema is written in these characters alone
_IMPORT = re.compile(r"""(?m)^\s*import\s+(?:public\s+|weak\s+)?["']([^"']+)["']\s*;|;\s*import\s+["']([^"']+)["']""")
# Files that every client has, so that no registry is given them. Folder -> package of their compiled form.
_COMMON = {"google/protobuf/": "", "google/type/": "", "confluent/": "confluent_kafka.schema_registry."}
_COMPILE_SECONDS = 30


def file_of(name: str, schema: str, referred: Iterable[tuple[str, str]]) -> FileDescriptor:
    """Return the descriptor of a schema's file, in a pool of its own.

    name: what to call the file
    referred: name and schema of each file that it imports, in an order in which they can be compiled

    Raises ValueError or TypeError if they can't be used.
    """
    files: dict[str, FileDescriptorProto] = {}
    for each, text in (*referred, (name, schema)):
        if each not in files:
            _add(files, each, text)
    pool = DescriptorPool()
    for file in files.values():
        pool.Add(file)
    return pool.FindFileByName(name)


def _add(files: dict[str, FileDescriptorProto], name: str, schema: str) -> None:
    """Add a file, and the common ones that it imports before it."""
    if _SERIALIZED.fullmatch(schema):
        file = FileDescriptorProto.FromString(base64.b64decode(schema))
        file.name = name
        _add_common(files, file.dependency)
    else:
        _add_common(files, (found[1] or found[2] for found in _IMPORT.finditer(schema)))
        file = _compiled(name, schema, files.values())
    files[name] = file


def _add_common(files: dict[str, FileDescriptorProto], names: Iterable[str]) -> None:
    for name in names:
        package = next((package for folder, package in _COMMON.items() if name.startswith(folder)), None)
        if name not in files and package is not None and (found := _common(name, package)) is not None:
            _add_common(files, found.dependency)
            files[name] = found


def _common(name: str, package: str) -> FileDescriptorProto | None:
    try:
        module = import_module(package + name.removesuffix(".proto").replace("/", ".") + "_pb2")
    except ImportError:
        return None
    file = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    return file


def _compiled(name: str, schema: str, known: Iterable[FileDescriptorProto]) -> FileDescriptorProto:
    """Compile text in a process of its own: the compiler is C++, and tells of errors on its standard error."""
    if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
        raise ValueError(f"a file called {name!r}")
    with TemporaryDirectory(prefix="stream-worker-protobuf-") as folder:
        source, compiled = Path(folder) / "in" / name, Path(folder) / "out"
        source.parent.mkdir(parents=True)
        source.write_text(schema, encoding="utf-8")
        Path(folder, "known").write_bytes(FileDescriptorSet(file=known).SerializeToString())
        options = [f"--descriptor_set_in={folder}/known", f"-I{folder}/in", f"--descriptor_set_out={compiled}"]
        done = subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", *options, name],
            capture_output=True, text=True, check=False, timeout=_COMPILE_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise ValueError(next(_errors(done.stderr, name), f"the compiler ends with {done.returncode}"))
        return FileDescriptorSet.FromString(compiled.read_bytes()).file[0]


def _errors(said: str, name: str) -> Iterator[str]:
    """Yield what lines say of a file that are no warning; some compilers write its folder in front of its name."""
    lines = (line for line in said.splitlines() if f"{name}:" in line and " warning: " not in line)
    return (line[line.index(f"{name}:") :] for line in lines)
