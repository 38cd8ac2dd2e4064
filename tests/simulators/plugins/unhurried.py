"""A connector that takes its time to say that it is healthy."""

import time
from typing import Any

import bare

at_once = bare.health


def health(request: Any, context: Any) -> Any:
    time.sleep(0.2)
    return at_once(request, context)


bare.health = health
bare.serve()
