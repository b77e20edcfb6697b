"""Write the tables that the documentation takes from the code: ``python docs/tables.py``.

Where the code has a table, it is printed; where it has a machine, the machine is run, each stimulus in each state, and
what it did is printed. A test compares the pages with what this program would write.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from netlayer.config import Settings
from netlayer.errors import LinkLost, Rejected
from netlayer.net.dialing import Dialer, DialerState, is_final
from netlayer.sansio.delivery.delivery import Delivery
from netlayer.sansio.delivery.load import NodeLoad
from netlayer.sansio.link import states
from netlayer.sansio.link.connection import Connection
from netlayer.sansio.link.handshake import LocalNode
from netlayer.sansio.link.selection import Probe, Refuse, Selection, Take
from netlayer.sansio.link.states import CARRIES, LEGAL, TAKES_DATA, State
from netlayer.testing.command import options_parser
from netlayer.wire.messages import MIN_MAX_FRAME, RejectCode

DOCS = Path(__file__).parent
NOTHING = "—"


def table(widths: Sequence[int], rows: Iterable[Sequence[str]]) -> str:
    """Return rows, the first of them the header, as reST."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in rows:
        lines += [f"   {'  ' if number else '* '}- {cell}" for number, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


# ---- settings


def amount(value: float, unit: str) -> str:
    """Return a value as people write it: large amounts of bytes in KiB or MiB."""
    if unit == "bytes":
        for size, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if value >= size and value % size == 0:
                return f"{value // size} {name}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def allowed(least: float, most: float, unit: str) -> str:
    """Return the range of a setting in words."""
    unlimited = most == 2**53
    return f"from {amount(least, unit)}" if unlimited else f"{amount(least, unit)} to {amount(most, unit)}"


def settings() -> str:
    """Return the fields of Settings."""
    rows = [("Setting", "Default", "Unit", "Allowed", "What it is", "Why this default")]
    for field in attrs.fields(Settings):
        unit, least = field.metadata["unit"], field.metadata["least"]
        about = field.metadata["what"], field.metadata["why"]
        if least is None:
            default, limits = "none", "addresses, and networks in CIDR form"
        else:
            default, limits = amount(field.default, unit), allowed(least, field.metadata["most"], unit)
        rows.append((f"``{field.name}``", default, unit, limits, *about))
    return table((18, 10, 10, 16, 23, 23), rows)


# ---- one connection


def legal() -> str:
    """Return what a peer may send in which state of a connection."""
    meanings = dict(re.findall(r"^    (\w+) = \"[^\"]+\"(?:  # (.+))?$", inspect.getsource(states.State), re.MULTILINE))
    rows = [("State", "What it is", "What the peer may send", "Packets leave")]
    for state in State:
        messages = sorted(kind.__name__.upper() for kind in LEGAL[state])
        if state in TAKES_DATA:
            messages = ["DATA", "DATA_PART", *messages]
        carries = "yes" if state in CARRIES else NOTHING
        rows.append((state.value, meanings[state.name] or NOTHING, ", ".join(messages) or NOTHING, carries))
    return table((18, 32, 40, 10), rows)


class End:
    """One end of a connection in memory."""

    def __init__(self, node_id: int, *, dialed: bool) -> None:
        self.fingerprint = bytes([node_id]) * 32
        local = LocalNode(
            network="default",
            node_id=node_id,
            fingerprint=self.fingerprint,
            role="peer",
            boot=node_id,
            ephemeral=True,
            window=Settings().window,
            max_frame=MIN_MAX_FRAME,
            max_packet=Settings().max_packet,
        )
        self.connection = Connection(local=local, settings=Settings(), dialed=dialed, now=0.0)
        self.delivery = Delivery(
            peer_id=None, settings=Settings(), load=NodeLoad(), rng=random.Random(node_id), now=0.0
        )

    def accept(self) -> None:
        """Let the other end in."""
        self.connection.accept(self.delivery, 0.0)

    def send_to(self, other: End) -> None:
        """Have everything arrive that this end has to say."""
        data = self.connection.data_to_send(0.0)
        self.connection.after_sending()
        other.connection.receive_data(data, 0.0)


def life() -> str:
    """Return the states of both ends of a connection, from TLS to the end, when its dialer is the arbiter."""
    dialer, listener = End(2, dialed=True), End(1, dialed=False)
    rows = [("What happens", "Dialer", "Listener")]

    def step(what: str, *actions: Callable[[], object]) -> None:
        for action in actions:
            action()
        rows.append((what, dialer.connection.state.value, listener.connection.state.value))

    step("TCP stands")
    step(
        "TLS stands; the dialer says HELLO",
        lambda: dialer.connection.secured(listener.fingerprint, None, bytes(32)),
        lambda: listener.connection.secured(dialer.fingerprint, None, bytes(32)),
    )
    step("HELLO arrives", lambda: dialer.send_to(listener))
    step("the listener lets the dialer in, and says WELCOME", listener.accept)
    step("WELCOME arrives", lambda: listener.send_to(dialer))
    step("the dialer lets the listener in", dialer.accept)
    step("the arbiter, here the dialer, says SELECT", dialer.connection.select)
    step("SELECT arrives, and is answered by SELECTED", lambda: dialer.send_to(listener))
    step("SELECTED arrives", lambda: listener.send_to(dialer))
    step("the dialer says GOODBYE", lambda: dialer.connection.goodbye("shutdown", "", 0.0))
    step("GOODBYE arrives, and is answered; nothing is in flight", lambda: dialer.send_to(listener))
    step("the answer arrives", lambda: listener.send_to(dialer))
    return table((50, 25, 25), rows)


# ---- which connection is the link


def selection() -> str:
    """Return what the arbiter decides, in each situation on each event."""
    only, first, second, third = "it", "the link", "the candidate", "the new one"
    situations = {"no link": 0, "a link": 1, "a link, and a candidate": 2}
    events: dict[str, Callable[[Selection[str], int], list[object]]] = {
        "another connection is proven": lambda s, n: s.proven((only, second, third)[n], 1, 1.0),
        "bytes come on the link": lambda s, n: s.spoke(first) if n else [],
        "the link is lost": lambda s, n: s.lost(first) if n else [],
        "the candidate is lost": lambda s, n: s.lost(second) if n == 2 else [],
        "2 s have passed": lambda s, n: s.deadline_reached(2.0),
    }

    def word(decision: object) -> str:
        match decision:
            case Take(connection):
                return f"SELECT {connection}, close every other"
            case Refuse(connection, code, None):
                return f"REJECT ``{code}`` to {connection}"
            case Refuse(connection, code, again):
                return f"REJECT ``{code}`` to {connection}, come back in {again:g} s"
            case Probe(connection):
                return f"PING {connection}"
        raise AssertionError(decision)

    def outcome(event: Callable[[Selection[str], int], list[object]], number: int, *, clone: bool = False) -> str:
        chosen = Selection[str](probe_timeout=2.0)
        for boot, connection in zip((1, 2 if clone else 1), (first, second)[:number], strict=False):
            chosen.proven(connection, boot, 0.0)
        decisions = event(chosen, number)
        return "; ".join(map(word, decisions)) or NOTHING

    rows = [("Event", *situations)]
    for name, event in events.items():
        cells = [outcome(event, number) for number in situations.values()]
        if name == "bytes come on the link":
            clone = outcome(event, 2, clone=True)
            cells[-1] = f"{cells[-1]}; if it belongs to another process: {clone}"
        rows.append((name, *cells))
    return table((22, 22, 22, 34), rows)


# ---- dialing


class Dialing:
    """A dialer, brought into a state."""

    def __init__(self, state: DialerState = DialerState.IDLE, *, believes: bool = False) -> None:
        self.clock = Clock()
        self.attempts: list[Deferred[object]] = []
        self.dialer = Dialer(
            self.clock,
            self._dial,
            settings=Settings(),
            rng=random.Random(1),
            failed=lambda error: None,
            believes=lambda: believes,
        )
        if state is not DialerState.IDLE:
            self.dialer.start()
        if state is DialerState.WAITING:
            self.fail(LinkLost("refused"))
        elif state is DialerState.LINKED:
            self.dialer.linked(Other())
        elif state is DialerState.STOPPED:
            self.dialer.stop()
        assert self.dialer.state is state

    def _dial(self, connected: Callable[[], None]) -> Deferred[object]:
        self.attempts.append(Deferred())
        return self.attempts[-1]

    def succeed(self) -> None:
        """Have the attempt succeed, if one is under way."""
        if self.attempts and not self.attempts[-1].called:
            self.attempts[-1].callback(Other())

    def fail(self, error: Exception) -> None:
        """Have the attempt fail, if one is under way."""
        if self.attempts and not self.attempts[-1].called:
            self.attempts[-1].errback(error)

    def wait(self) -> None:
        """Let all waits end."""
        self.clock.advance(max([0.0, *(call.getTime() for call in self.clock.getDelayedCalls())]))


class Other:
    """A link that somebody else has made."""

    def is_outcome_of(self, attempt: object) -> bool:
        """Tell that it was not this attempt."""
        return False


def dialer() -> str:
    """Return the states of a dialer, in each state after each event."""
    events: dict[str, Callable[[Dialing], object]] = {
        "start": lambda dialing: dialing.dialer.start(),
        "the attempt succeeds": Dialing.succeed,
        "the attempt fails": lambda dialing: dialing.fail(LinkLost("refused")),
        "the wait is over": Dialing.wait,
        "somebody sends": lambda dialing: dialing.dialer.wake(),
        "a link stands, whoever dialed": lambda dialing: dialing.dialer.linked(Other()),
        "the link is lost": lambda dialing: dialing.dialer.lost(),
        "REJECT ``self``": lambda dialing: dialing.fail(Rejected(RejectCode.SELF, "")),
        "stop": lambda dialing: dialing.dialer.stop(),
    }
    starting = {"start": [DialerState.IDLE]}  # only then it is started
    rows = [("Event", *(state.value for state in DialerState))]
    for name, event in events.items():
        cells = []
        for state in DialerState:
            if state not in starting.get(name, DialerState):
                cells.append(NOTHING)
                continue
            dialing = Dialing(state)
            event(dialing)
            cells.append(dialing.dialer.state.value if dialing.dialer.state is not state else NOTHING)
        rows.append((name, *cells))
    return table((30, 14, 14, 14, 14, 14), rows)


def refusals() -> str:
    """Return what a dialer does about each REJECT code."""
    codes = [value for name, value in vars(RejectCode).items() if name.isupper()]
    rows = [("Code", "Meant for good", "From the expected key", "From any other")]

    def reaction(code: str, *, believes: bool) -> str:
        dialing = Dialing(DialerState.DIALING, believes=believes)
        dialing.fail(Rejected(code, ""))
        if dialing.dialer.state is DialerState.STOPPED:
            return "stops"
        assert dialing.dialer.next_attempt is not None
        return "dials again in 60 s" if dialing.dialer.next_attempt >= 60.0 else "dials again soon"

    for code in codes:
        final = "yes" if is_final(Rejected(code, "")) else NOTHING
        rows.append((f"``{code}``", final, reaction(code, believes=True), reaction(code, believes=False)))
    return table((28, 20, 26, 26), rows)


# ---- the command line of the test kit


def scenario_options() -> str:
    """Return the options of ``python -m netlayer.testing``."""
    rows = [("Option", "What it does")]
    for action in options_parser()._actions:
        names = [f"{name} {action.metavar}" if action.metavar else name for name in action.option_strings]
        rows.append((", ".join(f"``{name}``" for name in names or [str(action.metavar)]), str(action.help)))
    return table((2, 3), rows)


TABLES = {
    "scenario_options": scenario_options,
    "settings": settings,
    "legal": legal,
    "life": life,
    "selection": selection,
    "dialer": dialer,
    "refusals": refusals,
}
#: A table in a page, between two comments.
PLACE = re.compile(r"(?<=\.\. BEGIN )(?P<name>\w+), written by docs/tables\.py\n.*?(?=\.\. END)", re.DOTALL)


def page(text: str) -> str:
    """Return the text of a page with its tables as they should be."""
    return PLACE.sub(lambda place: f"{place['name']}, written by docs/tables.py\n\n{TABLES[place['name']]()}\n", text)


if __name__ == "__main__":
    for path in sorted(DOCS.rglob("*.rst")):
        text = path.read_text("utf-8")
        if page(text) != text:
            path.write_text(page(text), "utf-8")
            print("written:", path)
