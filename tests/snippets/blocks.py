"""Reads the fenced blocks of a Markdown page, and what each block of a terminal types and shows."""

import re
import subprocess
from dataclasses import dataclass

FENCE = re.compile(r"^( *)(```+|~~~+)(.*)$")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    info: str
    text: str

    @property
    def language(self):
        """`sh` of `sh not-run: needs root`, `rust` of `rust,no_run`."""
        return re.split(r"[ ,]", self.info, maxsplit=1)[0]

    @property
    def excuse(self):
        """Why it is not run, if the page says that it is not."""
        found = re.match(r"\w+ not-run: *(.*)$", self.info)
        return found and found[1]

    @property
    def name(self):
        """How a person finds it."""
        first = next((line for line in self.text.splitlines() if line.strip()), "")
        return f"{self.page}:{self.line} {self.language} {first.strip()[:60]}".replace(": ", " ")


def blocks(page, text):
    """All fenced blocks of the page."""
    found, opened = [], None
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None and fence:
            opened = (fence, number, [])
        elif opened and fence and fence[2].startswith(opened[0][2]) and not fence[3].strip():
            start, at, lines = opened
            indent = len(start[1])
            inner = "".join(f"{line[indent:]}\n" for line in lines)
            found.append(Block(page, at, start[3].strip(), inner))
            opened = None
        elif opened:
            opened[2].append(line)
    assert opened is None, f"{page}: a block has no end"
    return found


def typed(text):
    """The commands of a terminal and what each shows: pairs of text."""
    lines, commands = text.splitlines(), []
    while lines:
        line = lines.pop(0)
        if not line.startswith("$ "):
            if commands:
                commands[-1][1].append(line)
            else:
                assert not line.strip(), f"output before the first command: {line}"
            continue
        command = [line[2:]]
        while lines and (command[-1].endswith("\\") or not whole("\n".join(command))):
            command.append(lines.pop(0))
        commands.append(("\n".join(command), []))
    return [(command, "\n".join(shown).strip("\n")) for command, shown in commands]


def whole(command):
    """Whether a shell would run this, and not wait for more."""
    return subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=False).returncode == 0
