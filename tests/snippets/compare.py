"""Compares what a page shows with what was seen, but for what differs from day to day and from machine to machine."""

import json
import re

PLAIN = [
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"\b(key|sec|ses|tok|evt)_[0-9a-z…]+"), r"\1_ID"),
    (re.compile(r"(auth_tokens/|ek_)?\b(kmt|km)_[0-9A-Za-z…]+"), r"\1\2_CREDENTIAL"),
    (re.compile(r"\bfingerprint (key )?[0-9a-f]{8,12}\b"), r"fingerprint \1HEX"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DATE"),
    (re.compile(r"0x[0-9a-f]+"), "ADDRESS"),
    (re.compile(r"\d+(\.\d+)*"), "N"),
    (re.compile(r"[ \t]+"), " "),
]


def plain(text):
    """The text without numbers, ids, times and widths."""
    for pattern, instead in PLAIN:
        text = pattern.sub(instead, text)
    return [line.strip() for line in text.strip().splitlines()]


def missing(shown, seen):
    """The first line of `shown` that `seen` lacks, in this order; a line `…` stands for any lines, a `…` in one for any text."""
    lines, at, anywhere = plain(seen), 0, True
    for line in plain(shown):
        if line == "…" or not line:
            anywhere = anywhere or line == "…"
            continue
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        places = range(at, len(lines)) if anywhere else [n for n in range(at, len(lines)) if lines[n]][:1]
        place = next((n for n in places if pattern.fullmatch(lines[n])), None)
        if place is None:
            return line
        at, anywhere = place + 1, False
    return None


def shape(value):
    """The names and kinds of a JSON text, without its values."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return type(value).__name__


def same_shape(shown, seen):
    """Whether two JSON texts have the same names."""
    return shape(json.loads(shown)).keys() == shape(json.loads(seen)).keys()
