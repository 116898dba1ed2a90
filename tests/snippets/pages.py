"""What the pages take for granted, page by page: files that are there, processes that run, and what has to come of a piece of code.

A part of a block's text (which one block or several hold) says what a line here is about.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Page:
    """What one page needs beside its blocks."""

    # Commands before the first block.
    setup: str = ""
    # Commands before a block.
    before: dict = field(default_factory=dict)
    # The program in `frames/` that a block of code stands in.
    frames: dict = field(default_factory=dict)
    # The exit code of a block that does not end with 0.
    codes: dict = field(default_factory=dict)
    # What completes a part of a configuration.
    complete: dict = field(default_factory=dict)
    # The command that prints what a block of JSON shows.
    prints: dict = field(default_factory=dict)
    # What stands in a page for something that every reader has another one of.
    instead: dict = field(default_factory=dict)

    def parts(self):
        """Every part of a text that something is said about; each has to be on the page."""
        return [*self.before, *self.frames, *self.codes, *self.complete, *self.prints, *self.instead]


# Code that other tests run: the page and language, the file of the tests, and what in it reads the page.
ELSEWHERE = {
    ("clients/typescript/README.md", "ts"): ("clients/typescript/tests/readme.test.ts", "'README.md'"),
    ("clients/typescript/README.md", "tsx"): ("clients/typescript/tests/readme.test.ts", "'README.md'"),
    ("clients/typescript/README.md", "js"): ("clients/typescript/tests/readme.test.ts", "'README.md'"),
    ("docs/src/typescript.md", "ts"): ("clients/typescript/tests/readme.test.ts", "docs/src/typescript.md"),
    ("docs/src/typescript.md", "js"): ("clients/typescript/tests/readme.test.ts", "docs/src/typescript.md"),
    ("crates/keymoat-client/README.md", "rust"): ("crates/keymoat-client/src/lib.rs", 'include_str!("../README.md")'),
    ("docs/src/rust-client.md", "rust"): ("crates/keymoat-client/src/lib.rs", "docs/src/rust-client.md"),
}

# A key as a provider gives it, for files that have to hold one.
MADE_UP = "(umask 077; openssl rand -hex 24 > {})"
GEMINI_KEY = MADE_UP.format("gemini.key")
GEMINI_ROUTE = """
cat > keymoat.toml <<'END'
[upstream.gemini]
preset = "gemini"
secret = "${file:gemini.key}"
[route.voice]
upstream = "gemini"
END
"""
UPSTREAM_GEMINI = '[upstream.gemini]\npreset = "gemini"\nsecret = "${file:gemini.key}"\n'
ROUTE_OF_GEMINI = f'{UPSTREAM_GEMINI}[route.voice]\nupstream = "gemini"\n'
CERTIFICATE = """
mkdir tls
(umask 077; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=localhost \\
    -addext subjectAltName=DNS:localhost -keyout tls/key.pem -out tls/chain.pem 2> openssl.log)
cp tls/chain.pem tls/clients.pem
"""
# What turns the examples of the Rust client from Google to here.
LOCAL = "--url https://127.0.0.1:8789 --ca-file .keymoat/tls/ca.pem"
# The emulated home-security service, and its key as the operator has it.
HOME = 'keymoat emulate events > /dev/null; install -m 600 .keymoat/emulator.key home.key'
ON_PORT_8000 = {"127.0.0.1:8000": "127.0.0.1:8790"}
# What a server wrote before it stood behind Keymoat.
OLD_LOG = """
mkdir -p var-log
printf '203.0.113.7 - - [26/Jan/2026:16:33:23 +0000] "GET /api/events?page=3&api_key=%s&x=1 HTTP/1.1" 404 485\\n' \\
    "AIzaSy$(openssl rand -hex 40 | head -c 33)" > var-log/access.log
"""
MUSIC = """
mkdir -p src
cat > src/live_music.py <<'END'
async def connect(self, version, api_key):
    headers = {'x-goog-api-key': api_key}
    uri = f'{base_url}/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateMusic?key={api_key}'
END
"""
# In the place of Google and OpenAI: an emulated provider that takes keys wherever they do, the same key as the gateway, to keep it simple.
PROVIDER = """
keymoat serve > /dev/null
install -m 600 .keymoat/demo.key key.txt
background provider emulate gemini --credentials provider --secret-file key.txt --listen "$PROVIDER" > /dev/null
mint() { curl -sf "http://$PROVIDER/v1alpha/auth_tokens" -H "x-goog-api-key: $(cat key.txt)" -d '{"uses": 9}'; }
mint | python3 -c 'import json, sys; print(json.load(sys.stdin)["name"])' | (umask 077; cat > token.txt)
"""

PAGES = {
    "README.md": Page(
        setup=GEMINI_KEY
        + OLD_LOG
        + """
mkdir -p home/project bin
printf '#!/bin/sh\\ncat var-log/access.log\\n' > bin/kubectl
chmod +x bin/kubectl
PATH="$PWD/bin:$PATH"
echo "new WebSocket('wss://gateway.example/ws/events?api_key=' + key)" > failing.js
""",
        before={
            "/v1beta/auth_tokens --cacert": "keymoat serve > /dev/null",
            "[upstream.home]": HOME,
            "api_key=$(cat viewer.key)": "keymoat key create viewer > viewer.key; chmod 600 viewer.key; keymoat serve > /dev/null",
            "keymoat explain < failing.js": "rm keymoat.toml; keymoat serve > /dev/null; install -m 600 .keymoat/demo.key key.txt",
        },
        frames={
            "carryTokensInSubprotocols": "carried",
            "setup: { model": "page",
            "{ headers: { Authorization": "native",
            "client = genai.Client": "google",
            "const live = new GoogleGenAI": "google",
        },
        codes={"keymoat scan /var/log/nginx": 1},
        instead={**ON_PORT_8000, "/var/log/nginx": "var-log", "--secret-file key.txt": "--secret-file key.txt --wait 0"},
    ),
    "crates/keymoat-client/README.md": Page(
        setup="""
keymoat serve > /dev/null
GEMINI_API_KEY=$(cat .keymoat/demo.key)
python3 -c 'import wave; wav = wave.open("question.wav", "wb"); wav.setparams((1, 2, 16000, 0, "NONE", "")); wav.writeframes(bytes(32000))'
""",
        instead={"cargo run": "cargo run --quiet --manifest-path $ROOT/Cargo.toml -p keymoat-client", "--example wav_in_wav_out --": f"--example wav_in_wav_out -- {LOCAL}", "--example music_to_wav --": f"--example music_to_wav -- {LOCAL}"},
    ),
    "docs/src/proxies.md": Page(setup=GEMINI_KEY, complete={'mode = "behind_proxy"': ROUTE_OF_GEMINI}),
    "docs/src/rust-client.md": Page(setup="keymoat serve > /dev/null", instead={"cargo run": "cargo run --quiet --manifest-path $ROOT/Cargo.toml"}),
    "docs/src/backends.md": Page(before={"[upstream.home]": HOME}, instead=ON_PORT_8000),
    "docs/src/carriers.md": Page(
        before={"api_key=stale": 'rm keymoat.toml; keymoat serve > /dev/null; KEY="$(cat .keymoat/demo.key)"'},
        complete={"[route.NAME]": 'upstream = "events"\npaths = ["/api/*"]\n[upstream.events]\nurl = "http://127.0.0.1:8790"\n'},
            ),
    "docs/src/configuration.md": Page(
        setup="""
printf '[upstream.gemini]\\npreset = "gemini"\\nsecret = "AIza-made-up"\\n[route.voice]\\nupstream = "gemni"\\n' > bad.toml
""",
    ),
    "docs/src/deploy.md": Page(
        setup=GEMINI_KEY + CERTIFICATE + f"GEMINI_KEY=$(cat gemini.key); BACKEND_KEY=$({MADE_UP.format('backend_key')}; cat backend_key)",
        complete={"dir = \"/var/lib/keymoat\"": ROUTE_OF_GEMINI},
        instead={"/etc/keymoat/": "tls/", "/var/lib/keymoat": "var-lib"},
    ),
    "docs/src/emulator.md": Page(),
    "docs/src/explain.md": Page(
        setup=PROVIDER + "echo 'wss://gateway.example/ws/events?api_key=KEY' > failing.txt\n"
        "mkdir bin; printf '#!/bin/sh\\ncat failing.txt\\n' > bin/pbpaste; chmod +x bin/pbpaste; PATH=\"$PWD/bin:$PATH\"",
        frames={
            "fetch('https://gateway.example/api/events'": "browser",
            "/ws/events', [], {": "native_sockets",
            "?access_token=": "browser",
            "Authorization: `Token ${token}`": "native_sockets",
            "'openai-insecure-api-key.'": "browser",
            "['realtime'],\n": "native_sockets",
            "websockets.connect(": "websockets",
            "# google-genai 2.9.0 or later": "google_clients",
            "# the SDK chooses method": "google_live",
            "AsyncOpenAI": "openai_realtime",
        },
        instead={"--secret-file key.txt": "--secret-file key.txt --wait 0", "model=…": "model=gpt-realtime", "models/…": "models/gemini-2.5-flash-native-audio"},
    ),
    "docs/src/gemini.md": Page(setup=GEMINI_KEY),
    "docs/src/keys.md": Page(
        before={
            "keymoat key list": """
keymoat key revoke viewer > /dev/null 2>&1
rm -r .keymoat
(keymoat key create voice-app --scope voice --scope voice-old --rotate-after 90d; keymoat key create viewer --scope home --expires 90d
keymoat key create doomed) > /dev/null 2>&1
""",
            "key import old.env": "(umask 077; printf '# the old backend\\nAPI_KEYS=%s\\n' \"$(openssl rand -hex 16)\" > old.env)",
        },
    ),
    "docs/src/metrics.md": Page(
        setup=GEMINI_KEY + "\nmkdir secrets\n" + MADE_UP.format("secrets/otlp"),
        complete={"[telemetry]": ROUTE_OF_GEMINI},
        instead={"/run/secrets/": "secrets/"},
    ),
    "docs/src/sunset.md": Page(
        complete={"[route.events]": 'upstream = "events"\npaths = ["/api/*"]\n[upstream.events]\nurl = "http://127.0.0.1:8790"\n'},
        before={
            "keymoat sunset status": """
keymoat key create one > one.key
keymoat key create two > two.key
keymoat serve > /dev/null
for key in one two; do
    curl -s -o /dev/null "http://127.0.0.1:8787/api/events?api_key=$(cat $key.key)"
done
sleep 2
""",
        },
    ),
    "docs/src/openai.md": Page(
        setup=MADE_UP.format("openai.key"),
    ),
    "docs/src/operations.md": Page(
        setup="keymoat key create one > /dev/null 2>&1",
        before={"keymoat key list": "chmod 640 .keymoat/master.key"},
        prints={'"demo_key_file"': "keymoat serve --json | sed -n 1p"},
    ),
    "docs/src/quick-start.md": Page(
        setup=GEMINI_KEY,
        prints={'"credential":"valid"': 'curl -s -H "X-API-Key: $KEY" -d hi http://127.0.0.1:8787/demo/echo'},
    ),
    "docs/src/redaction.md": Page(
        setup=OLD_LOG + "mkdir bin; printf '#!/bin/sh\\ncat access.log\\n' > bin/tail; chmod +x bin/tail; PATH=\"$PWD/bin:$PATH\"\ncp var-log/access.log .",
        complete={"[redact]": ROUTE_OF_GEMINI},
        before={"[redact]": GEMINI_KEY},
    ),
    "docs/src/scan.md": Page(
        setup=OLD_LOG
        + MUSIC
        + """
for n in $(seq 30); do sed s,26/Jan,02/Jan, var-log/access.log; done | gzip > var-log/access.log.2.gz
mkdir logs
mkdir -p home/.config/google-chrome/Default
python3 -c 'import sqlite3; sqlite3.connect("home/.config/google-chrome/Default/History").execute("create table urls (url text)")'
""",
        frames={"keymoat: allow(url-credential)": "waived"},
        instead={"/var/log/nginx": "var-log"},
    ),
    "docs/src/secrets.md": Page(
        setup=GEMINI_KEY + "\n" + MADE_UP.format("next.key") + GEMINI_ROUTE.replace('secret = "${file:gemini.key}"\n', ""),
        before={
            "there is no master key": "mv .keymoat/master.key away",
        },
        instead={"/backup/keymoat-2026-11-22": "the-backup"},
    ),
    "docs/src/subprotocols.md": Page(
        frames={"new WebSocket": "events", "socket.onclose": "refused"},
        before={"new WebSocket": "keymoat serve > /dev/null"},
        complete={"[route.events]": 'upstream = "events"\npaths = ["/ws/*"]\n[upstream.events]\nurl = "http://127.0.0.1:8790"\n'},
    ),
    "docs/src/tls.md": Page(
        setup=GEMINI_KEY + CERTIFICATE,
        complete={'mode = "provided"': ROUTE_OF_GEMINI, "client_ca": ROUTE_OF_GEMINI},
        instead={"/tls/": "tls/"},
    ),
    "docs/src/tokens.md": Page(
        setup=GEMINI_KEY
        + GEMINI_ROUTE
        + "keymoat key create voice-app > backend_key 2> /dev/null; chmod 600 backend_key; install -m 600 backend_key own_key",
        complete={"[key.backend]": UPSTREAM_GEMINI + '[listen]\ndata_tls = "127.0.0.1:8789"\n'},
        before={
            "[key.backend]": MADE_UP.format("backend_key"),
            "BACKEND_KEY": "BACKEND_KEY=$(cat backend_key); keymoat serve > /dev/null",
            '"calls": "live"': "KEY=$BACKEND_KEY",
            '/tokens/explain': """
curl -sf -H "Authorization: Bearer $KEY" https://gateway.example/keymoat/v1/tokens \\
    -d '{"constraints": {"gemini": {"setup": {"model": "models/gemini-…"}}}}' \\
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])' > token
""",
            "keymoat token list": """
stop serve
rm -r .keymoat
keymoat key create voice-app > own_key 2> /dev/null; chmod 600 own_key
keymoat token create --key voice-app --uses 5 --live-for 1h > token 2> /dev/null
echo '{"model": "models/gemini-2.5-flash-native-audio", "generationConfig": {"temperature": 0.5}}' > setup.json
keymoat token create --key voice-app --gemini-setup setup.json --field-mask model,generationConfig.temperature,tools 2> second > /dev/null
SECOND=$(grep -o 'tok_[0-9a-z]*' second)
echo '{"model": "models/other", "tools": [{"googleSearch": {}}], "systemInstruction": {"parts": [{"text": "hi"}]}}' > asked.json
""",
        },
        frames={"live_connect_constraints": "google_mint"},
        instead={
            "tok_pj7ah7dp05hr": "$SECOND",
            "models/gemini-…": "models/gemini-2.5-flash-native-audio",
            '"gemini-…"': '"gemini-2.5-flash-native-audio"',
            '"config": {…}': '"config": {}',
            "auth_tokens/kmt_…": "'$(cat token)'",
        },
    ),
    "docs/src/ws.md": Page(setup="keymoat serve > /dev/null"),
}
