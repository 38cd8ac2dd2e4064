"""A reader of plugins.json version 1, frozen: written from the seed schema and from nothing else.

It stands for every reader that was written before today. It knows the keys of the seed, ignores
others, and must never be changed to make a test pass:

    {"version":1,"updated_at":"...","plugins":[{"id","kind","versions":[{"version","download_url",
    "sha256","sigstore_bundle","publisher":{"name","verified"}}]}]}

It imports nothing of aperio.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Publisher:
    name: str
    verified: bool


@dataclass(frozen=True)
class Version:
    version: str
    download_url: str
    sha256: str
    sigstore_bundle: str
    publisher: Publisher


@dataclass(frozen=True)
class Plugin:
    id: str
    kind: str
    versions: tuple[Version, ...]


@dataclass(frozen=True)
class Index:
    updated_at: str
    plugins: tuple[Plugin, ...]


def read(text: str) -> Index:
    """The index in a text; raises for whatever the seed schema does not say."""
    document = json.loads(text)
    if document["version"] != 1:
        raise ValueError(document["version"])
    plugins = tuple(_plugin(plugin) for plugin in document["plugins"])
    return Index(_text(document["updated_at"]), plugins)


def _plugin(raw: dict[str, object]) -> Plugin:
    versions = raw["versions"]
    if not isinstance(versions, list):
        raise TypeError(versions)
    return Plugin(_text(raw["id"]), _text(raw["kind"]), tuple(_version(each) for each in versions))


def _version(raw: dict[str, object]) -> Version:
    publisher = raw["publisher"]
    if not isinstance(publisher, dict) or not isinstance(publisher["verified"], bool):
        raise TypeError(publisher)
    return Version(
        version=_text(raw["version"]),
        download_url=_text(raw["download_url"]),
        sha256=_text(raw["sha256"]),
        sigstore_bundle=_text(raw["sigstore_bundle"]),
        publisher=Publisher(_text(publisher["name"]), publisher["verified"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
