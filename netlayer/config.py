"""The settings of a node: four module constants that are the classic defaults, and :class:`Settings` for everything.

Each field of :class:`Settings` says its unit, what it limits and why it has the value it has; the settings reference of
the documentation and the options of the ``twistd`` commands are made from that.
"""

from __future__ import annotations

from typing import Any

import attrs

from netlayer.addresses import Network, parse_networks
from netlayer.errors import ConfigurationError, described

__all__ = ["BUFFER_SIZE", "MAX_CONNECTIONS", "RETRY_COUNT", "TIMEOUT", "Settings"]

KIB = 1024
MIB = 1024 * KIB

#: How many peers a node is linked to at most.
MAX_CONNECTIONS = 64
#: Payload bytes of one frame at most; larger packets travel in parts of this size.
BUFFER_SIZE = 65536
#: Seconds from dialing or accepting a connection until it has to be ready.
TIMEOUT = 5.0
#: How many times a failed attempt to reach a peer is repeated before an error is reported.
RETRY_COUNT = 3


def _setting(default: float, unit: str, what: str, why: str, *, least: float = 0, most: float = 2**53) -> Any:
    """Declare one field: its default, its unit, what it limits, why so, and the range that makes sense for it."""
    whole = isinstance(default, int)

    def validate(settings: Settings, field: attrs.Attribute[Any], value: object) -> None:
        kinds = (int,) if whole else (int, float)
        if type(value) not in kinds:
            kind = "a whole number" if whole else "a number"
            raise ConfigurationError(f"setting {field.name} must be {kind} ({unit}), not {described(value)}")
        if not least <= value <= most:  # type: ignore[operator]
            end = f"at most {most:.16g}" if value > most else f"at least {least:.16g}"  # type: ignore[operator]
            raise ConfigurationError(f"setting {field.name} must be {end} ({unit}), not {described(value)}")

    return attrs.field(
        default=default,
        validator=validate,
        metadata={
            "kind": int if whole else float,
            "unit": unit,
            "what": what,
            "why": why,
            "least": least,
            "most": most,
        },
    )


def _networks(name: str, unit: str, what: str, why: str) -> Any:
    """Declare a field of addresses and networks, which by default has none."""

    def convert(value: object) -> tuple[Network, ...]:
        try:
            return parse_networks(value)
        except ConfigurationError as error:
            raise ConfigurationError(f"setting {name}: {error}") from None

    return attrs.field(
        default=(),
        converter=convert,
        metadata={"kind": parse_networks, "unit": unit, "what": what, "why": why, "least": None, "most": None},
    )


@attrs.frozen(kw_only=True)
class Settings:
    """Limits and times of a node. Immutable; make another one with :func:`attrs.evolve`.

    :raises ConfigurationError: when a value is of the wrong type or outside of its range.
    """

    max_connections: int = _setting(
        MAX_CONNECTIONS,
        "links",
        "peers that the node is linked to at most",
        "a full mesh of this size fits one process",
        least=1,
    )
    buffer_size: int = _setting(
        BUFFER_SIZE,
        "bytes",
        "payload of one frame; larger packets travel in parts",
        "a receipt waits behind one part at most",
        least=1 * KIB,
        most=1 * MIB,
    )
    timeout: float = _setting(
        TIMEOUT,
        "seconds",
        "time for connecting, and again for the handshake",
        "both take milliseconds; slower is dead",
        least=0.05,
    )
    retry_count: int = _setting(
        RETRY_COUNT,
        "retries",
        "retries before a peer is reported as unreachable",
        "1.75 s on average: chance alone is no failure, and nobody waits long",
        most=1000,
    )

    delivery_timeout: float = _setting(
        10.0, "seconds", "how long a sender waits for a receipt", "a person waits no longer", least=0.05
    )
    max_packet: int = _setting(
        16 * MIB,
        "bytes",
        "the largest packet that is sent or taken; structured values end at 1 MiB",
        "larger things belong in a file transfer",
        least=1 * KIB,
        most=2**31,
    )
    window: int = _setting(
        4 * MIB,
        "bytes",
        "what a peer may send before it has receipts",
        "fills 1 Gbit/s at 30 ms round trip",
        least=64 * KIB,
        most=2**31,
    )
    queue_limit: int = _setting(
        8 * MIB,
        "bytes",
        "what may wait for one peer, receipts included",
        "two windows; what a peer that does not read costs",
        least=64 * KIB,
    )
    node_queue_limit: int = _setting(
        64 * MIB,
        "bytes",
        "what may wait for all peers together",
        "bounds the node; the longest queue refuses",
        least=64 * KIB,
    )
    reassembly_limit: int = _setting(
        64 * MIB,
        "bytes",
        "room for large packets that arrive, all peers together, and a quarter of that for small ones",
        "four of the largest at once; the others wait for their turn",
        least=64 * KIB,
    )
    receipt_bytes: int = _setting(
        256 * KIB,
        "bytes",
        "receipts are gathered up to this much data",
        "one receipt then costs next to nothing",
        least=1,
    )
    receipt_delay: float = _setting(
        0.005,
        "seconds",
        "receipts are gathered for this long",
        "short beside a round trip, long beside a packet",
        most=1,
    )

    session_timeout: float = _setting(
        60.0,
        "seconds",
        "how long delivery survives without a link, or any sign of the peer's process",
        "longer than a reboot of a router",
        least=0.1,
    )
    ping_after: float = _setting(
        5.0, "seconds", "silence after which a peer is asked for a sign", "three chances before it is dead", least=0.05
    )
    dead_after: float = _setting(
        15.0,
        "seconds",
        "silence after which a peer is dead",
        "lost packets of a bad network are repeated by then",
        least=0.1,
    )
    probe_timeout: float = _setting(
        2.0,
        "seconds",
        "silence after which a second connection replaces a link",
        "many round trips of the longest path",
        least=0.05,
    )
    goodbye_timeout: float = _setting(
        5.0,
        "seconds",
        "how long a goodbye waits for receipts",
        "handlers that finish at all mostly finish sooner",
        least=0.05,
    )
    abort_after: float = _setting(
        3.0,
        "seconds",
        "a close that takes longer becomes a reset",
        "a peer that does not read never closes",
        least=0.05,
    )

    backoff_first: float = _setting(
        0.5,
        "seconds",
        "the longest first wait between attempts",
        "what failed by chance is soon tried again",
        least=0.001,
    )
    backoff_cap: float = _setting(
        10.0, "seconds", "the longest wait early in an outage", "short outages end soon after their cause", least=0.001
    )
    backoff_late_cap: float = _setting(
        20.0, "seconds", "the longest wait ever", "with detection and handshake it stays below 30 s", least=0.001
    )
    backoff_late: float = _setting(
        120.0, "seconds", "when an outage counts as a long one", "most restarts are over by then"
    )
    refused_wait: float = _setting(
        60.0, "seconds", "the wait after a refusal for good", "an operator has to act first", least=0.05
    )

    wanted_for: float = _setting(86400.0, "seconds", "how long a vanished peer is dialed", "a day covers a night")
    max_wanted: int = _setting(
        1024, "peers", "vanished peers that are dialed; the oldest are dropped", "bounds memory and dialing", least=1
    )
    lease_grace: float = _setting(
        15.0,
        "seconds",
        "how long a node stays listed after its link broke",
        "as long as silence takes to be death",
        least=0.05,
    )
    lease_renewal: float = _setting(
        30.0, "seconds", "how often a node asks its bootstraps for news", "news mostly come by themselves", least=0.05
    )
    records: int = _setting(
        64, "records", "peers that a bootstrap tells of at once", "as many as a node has links", least=1, most=64
    )

    max_handshakes: int = _setting(
        256,
        "connections",
        "strangers under way; for room the oldest are dropped, silent ones first",
        "bounds what they cost",
        least=1,
    )
    max_handshakes_per_address: int = _setting(
        8,
        "connections",
        "strangers under way from one address, this machine's excepted",
        "an honest node dials once",
        least=1,
    )
    max_violations: int = _setting(
        5,
        "violations",
        "how often a key, or the unknown keys of one address together, may break the protocol",
        "a bug may show once or twice; who goes on is hostile",
        least=1,
        most=1000,
    )
    violation_memory: float = _setting(
        600.0, "seconds", "how long a violation counts, and a refusal lasts", "long beside every retry", least=0.1
    )
    exempt_addresses: tuple[Network, ...] = _networks(
        "exempt_addresses",
        "networks",
        "addresses that many share, as behind a NAT or a load balancer: no limit for one address holds there",
        "only an operator knows them; this machine's own are exempt in any case",
    )
    stranger_lines: int = _setting(
        60, "lines a minute", "log lines that strangers may cause", "a flood must not fill a disk", least=1
    )
    frame_timeout: float = _setting(
        30.0,
        "seconds",
        "how long one frame may take to arrive",
        "a frame has 64 KiB; who takes longer holds memory on purpose",
        least=0.1,
    )
    listen_backlog: int = _setting(
        1024, "connections", "connections that the system holds for us", "with 50, 1,000 connects took 19 s", least=1
    )
    shutdown_timeout: float = _setting(
        10.0, "seconds", "the longest that a shutdown takes", "a goodbye and a close, and some", least=0.1
    )
    blocking_handler: float = _setting(
        1.0, "seconds", "a handler that holds the reactor longer is warned of", "the peers notice soon after"
    )

    def __attrs_post_init__(self) -> None:
        for smaller, larger in (
            ("buffer_size", "max_packet"),
            ("max_packet", "reassembly_limit"),
            ("ping_after", "dead_after"),
            ("backoff_cap", "backoff_late_cap"),
            ("queue_limit", "node_queue_limit"),
        ):
            low, high = getattr(self, smaller), getattr(self, larger)
            if low > high:
                raise ConfigurationError(f"setting {smaller} ({low!r}) must not exceed {larger} ({high!r})")
