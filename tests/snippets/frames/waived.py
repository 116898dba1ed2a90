import pathlib
import subprocess

base, key = "https://api.example/v1", "made-up"
# SNIPPET
assert uri.endswith("?key=made-up")

line = next(line for line in pathlib.Path(__file__).read_text().splitlines() if "allow(url-credential)" in line)
pathlib.Path("waived").mkdir()
pathlib.Path("waived/code.py").write_text(line + "\n")
found = subprocess.run(["keymoat", "scan", "waived"], capture_output=True, text=True, check=False)
assert found.returncode == 0 and "waived" in found.stdout + found.stderr, found
