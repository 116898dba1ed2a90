"""Signs in and claims as somebody who may: every other well-formed request gets what is right, from the environment."""

import itertools
import os

import schemathesis

PERSON = {"name": "ada", "password": os.environ.get("SUITE_PASSWORD")}
RIGHT = {
    "/api/v1/sign-in": PERSON,
    "/api/v1/claim": {"claim": os.environ.get("SUITE_CLAIM"), "key_name": "suite", **PERSON},
}
TURNS = itertools.count()


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Puts in what is right, where what was made up is well-formed."""
    right = RIGHT.get(case.operation.path)
    is_well_formed = case.meta and case.meta.generation.mode.is_positive and isinstance(case.body, dict)
    if right and case.method == "POST" and is_well_formed and next(TURNS) % 2 == 0:
        case.body = right
