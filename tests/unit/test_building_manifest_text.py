from __future__ import annotations

from aperio_cli.building.manifest_text import with_tags
from aperio_cli.models.manifest import Manifest
from tests.projects import MANIFEST
from tests.rows import each_row

FLOW = "[cp311, cp312, cp313]"
FORMS = {
    "flow": f"tags: {FLOW} # carried",
    "flow over lines": "tags: [\n    cp311,\n    cp312, cp313]",
    "block": "tags:\n    - cp311\n    - cp312 # next\n    - cp313",
    "block without indentation": "tags:\n  - cp311\n  - cp312\n  - cp313",
    "quoted": 'tags: ["cp311", "cp312", \'cp313\']',
}


def manifest(form: str) -> str:
    return MANIFEST.replace("tags: [TAGS]", FORMS[form])


@each_row("form", FORMS)
def test_with_tags_changes_the_tags_and_nothing_else(form: str) -> None:
    before = Manifest.parse(manifest(form).encode())
    assert before.runtime.tags == ("cp311", "cp312", "cp313")
    after = Manifest.parse(with_tags(manifest(form).encode(), ("cp312",)))
    assert after.runtime.tags == ("cp312",)
    assert (after.entrypoint, after.id, after.provider) == (
        before.entrypoint,
        before.id,
        before.provider,
    )


def test_with_tags_keeps_every_other_byte() -> None:
    text = "# höher\n" + manifest("flow")
    assert with_tags(text.encode(), ("cp311", "cp313")).decode() == text.replace(
        FLOW, "[cp311, cp313]"
    )


def test_with_tags_keeps_line_ends_of_another_system() -> None:
    text = manifest("block").replace("\n", "\r\n")
    after = Manifest.parse(with_tags(text.encode(), ("cp311",)))
    assert after.runtime.tags == ("cp311",)
    assert after.entrypoint == "box-connector"
