"""What the scripts of all Python clients share: the keys, a place to note tokens, and a runner that prints each outcome.

Prints `ok NAME` or `FAIL NAME: DETAIL` for every check. SUITE_KEY_FILE (the client's key), SUITE_WRONG_KEY and SUITE_TOKENS_FILE
(where minted tokens are noted, to be searched for afterwards) come from the environment.
"""

import asyncio
import os
from pathlib import Path

# Well-formed, but no gateway ever issued it.
WRONG_KEY = os.environ["SUITE_WRONG_KEY"]
LIMIT_SECS = 20

CHECKS = []


def check(name):
    """Registers a function as the check `name`."""

    def register(function):
        CHECKS.append((name, function))
        return function

    return register


def own_key():
    """The backend's key."""
    return Path(os.environ["SUITE_KEY_FILE"]).read_text().strip()


def note(token):
    """Notes a minted token, so that everything can be searched for it when all is over."""
    with open(os.environ["SUITE_TOKENS_FILE"], "a", encoding="ascii") as file:
        file.write(token + "\n")
    return token


async def run():
    """Runs every check, and says how many failed."""
    failed = 0
    for name, function in CHECKS:
        try:
            await asyncio.wait_for(function(), LIMIT_SECS)
        except Exception as error:  # whatever the SDK raises is the finding
            failed += 1
            text = " ".join(str(error).split())
            print(f"FAIL {name}: {type(error).__module__}.{type(error).__name__} {text}", flush=True)
        else:
            print(f"ok {name}", flush=True)
    return 1 if failed else 0
