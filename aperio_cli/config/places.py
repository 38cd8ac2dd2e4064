"""Which configuration files there are: the user's two, and the site's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.config.merging import merge
from aperio_cli.config.model import ConfigFile, Places
from aperio_cli.config.reading import read_alone, read_site, read_user
from aperio_cli.errors import AperioError

if TYPE_CHECKING:
    from aperio_cli.config.model import Config
    from aperio_cli.paths import Paths


def load_config(paths: Paths, *, site_file: Path | None = None) -> Config:
    """Return the user's configuration held to the site's; files that do not exist say nothing.

    Args:
        paths: gives the user's config.toml, and the file of the commands beside it.
        site_file: the site's config.toml; by default the one in platformdirs' site folder.

    Raises:
        ConfigurationInvalid: a file cannot be read, is not TOML, or has a key that is unknown,
            missing, blank or of another type; or both files of the user state a trust domain of
            one name. Names file and line.
    """
    site_file = site_config_file() if site_file is None else site_file
    site = read_site(site_file)
    stated, managed = read_user(paths.config_file, paths.managed_file, site)
    places = Places(paths.config_file, paths.managed_file, site_file)
    return merge(stated, managed, site, places)


def load_readable(
    paths: Paths, *, site_file: Path | None = None
) -> tuple[Config, tuple[AperioError, ...]]:
    """Return what can be read of the configuration, and what is wrong with the rest of it.

    To look at, never to decide by: a file that cannot be read may state a floor.

    Args:
        paths: as for `load_config`.
        site_file: as for `load_config`.
    """
    site_file = site_config_file() if site_file is None else site_file
    try:
        return load_config(paths, site_file=site_file), ()
    except AperioError as problem:
        problems = {problem.what: problem}

    def alone(path: Path, *, is_managed: bool = False) -> ConfigFile:
        try:
            return read_alone(path, is_managed=is_managed, is_site=path == site_file)
        except AperioError as problem:
            problems.setdefault(problem.what, problem)
            return ConfigFile()

    stated, managed = alone(paths.config_file), alone(paths.managed_file, is_managed=True)
    places = Places(paths.config_file, paths.managed_file, site_file)
    return merge(stated, managed, alone(site_file), places), tuple(problems.values())


def site_config_file() -> Path:
    """Return the site's config.toml, whether it is there or not."""
    import platform as machine

    system = machine.system()
    if system == "Windows":
        import platformdirs

        return platformdirs.site_config_path("aperio") / "config.toml"
    # Named here: elsewhere platformdirs follows XDG_CONFIG_DIRS, on macOS too. Desktops set it, and
    # any user could lift the floor with it.
    folder = "/Library/Application Support" if system == "Darwin" else "/etc/xdg"
    return Path(folder, "aperio", "config.toml")
