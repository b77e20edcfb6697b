"""Who and where: node ids, host and port, and the endpoint strings that operators write."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from netlayer.errors import ConfigurationError, InvalidPeer, described

__all__ = [
    "MAX_NODE_ID",
    "Address",
    "Network",
    "PeerInfo",
    "believed",
    "carried",
    "check_endpoint",
    "endpoint_host",
    "is_any",
    "is_link_local",
    "is_loopback",
    "leads_home",
    "literal_address",
    "parse_address",
    "parse_networks",
    "parse_node_id",
    "parse_peer",
    "shown_address",
    "tcp_options",
    "unmapped",
    "without_zone",
    "zone_of",
]

#: Ids fit a signed 64-bit column of any database.
MAX_NODE_ID = 2**63 - 1

#: All addresses with the same first bits; a single address is a network, too.
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: The longest host name that DNS allows.
MAX_HOST = 253

#: What a host is made of; the wire carries nothing else. Other alphabets are written in IDNA's ``xn--`` form.
_HOST = re.compile(r"[!-~]+")

#: The kinds of endpoint strings whose fields are known here.
_TCP = ("tcp", "tcp4", "tcp6")


class _HostAndPort(Protocol):
    def __init__(self, host: str, port: int) -> None: ...

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


H = TypeVar("H", bound=_HostAndPort)


class PeerInfo(NamedTuple):
    """A peer as applications see it; equal to the plain tuple ``(node_id, host, port)``."""

    node_id: int
    host: str
    port: int


class Address(NamedTuple):
    """A host (name or literal address) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint_host(description: str) -> str | None:
    """Return the host that a server endpoint string listens on: ``""`` for all, None if only binding will tell.

    :param description: for example ``tcp:8000:interface=127.0.0.1``; a colon inside a value is escaped by a backslash.
    """
    kind, plain, named = _endpoint_fields(description)
    if kind not in _TCP:
        return None
    return named.get("interface", plain[1] if len(plain) > 1 else "")


def check_endpoint(description: str, *, dialed: bool) -> None:
    """Check host and port of an endpoint string that has been parsed, as Twisted finds out only when it is used.

    :param dialed: whether it is a client endpoint string, such as ``tcp:localhost:8000``.
    :raises ConfigurationError: when there can be no such host or port.
    """
    kind, plain, named = _endpoint_fields(description)
    if kind not in _TCP:
        return
    port, least = int(named.get("port") or plain[-1 if dialed else 0]), int(dialed)
    if not least <= port <= 65535:
        raise ConfigurationError(f"a port is a whole number from {least} to 65535, not {port}")
    host = named.get("host", *plain[:1]) if dialed else endpoint_host(description)
    if dialed and not host:
        raise ConfigurationError("the host is missing")
    try:
        _ = (host or "").encode("idna")
    except UnicodeError:  # resolvers raise it, too, where nobody expects it
        raise ConfigurationError(f"a host is a name or an IP address, not {described(host)}") from None


def tcp_options(description: str) -> dict[str, Any] | None:
    """Return what the endpoint of a client endpoint string ``tcp:…`` is made of; None for other kinds.

    :param description: one that :func:`check_endpoint` has nothing against.
    """
    kind, plain, named = _endpoint_fields(description)
    if kind != "tcp" or not {"host", "port", "timeout", "bindAddress"}.issuperset(named):
        return None
    values: dict[str, Any] = {**named}
    values |= zip([name for name in ("host", "port") if name not in named], plain, strict=True)
    values |= {name: int(values[name]) for name in ("port", "timeout") if name in values}
    return values


def _endpoint_fields(description: str) -> tuple[str, list[str], dict[str, str]]:
    """Return the kind of an endpoint string, and its positional and its named values."""
    kind, *fields = (re.sub(r"\\(.)", r"\1", field) for field in re.split(r"(?<!\\):", description))
    plain = [field for field in fields if "=" not in field]
    return kind, plain, dict(field.split("=", 1) for field in fields if "=" in field)


@lru_cache(maxsize=1024)  # the same hosts are asked about again and again, and parsing takes microseconds
def is_loopback(host: str) -> bool:
    """Tell whether `host` is a literal loopback address or ``localhost``; other names are never resolved here."""
    address = literal_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


@lru_cache(maxsize=1024)
def leads_home(host: str) -> bool:
    """Tell whether whoever dials `host` may reach itself, as far as can be told without a name server.

    More hosts do than :func:`is_loopback` is sure of: addresses as only resolvers understand them (``127.1``, ``0``),
    the unspecified ones, and the names of RFC 6761, section 6.3.
    """
    if f".{host.lower().rstrip('.')}".endswith(".localhost"):
        return True
    address = _resolved(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


@lru_cache(maxsize=1024)
def is_link_local(host: str) -> bool:
    """Return whether `host` is an address of one network segment only: of 169.254/16 or fe80::/10, however written."""
    address = _resolved(host)
    return address is not None and address.is_link_local


def literal_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, if it is one; IPv4 where it is mapped into IPv6."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def unmapped(host: str) -> str:
    """Return the IPv4 address that is mapped into an IPv6 one, as a socket for both sees it; others as they are."""
    return str(literal_address(host)) if host.lower().startswith("::ffff:") else host


def zone_of(host: str) -> str:
    """Return the zone of an address, the part behind ``%`` that names an interface of this machine; "" if none."""
    return host.partition("%")[2] if literal_address(host) is not None else ""


def without_zone(host: str) -> str:
    """Return an address without its zone; names as they are."""
    return host.partition("%")[0] if literal_address(host) is not None else host


def shown_address(address: Any) -> str:
    """Return a transport's address as it is shown to people."""
    return str(Address(address.host, address.port)) if hasattr(address, "port") else str(address)


def is_any(host: str) -> bool:
    """Tell whether a host to listen on stands for all interfaces of the machine."""
    address = literal_address(host)
    return host == "" or (address is not None and address.is_unspecified)


def carried(addresses: Iterable[H], *, local: bool, zone: str | None = None) -> tuple[H, ...]:
    """Return what is told of some addresses over a link: those that mean the same at its other end.

    A zone is a name that one machine gives to its interface, so it is left out on every link that leaves the machine.

    :param addresses: as this machine dials them.
    :param local: whether the link stays on this machine; on others a loopback address means somebody else,
        however it is written.
    :param zone: of a link that is link-local itself, "" if it has none, as with IPv4; None for all other links, over
        which no link-local address means anything.
    """
    if local:
        return tuple(addresses)
    told = (address for address in addresses if not leads_home(address.host))
    return tuple(
        _at(address, without_zone(address.host))
        for address in told
        if not is_link_local(address.host) or _is_on_segment(address.host, zone)
    )


def believed(addresses: Iterable[H], *, local: bool, zone: str | None = None) -> tuple[H, ...]:
    """Return what is believed of some addresses that were told over a link, as this machine dials them.

    A link-local address is one of the segment that the link is on, whatever zone the other end may have told.

    :param local: whether the link stays on this machine.
    :param zone: as in :func:`carried`.
    """
    if local:
        return tuple(addresses)
    meant = carried((_at(address, without_zone(address.host)) for address in addresses), local=False, zone=zone)
    return tuple(
        _at(address, f"{address.host}%{zone}") if zone and _needs_zone(address.host) else address for address in meant
    )


def _resolved(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, in the forms that only resolvers understand, too."""
    with suppress(OSError):
        host = socket.inet_ntoa(socket.inet_aton(host))
    return literal_address(host)


def _needs_zone(host: str) -> bool:
    """Return whether an address can't be dialed without a zone: the system must know on which segment it is."""
    return is_link_local(host) and isinstance(literal_address(host), ipaddress.IPv6Address)


def _is_on_segment(host: str, zone: str | None) -> bool:
    """Return whether a link-local address is on the segment of a link; one without a zone is on each of them."""
    if zone is None or not _needs_zone(host):
        return zone is not None
    own = zone_of(host)
    return zone != "" and (own in ("", zone) or _interface(own) == _interface(zone))


def _interface(zone: str) -> str:
    """Return the number of the interface that a zone names, as systems take both; the zone itself if there is none."""
    with suppress(OSError):
        return str(socket.if_nametoindex(zone))
    return zone


def _at(address: H, host: str) -> H:
    return address if host == address.host else type(address)(host, address.port)


def parse_node_id(value: object) -> int:
    """Return the node id that an int or a decimal string stands for.

    :raises ConfigurationError: when it is neither, or outside 0 … 2^63 − 1.
    """
    number = value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 19:
        number = int(value)
    if type(number) is not int or not 0 <= number <= MAX_NODE_ID:
        raise ConfigurationError(f"a node id is a whole number from 0 to {MAX_NODE_ID}, not {described(value)}")
    return number


def _is_host(text: str) -> bool:
    """Return whether a text can be a host: only IPv6 addresses have colons, so ``localhost:8000`` is none."""
    return len(text) <= MAX_HOST and bool(_HOST.fullmatch(text)) and (":" not in text or bool(literal_address(text)))


def parse_address(value: object, *, free_port: bool = False) -> Address:
    """Return the address that a ``(host, port)`` pair stands for.

    :param free_port: whether port 0 ("any free one") is allowed, as it is for listening.
    :raises ConfigurationError: when the pair is malformed or the port out of range.
    """
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) != 2:
        raise ConfigurationError(f"an address is a (host, port) pair, not {described(value)}")
    host, port = value
    if not isinstance(host, str) or not _is_host(host):
        raise ConfigurationError(f"a host is a name, in ASCII, or an IP address, not {described(host)}")
    if isinstance(port, str) and port.isascii() and port.isdecimal() and len(port) <= 5:
        port = int(port)
    least = 0 if free_port else 1
    if type(port) is not int or not least <= port <= 65535:
        raise ConfigurationError(f"a port is a whole number from {least} to 65535, not {described(port)}")
    return Address(host, port)


def parse_networks(value: object) -> tuple[Network, ...]:
    """Return the networks that a text, or several texts or networks, stand for, each once.

    :param value: addresses and networks in CIDR form, such as ``192.0.2.7, 10.0.0.0/8``; or an iterable of such, one
        each.
    :raises ConfigurationError: when one of them is something else.
    """
    if isinstance(value, str):
        value = [text for text in re.split(r"[,\s]+", value) if text]
    elif not isinstance(value, Iterable) or isinstance(value, (bytes, bytearray)):
        raise ConfigurationError(f"networks are texts such as '192.0.2.7' or '10.0.0.0/8', not {described(value)}")
    return tuple(dict.fromkeys(map(_parse_network, value)))


def _parse_network(value: object) -> Network:
    if isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return value
    if not isinstance(value, str):
        raise ConfigurationError(f"a network is a text such as '192.0.2.7' or '10.0.0.0/8', not {described(value)}")
    try:
        network = ipaddress.ip_network(value, strict=False)
        address = ipaddress.ip_address(value.partition("/")[0])
    except ValueError:
        raise ConfigurationError(
            f"{described(value)} is neither an IP address nor a network such as '10.0.0.0/8'"
        ) from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if mapped is not None and network.prefixlen >= 96:
        return _parse_network(f"{mapped}/{network.prefixlen - 96}")
    if address != network.network_address:
        raise ConfigurationError(
            f"{described(value)} is an address inside of a network: the network is '{network}', the address '{address}'"
        )
    return network


def parse_peer(peer: Any) -> tuple[int, Address | None]:
    """Return the id, and the address if one is given, that a caller's idea of a peer stands for.

    :param peer: ``(peer_id, host, port)``, a :class:`PeerInfo`, or an id alone; an id is an int or a decimal string.
    :raises InvalidPeer: when it is none of these.
    """
    try:
        if isinstance(peer, (int, str)):
            return parse_node_id(peer), None
        if not isinstance(peer, Sequence) or isinstance(peer, bytes) or len(peer) != 3:
            raise ConfigurationError("give an id or a (peer_id, host, port) tuple")
        return parse_node_id(peer[0]), parse_address(peer[1:])
    except ConfigurationError as error:
        raise InvalidPeer(peer, str(error)) from None
