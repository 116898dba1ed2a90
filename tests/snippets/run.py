"""Runs every block of code in the documents against the real binary, or says who does, or repeats the page's reason why nobody can.

Prints `ok NAME` or `FAIL NAME: DETAIL` for each block. From the environment: SUITE_ROOT (the checkout), SUITE_BINARY, SUITE_FOLDER (an
empty one), SUITE_NODE and SUITE_NODE_MODULES, SUITE_PYTHON_GOOGLE and SUITE_PYTHON_OPENAI (with the SDKs).
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

from blocks import blocks, typed
from compare import missing, same_shape
from pages import ELSEWHERE, PAGES, Page

HERE = Path(__file__).parent
ROOT = Path(os.environ["SUITE_ROOT"])
LIMIT_SECS = 60
# What a machine trusts without being told to.
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
# What cargo needs where the home folder is another one.
TOOLCHAIN = {"CARGO_HOME": ".cargo", "RUSTUP_HOME": ".rustup"}
# What changes the machine, or takes longer than anybody waits: a block with one of these may not be run.
NEVER = re.compile(r"^(\$ |# )?(sudo|useradd|systemctl|systemd-run|apt|apt-get|docker|npm|pip)\b|/usr/bin/|/etc/systemd/", re.M)
# Which blocks are code. What is shown in the others is output, or a picture.
SHOWN = ("", "text")


class Failed(Exception):
    """What a block did instead of what its page says."""


def documents():
    """Every page that people read, without what was installed or built."""
    skipped = {"target", "node_modules", ".git", "dist"}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(set(folders) - skipped)
        yield from (Path(folder, file) for file in sorted(files) if file.endswith(".md"))


def free_ports():
    """A port that is free together with the one of TLS beside it, and one more."""
    while True:
        with socket.socket() as one, socket.socket() as two, socket.socket() as three, socket.socket() as four:
            one.bind(("127.0.0.1", 0))
            try:
                two.bind(("127.0.0.1", one.getsockname()[1] + 2))
            except (OSError, OverflowError):
                continue
            three.bind(("127.0.0.1", 0))
            four.bind(("127.0.0.1", 0))
            return [each.getsockname()[1] for each in (one, two, three, four)]


class Run:
    """One page: a folder, its processes, and the shell's variables from one block to the next."""

    def __init__(self, path, page):
        self.page = page
        self.folder = Path(os.environ["SUITE_FOLDER"], re.sub(r"\W+", "-", path))
        self.logs = self.folder / ".logs"
        (self.folder / "home").mkdir(parents=True)
        self.logs.mkdir()
        self.state = self.logs / "state.sh"
        self.state.write_text("")
        plain, tls, emulator, provider = free_ports()
        self.places = {
            "127.0.0.1:8787": f"127.0.0.1:{plain}",
            "127.0.0.1:8789": f"127.0.0.1:{tls}",
            "127.0.0.1:8790": f"127.0.0.1:{emulator}",
            "//gateway.example": f"//127.0.0.1:{tls}",
            "https://generativelanguage.googleapis.com": f"http://127.0.0.1:{provider}",
            "wss://generativelanguage.googleapis.com": f"ws://127.0.0.1:{provider}",
            "https://api.openai.com": f"http://127.0.0.1:{provider}",
            "wss://api.openai.com": f"ws://127.0.0.1:{provider}",
        }
        self.places |= {shown: self.placed(used) for shown, used in page.instead.items()}
        self.authorities = self.logs / "authorities.pem"
        self.environment = {
            "PATH": f"{Path(os.environ['SUITE_BINARY']).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "LOGS": str(self.logs),
            "ROOT": str(ROOT),
            "PLAIN": f"127.0.0.1:{plain}",
            "TLS": f"127.0.0.1:{tls}",
            "EMULATOR": f"127.0.0.1:{emulator}",
            "PROVIDER": f"127.0.0.1:{provider}",
            **{name: str(self.authorities) for name in ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")},
            **{name: os.environ.get(name, str(Path.home() / folder)) for name, folder in TOOLCHAIN.items()},
            "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target")),
        }
        if page.setup:
            self.shell(page.setup)

    def placed(self, text):
        """The text with the addresses of this run."""
        for shown, used in self.places.items():
            text = text.replace(shown, used)
        return text

    def unplaced(self, text):
        """Output, with the addresses that the pages use."""
        for shown, used in self.places.items():
            if shown.startswith(("127.", "/")):
                text = text.replace(used, shown)
        return text.replace(str(self.folder), "/tmp/try").replace(str(ROOT), "/checkout")

    def shell(self, script, code=0):
        """Runs a script after what ran before it, and gives its output."""
        text = f'. "{HERE}/prelude.sh"\n. "{self.state}"\n{script}\nset +e\nexport -p | grep -v -- "-x PWD=" > "{self.state}"\n'
        own = self.folder / ".keymoat/tls/ca.pem"
        self.authorities.write_text("".join(file.read_text() for file in (AUTHORITIES, own) if file.exists()))
        log = self.logs / "block.log"
        with log.open("wb") as file:
            bash = subprocess.Popen(["bash", "-c", text], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
            try:
                ended = bash.wait(LIMIT_SECS)
            except subprocess.TimeoutExpired:
                bash.kill()
                ended = "nothing, it ran on"
        output = log.read_text(errors="replace")
        with (self.logs / "all.log").open("a") as file:
            file.write(output)
        if code is not None and ended != code:
            raise Failed(f"ended with {ended}: {output.strip()[-1500:]}")
        return output

    def end(self):
        """Ends what runs in the background, and looks for the secrets of this page in what it wrote."""
        for file in self.logs.glob("*.pid"):
            try:
                os.kill(int(file.read_text()), signal.SIGTERM)
            except ProcessLookupError:
                pass
        secrets = {}
        for pattern in ("*.key", "*_key", "key.txt", ".keymoat/*.key"):
            for file in self.folder.glob(pattern):
                if file.name not in ("master.key", "fingerprint.key") and len(file.read_text().strip()) > 15:
                    secrets[file.name] = file.read_text().strip()
        for log in self.logs.glob("*.log"):
            if log.name == "block.log":
                continue
            text = log.read_text(errors="replace")
            found = [name for name, secret in secrets.items() if secret in text]
            if found:
                raise Failed(f"{', '.join(found)} in {log.name}")

    def block(self, block):
        """Runs one block."""
        selected = [hidden for part, hidden in self.page.before.items() if part in block.text]
        for hidden in selected:
            self.shell(self.placed(hidden))
        frame = next((frame for part, frame in self.page.frames.items() if part in block.text), None)
        code = next((code for part, code in self.page.codes.items() if part in block.text), 0)
        kinds = {
            "sh": lambda: self.shell(self.placed(block.text), code),
            "console": lambda: self.console(block),
            "toml": lambda: self.configuration(block),
            "json": lambda: self.json(block),
            "js": lambda: self.script(block, frame, "mjs", f'"{os.environ["SUITE_NODE"]}"'),
            "python": lambda: self.script(block, frame, "py", self.python(frame)),
        }
        if block.language not in kinds:
            raise Failed(f"nobody runs `{block.language}`: say why with `{block.language} not-run: REASON`")
        kinds[block.language]()

    def console(self, block):
        """What is typed, and what that shows; what shows a failure may end as one."""
        for command, shown in typed(block.text):
            output = self.unplaced(self.shell(self.placed(command), None if shown else 0))
            line = missing(shown, output)
            if line is not None:
                raise Failed(f"`{command[:60]}` does not show `{line}` but: {output.strip()[-1500:]}")

    def configuration(self, block):
        """A configuration, as `keymoat check` reads it; a page may say what completes a part of one."""
        more = next((more for part, more in self.page.complete.items() if part in block.text), "")
        (self.folder / "keymoat.toml").write_text(self.placed(block.text + more))
        output = self.shell("keymoat check")
        if "is well" not in output:
            raise Failed(output)

    def json(self, block):
        """What a program prints: one object, with the names that it has today."""
        json.loads(block.text)
        for part, command in self.page.prints.items():
            if part in block.text:
                seen = self.shell(self.placed(command)).strip().splitlines()[-1]
                if not same_shape(block.text, seen):
                    raise Failed(f"`{command}` prints other names: {seen}")

    def python(self, frame):
        return os.environ["SUITE_PYTHON_OPENAI" if frame and "openai" in frame else "SUITE_PYTHON_GOOGLE"]

    def script(self, block, frame, extension, program):
        """A program in its frame: what the text around it takes for granted, and what has to come of it."""
        text = block.text
        if frame:
            around = (HERE / "frames" / f"{frame}.{extension}").read_text()
            place = re.search(r"^( *)(?://|#) SNIPPET$", around, re.M)
            inner = "".join(f"{place[1]}{line}\n" if line else "\n" for line in text.splitlines())
            text = around[: place.start()] + inner + around[place.end() + 1 :]
        file = self.folder / f"snippet.{extension}"
        file.write_text(self.placed(text))
        if extension == "mjs":
            self.packages()
        self.shell(f"{program} {file.name}")

    def packages(self):
        """The npm packages of the Node suite, and ours as it was built."""
        modules = self.folder / "node_modules"
        if modules.exists():
            return
        modules.mkdir()
        for package in Path(os.environ["SUITE_NODE_MODULES"]).iterdir():
            (modules / package.name).symlink_to(package)
        (modules / "keymoat").symlink_to(ROOT / "clients/typescript")


def tell(name, attempt):
    """Prints what became of it, and says whether it failed."""
    try:
        attempt()
    except (Failed, AssertionError, ValueError, OSError) as error:
        print(f"FAIL {name}: {' '.join(str(error).split())}", flush=True)
        return 1
    print(f"ok {name}", flush=True)
    return 0


def page_run(path, text, only):
    """Runs what there is to run on one page, and says how many blocks failed."""
    mine = []
    for block in blocks(path, text):
        if block.language in SHOWN:
            if re.search(r"^\$ ", block.text, re.M):
                mine.append((block, "it types commands: say `console`"))
        elif block.excuse is not None:
            if len(block.excuse.split()) < 3:
                mine.append((block, "`not-run:` wants a reason"))
        elif (path, block.language) in ELSEWHERE:
            file, proof = ELSEWHERE[path, block.language]
            if proof not in (ROOT / file).read_text():
                mine.append((block, f"`{file}` does not run it any more"))
        elif block.language in ("sh", "console") and NEVER.search(block.text):
            mine.append((block, f"it changes the machine: say why with `{block.language} not-run: REASON`"))
        else:
            mine.append((block, None))
    if not mine or (only and only not in path):
        return 0
    page = PAGES.get(path, Page())
    code = "".join(block.text for block, _ in mine)
    stale = [part for part in page.parts() if part not in code]
    if stale:
        print(f"FAIL {path}: no block that is run holds `{stale[0]}`, which `pages.py` speaks of", flush=True)
        return 1
    failed, runs = 0, []
    if tell(f"{path}: is set up", lambda: runs.append(Run(path, page))):
        return 1

    def stop(why):
        raise Failed(why)

    for block, why in mine:
        failed += tell(block.name, lambda block=block, why=why: stop(why) if why else runs[0].block(block))
    return failed + tell(f"{path}: no secret in what was printed", runs[0].end)


def main():
    only = sys.argv[1] if len(sys.argv) > 1 else None
    failed, pages = 0, set()
    for file in documents():
        path = str(file.relative_to(ROOT))
        pages.add(path)
        failed += page_run(path, file.read_text(), only)
    gone = sorted((set(PAGES) | {path for path, _ in ELSEWHERE}) - pages)
    if gone:
        failed += 1
        print(f"FAIL pages.py: there is no {', '.join(gone)}", flush=True)
    sys.exit(1 if failed else 0)


main()
