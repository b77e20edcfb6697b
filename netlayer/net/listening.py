"""Where a node listens: which addresses are allowed without a secret, binding, and what others are told."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.python.failure import Failure

from netlayer.addresses import Address, check_endpoint, endpoint_host, is_any, is_loopback, parse_address
from netlayer.config import Settings
from netlayer.errors import ConfigurationError, ListenError
from netlayer.net.factory import PeerFactory
from netlayer.net.forks import close_inherited

__all__ = ["Listening"]


class Listening:
    """The listening address of one node.

    :param where: an endpoint string, a (host, port) pair, or an endpoint.
    :param loopback_only: whether it has to be a loopback address, as nobody is asked for proof.
    :raises ConfigurationError: when it is malformed, or is known not to be a loopback address.
    :ivar address: the address that is bound, or None.
    """

    def __init__(self, reactor: Any, where: object, settings: Settings, *, loopback_only: bool) -> None:
        self.address: Address | None = None
        self._loopback_only = loopback_only
        self._port: IListeningPort | None = None
        self._closed: Deferred[Any] = succeed(None)
        self._host: str | None = None  # as it was configured, if it was
        self._endpoint: IStreamServerEndpoint
        if IStreamServerEndpoint.providedBy(where):
            self._endpoint, self._text = where, repr(where)
        elif isinstance(where, str):
            self._text = where
            self._endpoint = _parse(reactor, where, settings)
            self._host = endpoint_host(where)
        else:
            address = parse_address(where, free_port=True)
            self._host, self._text = address.host, str(address)
            interface = "127.0.0.1" if address.host == "localhost" else address.host
            kind = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
            self._endpoint = kind(reactor, address.port, settings.listen_backlog, interface)
        if loopback_only and self._host is not None and not is_loopback(self._host):
            raise _not_loopback(self._text)

    @property
    def on_all_interfaces(self) -> bool:
        """Whether the node can be dialed at every address of the machine."""
        return self.address is not None and is_any(self.address.host)

    @property
    def advertised(self) -> Address:
        """What others are told to dial: the host as it was configured, and the port that is bound.

        On all interfaces that is the loopback address, until others have told by which address they see this node.
        """
        assert self.address is not None
        if self.on_all_interfaces:
            return Address("::1" if ":" in self.address.host else "127.0.0.1", self.address.port)
        return Address(self._host or self.address.host, self.address.port)

    def bind(self, factory: PeerFactory) -> None:
        """Begin to listen; without effect if it was done before.

        :raises ListenError: when the address can't be taken.
        :raises ConfigurationError: when the address turns out not to be a loopback one.
        """
        if self._port is not None:
            return
        outcome: list[IListeningPort | Failure] = []
        listening = factory.listen(self._endpoint).addBoth(outcome.append)
        if not outcome:
            listening.cancel()
            raise ListenError(self._text, "the endpoint does not bind at once")
        if isinstance(outcome[0], Failure):
            error = outcome[0].value
            reason = error.socketError if isinstance(error, CannotListenError) else error
            raise ListenError(self._text, getattr(reason, "strerror", None) or str(reason))
        self._port = outcome[0]
        bound = self._port.getHost()
        host, port = getattr(bound, "host", None), getattr(bound, "port", None)
        if self._loopback_only and (host is None or not is_loopback(host)):
            _ = self.close()
            raise _not_loopback(self._text)
        if host is None or port is None:
            _ = self.close()
            raise ConfigurationError(f"{self._text} is no TCP address, by which others could dial this node")
        self.address = Address(host, port)

    def close(self) -> Deferred[Any]:
        """Stop listening."""
        port, self._port = self._port, None
        if port is not None:
            self._closed = maybeDeferred(port.stopListening)
        waiting: Deferred[Any] = Deferred()
        _ = self._closed.addBoth(lambda _: waiting.callback(None))
        return waiting

    def left_to_parent(self) -> None:
        """Close a forked child's copy of the port."""
        close_inherited(self._port)


def _parse(reactor: Any, description: str, settings: Settings) -> IStreamServerEndpoint:
    kind, backlog = description.partition(":")[0], ""
    if kind in ("tcp", "tcp4", "tcp6") and "backlog=" not in description:
        backlog = f":backlog={settings.listen_backlog}"
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description + backlog)
        check_endpoint(description, dialed=False)
    except Exception as error:  # endpoint strings raise whatever their parser stumbles over
        if kind == "systemd" and isinstance(error, (IndexError, KeyError)):
            named = "FileDescriptorName= in the socket unit, --fdname= of systemd-socket-activate"
            raise ConfigurationError(
                f"{description!r}: systemd has handed over no such socket by name ({named})"
            ) from None
        example = "tcp:8000:interface=127.0.0.1"
        raise ConfigurationError(f"{description!r} is no endpoint to listen at, such as {example!r}: {error}") from None
    return endpoint


def _not_loopback(text: str) -> ConfigurationError:
    return ConfigurationError(
        f"{text} is not a loopback address. Without a network secret or an allowlist a node may listen on this machine "
        "only: use localhost, 127.0.0.1 or ::1 (for an endpoint string, interface=127.0.0.1), or give all nodes the "
        "same secret, such as 'netlayer secret' prints"
    )
