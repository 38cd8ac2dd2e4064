"""events: a finding's rule is no check that the schema declares."""

import sound  # type: ignore[import-not-found] # beside this file

finding = sound.finding


def other(number: int) -> object:
    made = finding(number)
    made.findings.findings[0].rule_id = "ms365.something_else"
    return made


sound.finding = other
sound.serve()
