"""Running the service until it is told to stop: its socket, its signals, its end.

signal  ->  streams say where to go on  ->  requests finish  ->  what was appended is written  ->  close
"""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias, cast

import structlog
import uvicorn
import uvloop

import turnlog
from eventstore.errors import Unavailable, reason_of
from projections.totals import TotalsProjection
from turnlog.facade import Turnlog
from turnlog.service.app import App, create_app
from turnlog.service.chores import Chores
from turnlog.service.exposure import check_exposure
from turnlog.service.gate import Gate
from turnlog.service.keyring import Keyring
from turnlog.service.logs import configure
from turnlog.service.protocol import LimitedProtocol, limited
from turnlog.service.settings import Settings
from turnlog.service.streams import Streams
from turnlog.service.tickets import Tickets

TICK_SECONDS: Final = 0.1

ENDING_TURNS: Final = 10
"""Of the event loop, in which connections that are ended say their last words."""

CHECK_TICKS: Final = 5
"""Between two looks at the connections for silence."""

BACKLOG: Final = 2_048
"""Connections that wait to be taken, when a thousand readers come back at once."""

GARBAGE_OBJECTS: Final = 10_000
"""New objects after which the collector looks at them, half a millisecond's work; Python's own is 700."""

OTHER_FILES: Final = 200
"""File descriptors besides the connections': the log, the views, standard streams, what libraries open."""

Started: TypeAlias = Callable[[str, Turnlog], Awaitable[None]]
"""Told the address and the log when requests are taken."""

_logger: Final = structlog.get_logger("turnlog.service")


class Service:
    """An open log, and the application over it."""

    def __init__(self, settings: Settings, log: Turnlog, keyring: Keyring) -> None:
        self.settings: Settings = settings
        self.log: Turnlog = log
        self.keyring: Keyring = keyring
        self.streams: Streams = Streams(log, settings)
        tickets = Tickets(
            keyring,
            life_seconds=settings.streams.ticket_life_seconds,
            per_key_max=settings.limits.tickets_per_key_max,
        )
        self.gate: Gate = Gate(keyring, tickets, origins=settings.cors_origins)
        self.app: App = create_app(log, self.gate, keyring, self.streams, settings)


def run(settings: Settings, started: Started | None = None) -> int:
    """Serve until SIGTERM or SIGINT. ``started`` is told the address and the log when requests are taken."""
    configure(settings.log_level)
    uvloop.run(_run(settings, started))
    return 0


async def _run(settings: Settings, started: Started | None) -> None:
    _raise_file_limit(settings.limits.connections_max)
    with listen(settings.host, settings.port) as listener:
        await _serve(settings, listener, started)


async def _serve(settings: Settings, listener: socket.socket, started: Started | None) -> None:
    async with opened(settings) as service:
        check_exposure(settings, service.keyring.required, listener.getsockname()[0])
        # What is there now stays: the collector would go through all of it, 50 ms in which nobody is served.
        # What a request leaves in cycles is little; to look for it after every few takes a tenth of its time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_OBJECTS)
        server = Server(service, started)
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, server.stop)
        await server.serve(sockets=[listener])
    _logger.info("stopped", position=service.log.store.acknowledged)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[Service]:
    """The service without its socket; its chores run until the end of the block."""
    path = Path(settings.data).absolute()  # noqa: ASYNC240 -- it asks for the working directory, no file
    keyring = Keyring(path)
    async with turnlog.open(
        path,
        projections=[TotalsProjection(), *settings.projections],
        allow_unsafe_file_system=settings.allow_unsafe_file_system,
    ) as log:
        service = Service(settings, log, keyring)
        async with Chores(log, keyring, service.gate, service.streams, settings):
            yield service


class Server(uvicorn.Server):
    """uvicorn over a service, with our limits and an end in good order."""

    def __init__(self, service: Service, started: Started | None = None) -> None:
        settings = service.settings
        super().__init__(
            uvicorn.Config(
                service.app.routed,
                http=limited(settings.limits, service.app.appending),
                ws="none",
                loop="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=round(settings.limits.idle_seconds_max),
                timeout_graceful_shutdown=settings.shutdown_grace_seconds,  # pyright: ignore[reportArgumentType] -- a number of seconds to asyncio
                backlog=BACKLOG,
            )
        )
        self._service = service
        self._started = started
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End the streams, take no more, let requests finish; ask twice, and none is waited for."""
        if self.should_exit:
            for connection in list(self.server_state.connections):
                cast("LimitedProtocol", connection).cut_off()
        self.should_exit = True
        self._stopping.set()
        self._service.streams.connections.stop()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Whoever runs it handles them."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take requests, and say where."""
        await super().startup(sockets)
        log, keys = self._service.log, self._service.keyring
        for address in map(address_of, sockets or ()):
            _logger.info(
                "serving",
                address=address,
                data=str(log.store.path),
                position=log.store.acknowledged,
                keys_required=keys.required,
            )
            if self._started is not None:
                await self._started(address, log)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Give requests their time; whoever has not sent all of one by then is told why it ends."""
        await super().shutdown(sockets)
        for ending in (LimitedProtocol.end, LimitedProtocol.cut_off):
            for connection in cast("list[LimitedProtocol]", list(self.server_state.connections)):
                ending(connection)
            for _ in range(ENDING_TURNS):
                if self.server_state.connections or self.server_state.tasks:
                    await asyncio.sleep(0)

    async def main_loop(self) -> None:
        """Tick until it is told to stop, and then end at once: uvicorn's own looks at its next tick."""
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stopping.wait()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % CHECK_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in cast("list[LimitedProtocol]", list(self.server_state.connections)):
                connection.check(now)
        return await super().on_tick(counter)


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for connections. Raises ``Unavailable`` (``cannot_listen``)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # connections inherit it
            listener.bind(address)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        why = reason_of(error)
        raise Unavailable("cannot_listen", f"{host} port {port}: {why}", host=host, port=port) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """What to open, as ``http://127.0.0.1:7411``."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _raise_file_limit(connections: int) -> None:
    """As many file descriptors as the connections need, or as the system grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + OTHER_FILES
    granted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted < needed:
        _logger.warning("few_file_descriptors", granted=granted, needed=needed)
