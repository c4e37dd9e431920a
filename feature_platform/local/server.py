"""One embedded server: started once even where several processes start it, found by later ones, restarted on the same data and ports.

What is particular to one program (its ports, command line and readiness) does not belong here (``seaweedfs``, ``valkey``).
"""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

from feature_platform.adapters.machine.spool import disk_errors
from feature_platform.errors import ConfigurationError, StorageError
from feature_platform.local.locks import held
from feature_platform.local.loopback_ports import choose_ports
from feature_platform.local.private_files import write_private
from feature_platform.local.processes import Owned, ProcessMark, is_running, launch, stop, stop_owned, wait_until

START_WITHIN_S: Final = 30.0
STOP_WITHIN_S: Final = 10.0
_STARTS: Final = 3


class Program(Protocol):
    """What an embedded server runs."""

    @property
    def name(self) -> str:
        """Its name in messages and in file names."""

    @property
    def port_names(self) -> tuple[str, ...]:
        """What it needs ports for; the first is the one that clients use."""

    @property
    def port_offsets(self) -> dict[str, tuple[str, int]]:
        """Names whose port the program derives from another one."""

    def command(self, ports: Mapping[str, int], data: Path) -> list[str]:
        """Its command line on these ports and this data directory."""

    def environment(self, directory: Path) -> dict[str, str]:
        """Its whole environment: no variable of this process reaches it."""

    def files(self) -> Mapping[str, str]:
        """Files of its directory that it reads when it starts, by name; only their owner can read them."""

    def is_ready(self, ports: Mapping[str, int], mark: ProcessMark) -> bool:
        """Whether the process of this mark answers on its port."""


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A server as the process that started it recorded it; it may have ended since."""

    mark: ProcessMark
    ports: dict[str, int]


class EmbeddedServer:
    """A server with its files below one directory: ``data/``, ``server.log``, ``server.json``, ``server.lock``.

    Args:
        directory: Where its files are; created when it is first started.
        detached: Whether it outlives this process. Otherwise it ends when this process ends, however that happens.
    """

    def __init__(self, program: Program, *, directory: Path, detached: bool) -> None:
        self.program = program
        self._directory = directory.absolute()
        self._detached = detached
        self._owned: Owned | None = None

    @property
    def log(self) -> Path:
        return self._directory / "server.log"

    def record(self) -> ServerRecord | None:
        """The running server, whoever started it; None where it does not run."""
        record = self._read()
        return record if record is not None and is_running(record.mark) else None

    @property
    def port(self) -> int:
        """The port that clients use.

        Raises:
            ConfigurationError: The server does not run.
        """
        record = self.record()
        if record is None:
            raise ConfigurationError(f"{self.program.name} does not run in {self._directory}. Start it by `feature-platform up`.")
        return record.ports[self.program.port_names[0]]

    def start(self) -> ServerRecord:
        """Start the server, or find it running; returns once it answers. Ports of the last run are used again where they are free.

        Raises:
            StorageError: It does not come up (the message shows the end of its log), or another process starts it and does not end.
            ConfigurationError: Its directory cannot be written.
        """
        with self._locked():
            last = self._read()
            if last is not None and is_running(last.mark):
                if self._answers(last):
                    return last
                stop(last.mark, within_s=STOP_WITHIN_S)
            if self._owned is not None:
                stop_owned(self._owned, within_s=STOP_WITHIN_S)
            return self._start(preferred=last.ports if last else {})

    def stop(self) -> None:
        """End the server, by force where it does not end in time. Data, ports and log are kept. No error where it does not run."""
        if not self._directory.exists():
            return
        with self._locked():
            record = self._read()
            if record is not None:
                stop(record.mark, within_s=STOP_WITHIN_S, owned=self._owned)
            self._owned = None

    def kill(self) -> None:
        """End the server at once by SIGKILL, as a crash would."""
        record = self.record()
        if record is not None:
            os.kill(record.mark.pid, signal.SIGKILL)
        self.stop()

    def _start(self, *, preferred: dict[str, int]) -> ServerRecord:
        program, data = self.program, self._directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        for name, text in program.files().items():
            write_private(self._directory / name, text)
        for attempt in range(1, _STARTS + 1):
            ports = choose_ports(program.port_names, preferred=preferred, offsets=program.port_offsets)
            mark, self._owned = launch(
                program.command(ports, data),
                env=program.environment(self._directory),
                directory=self._directory,
                log=self.log,
                detached=self._detached,
            )
            record = ServerRecord(mark, ports)
            try:
                # Before it is ready: whoever comes after a crash of this process must find the server.
                write_private(self._directory / "server.json", json.dumps(asdict(record)))
                self._wait(record)
            except OSError:
                stop(mark, within_s=STOP_WITHIN_S, owned=self._owned)
                raise
            except StorageError:
                # A server that ended may have lost a port to somebody else since it was chosen; one that hangs would hang again.
                hangs = is_running(mark)
                stop(mark, within_s=STOP_WITHIN_S, owned=self._owned)
                if hangs or attempt == _STARTS:
                    raise
                preferred = {}
            else:
                return record
        raise AssertionError("the last attempt returns or raises")

    def _answers(self, record: ServerRecord) -> bool:
        try:
            self._wait(record)
        except StorageError:
            return False
        return True

    def _wait(self, record: ServerRecord) -> None:
        wait_until(
            lambda: self.program.is_ready(record.ports, record.mark),
            mark=record.mark,
            within_s=START_WITHIN_S,
            log=self.log,
            name=self.program.name,
        )

    def _read(self) -> ServerRecord | None:
        """The record, or None where it is absent or not one: a damaged record only costs its ports."""
        try:
            read = json.loads((self._directory / "server.json").read_bytes())
            return ServerRecord(ProcessMark(**read["mark"]), {str(name): int(port) for name, port in read["ports"].items()})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from starting or stopping the same server meanwhile."""
        with disk_errors(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            with held(self._directory / "server.lock"):
                yield
