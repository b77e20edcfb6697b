"""The rules of delivery as an executable model, which random schedules attack.

Two processes, the connections between them and everything that goes wrong there, without bytes: a frame is a tuple, a
packet an object. What the model executes are the rules of ``docs/reference/wire-protocol.rst``, "Resume", "Window",
"Selection" and "Farewell", and those of delivery that the wire doesn't show. Each rule is there since some schedule
fails without it; :mod:`~tests.sansio.model.readings` has the naive readings, which must go on failing. Rules of
delivery change here first, then in the code:

    python -m tests.sansio.model FIRST LAST [READING,...]
"""
