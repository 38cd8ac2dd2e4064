"""manifest.yaml of an artifact that carries fewer interpreter tags than the project declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def with_tags(manifest: bytes, tags: Sequence[str]) -> bytes:
    """Return the manifest with only `runtime.tags` changed; every other byte stays the author's.

    Args:
        manifest: contents of a manifest that was accepted, with runtime.tags in it.
        tags: the tags that the artifact carries.
    """
    import yaml

    text = manifest.decode()
    root = yaml.compose(text, Loader=yaml.BaseLoader)
    node = _child(_child(root, "runtime"), "tags")
    replaced = text[node.start_mark.index : node.end_mark.index]
    flow = f"[{', '.join(tags)}]"
    if not node.flow_style:
        # A list in block style may stand as far left as its key, which one in flow style may not,
        # and ends where the next key begins, so that its line end has to be kept.
        flow = f" {flow}{replaced[len(replaced.rstrip()) :]}"
    return (text[: node.start_mark.index] + flow + text[node.end_mark.index :]).encode()


def _child(mapping: Any, key: str) -> Any:
    return next(value for name, value in mapping.value if name.value == key)
