"""Small programs that stand for an engine which behaves in one particular way; each speaks the real protocol."""

from __future__ import annotations

import sys
import textwrap

from UMambaSegmentLib.engine.process import Command

_COMMON = """
import json, os, sys, threading, time
def say(**event):
    sys.stdout.write(json.dumps(event) + "\\n"); sys.stdout.flush()
def ready(protocol=1):
    say(event="ready", protocol=protocol, engine="9.9", python="3.12.1", executable=sys.executable, pid=os.getpid())
def lines():
    for line in sys.stdin:
        yield json.loads(line)
def beat():
    while True:
        say(event="heartbeat", busy=None); time.sleep(0.05)
"""

PROGRAMS = {
    "echo": """
        ready()
        for ask in lines():
            if ask["request"] == "quit": say(event="bye", reason="quit"); break
            say(event="progress", id=ask["id"], stage="network", done=1, total=2)
            say(event="result", id=ask["id"], said=ask.get("word"), pid=os.getpid())
    """,
    "slow": """
        ready()
        threading.Thread(target=beat, daemon=True).start()
        current = None
        for ask in lines():
            if ask["request"] == "quit": break
            if ask["request"] == "cancel": say(event="cancelled", id=ask["target"]); continue
            if ask["request"] == "never": continue
    """,
    "deaf": """
        ready()
        threading.Thread(target=beat, daemon=True).start()
        for ask in lines(): pass
        time.sleep(60)
    """,
    "hangs": """
        ready()
        for ask in lines(): pass
    """,
    "dies": """
        ready()
        for ask in lines():
            sys.stderr.write("Traceback: something broke\\nlast words\\n"); sys.stderr.flush()
            os._exit(3)
    """,
    "killed": """
        ready()
        for ask in lines():
            os.kill(os.getpid(), 9)
    """,
    "never ready": "time.sleep(60)",
    "dies at start": "sys.stderr.write(\"ModuleNotFoundError: No module named 'torch'\\n\"); sys.exit(1)",
    "other protocol": """
        ready(protocol=99)
        for ask in lines(): pass
    """,
    "noisy": """
        ready()
        for ask in lines():
            sys.stdout.write("a stray line\\n{}\\n[1]\\n"); sys.stdout.flush()
            say(event="result", id=ask["id"], said="fine")
    """,
    "idle once": """
        # ends by idleness the first time just as a job arrives, and serves the second time
        import pathlib
        mark = pathlib.Path(sys.argv[1])
        ready()
        for ask in lines():
            if not mark.exists():
                mark.write_text("x"); say(event="bye", reason="idle"); break
            say(event="result", id=ask["id"], said="second")
    """,
    "launcher": """
        # as PythonSlicer: the interpreter is this program's child and inherits its pipes
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
        sys.exit(child.wait())
    """,
}


def source(name: str) -> str:
    """The whole text of a program."""
    return _COMMON + textwrap.dedent(PROGRAMS[name])


def command(name: str, *arguments: str) -> Command:
    """What starts it."""
    return Command(sys.executable, ("-u", "-c", source(name), *arguments))
