import os
from pathlib import Path

from google import genai
from google.genai import types

# Google's own address is that of the emulated provider.
os.environ["GOOGLE_GEMINI_BASE_URL"] = "https://generativelanguage.googleapis.com"
key = Path("key.txt").read_text().strip()
made = []


class Noted(genai.Client):
    def __init__(self, **options):
        super().__init__(**options)
        made.append(self)


genai.Client = Noted
# SNIPPET
assert len(made) == 2
for client in made:
    assert list(client.models.list()), "no models"
