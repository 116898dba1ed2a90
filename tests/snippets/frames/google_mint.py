import os

from google import genai

BACKEND_KEY = os.environ["BACKEND_KEY"]
# SNIPPET
assert token.name.startswith("auth_tokens/kmt_")
