"""The commands behind `make remote`, `make push` and `make pull`: share data through a DVC remote (docs/sharing.md).

python -m commands.remote set URL [--name NAME] [KEY=VALUE ...]
    the default remote; secrets go to .dvc/config.local
python -m commands.remote push
    `dvc push`, after repairing an interrupted push
python -m commands.remote pull [TARGET ...]
    `dvc pull`, with the lists of folders checked first
python -m commands.remote check [TARGET ...]
    fetch and check these lists alone: before `dvc repro --pull`

Without a URL `set` takes the environment's URL, NAME and SET, as make gives them, and `pull` without a target its WHAT.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import SplitResult, urlsplit

from commands.arguments import status_of, words
from facestudy.core.errors import StudyError
from facestudy.core.settings import NAME_PATTERN

# scheme -> DVC's plug-in for it; requirements.txt has those that tests use, remotes/ the others
PLUGINS = {"ssh": "ssh", "s3": "s3", "gs": "gs", "azure": "azure", "webdav": "webdav", "webdavs": "webdav"}
# Settings that git may keep. Every other one is secret, or true for one person only, and goes to .dvc/config.local.
SHARED = {"account_name", "acl", "allow_anonymous_login", "checksum_jobs", "connect_timeout", "connection_timeout",
          "endpointurl", "jobs", "max_sessions", "port", "projectname", "read_timeout", "region", "shared", "sse",
          "ssl_verify", "timeout", "type", "use_ssl"}  # fmt: skip
# What `set` decides, or what would keep files under their names, where nothing can be checked.
FIXED = {"url", "verify", "version_aware", "worktree", "no_traverse"}
PATHS = {"cert_path", "configpath", "credentialpath", "key_path", "keyfile", "ssl_verify"}
WAY_OUT = "Remove the named files from files/md5/ on the remote, and run `make push` in a clone that has the data."


def check_url(url: str) -> str:
    """The scheme of a remote's address, "" for a directory.

    Raises StudyError for an unknown scheme, and where the address holds what must not be in git.
    """
    scheme = _scheme(url)
    if scheme and scheme not in PLUGINS:
        known = ", ".join(f"{name}://" for name in PLUGINS)
        raise StudyError(
            f"URL: {scheme}:// is not a remote that this project sets up; give a directory or one of {known}."
        )
    parts = _split(url, "URL") if scheme else None
    if parts and (_holds_more(parts) or (parts.username is not None and scheme != "ssh")):
        raise StudyError(
            f"URL: the address at {parts.hostname} has a password, user, ?query or #fragment in it, which git "
            'would keep; leave it out and give it as SET="user=… password=…" (or sas_token, …), which goes to '
            ".dvc/config.local."
        )
    if not url or (parts and not parts.netloc):
        raise StudyError(f"URL = {url!r} names no place, as in URL=/mnt/team/study or URL=s3://bucket/study.")
    return scheme


def _scheme(url: str) -> str:
    return url.partition("://")[0] if "://" in url else ""


def _split(url: str, name: str) -> SplitResult:
    """The parts of an address; StudyError names its setting, never the address, which may hold a secret."""
    try:
        parts = urlsplit(url)
        if parts.port == 0:  # reading it raises where it is not a number
            raise ValueError
    except ValueError:
        raise StudyError(f"{name}: the address cannot be read; write it as in https://host:9000/path.") from None
    return parts


def _holds_more(parts: SplitResult) -> bool:
    return parts.password is not None or bool(parts.query or parts.fragment)


def _expanded(path: str, name: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise StudyError(f"{name}: {path.partition('/')[0]} names no user of this machine; give a path.") from None


def check_settings(scheme: str, settings: list[str]) -> dict[str, str]:
    """KEY=VALUE settings as DVC knows them for a scheme; StudyError names an unknown key, never a value."""
    from dvc.config_schema import REMOTE_SCHEMAS

    known = sorted({str(key) for key in REMOTE_SCHEMAS[scheme]} - FIXED)
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise StudyError(f"SET: {key!r} is not of the form KEY=VALUE, as in region=eu-central-1.")
        if key not in known:
            raise StudyError(f"SET: {key} is not a setting of such a remote (DVC knows {', '.join(known)}).")
        if key == "endpointurl":
            _check_endpoint(value)
        found[key] = str(_expanded(value, f"SET: {key}")) if key in PATHS and value.startswith("~") else value
    return found


def _check_endpoint(url: str) -> None:
    parts = _split(url, "SET: endpointurl")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise StudyError("SET: endpointurl is not an address, as in endpointurl=https://host:9000.")
    if _holds_more(parts) or parts.username is not None:
        raise StudyError(
            "SET: the address of endpointurl has a password, user, ?query or #fragment in it, which git would "
            "keep; leave it out."
        )


def install(plugin: str) -> None:
    """DVC's plug-in for a kind of remote, in the version and with the hashes that `make lock` pinned."""
    pins = [path for path in (Path("requirements.txt"), Path("remotes") / f"{plugin}.txt") if path.exists()]
    pinned = re.search(rf"^dvc-{plugin}==(\S+)", "".join(path.read_text() for path in pins), re.MULTILINE)
    if pinned is None:
        raise StudyError(f"neither requirements.txt nor remotes/{plugin}.txt pins dvc-{plugin}; `make lock` does.")
    try:
        if version(f"dvc-{plugin}") == pinned[1]:
            return
    except PackageNotFoundError:
        pass
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    if subprocess.run([*pip, *(word for path in pins for word in ("-r", str(path)))]).returncode:
        raise StudyError(f"pip could not install dvc[{plugin}] (see above); the remote is not set up.")


def set_remote(url: str, name: str, settings: list[str]) -> None:
    """Make `url` the default remote, with checked downloads, and say what went where."""
    from dvc.config import Config
    from dvc.exceptions import DvcException

    scheme = check_url(url)
    if not re.fullmatch(NAME_PATTERN, name):
        raise StudyError(f"NAME = {name!r} is not a valid name of a remote (letters a-z, digits and _).")
    chosen = check_settings(scheme, settings)
    if scheme:
        install(PLUGINS[scheme])
    else:  # the same place seen from any clone on this machine
        url = str(_expanded(url, "URL").resolve())
    own = {key: value for key, value in chosen.items() if key not in SHARED}
    team = {key: value for key, value in chosen.items() if key in SHARED}
    make_private(Path(".dvc/config.local"))
    try:
        config = Config.from_cwd(validate=False)  # the present configuration may be invalid
        with config.edit("local", validate=False) as local:
            remotes = local.setdefault("remote", {})
            old = remotes.pop(name, {})
            kept = old if _scheme(old.get("url", "")) == scheme else {}
            if own or kept:  # with the address: else DVC refuses to work on a branch without this remote
                remotes[name] = {**kept, **own, "url": url}
        with config.edit("repo") as shared:
            shared.setdefault("remote", {})[name] = {"url": url, "verify": True, **team}
            shared.setdefault("core", {})["remote"] = name
    except DvcException as error:
        said = " ".join(str(error).split())
        raise StudyError(
            f"DVC refuses it: {said}. An earlier remote may have left settings in .dvc/config.local; remove them."
        ) from None
    print(f"{name} is the default remote ({url}), and downloads are verified. Commit .dvc/config.")
    if own:
        print(f"Kept in .dvc/config.local, which git ignores: {', '.join(sorted(own))}")


def make_private(path: Path) -> None:
    """A file that only its owner can read, before anything is written to it."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    path.chmod(0o600)


def listed(data: bytes) -> dict[str, str]:
    """Read the checksums and names in a listing; ValueError if a name leads out of the folder or occurs twice."""
    try:
        files = [(str(entry["md5"]), str(entry["relpath"])) for entry in json.loads(data)]
    except (ValueError, KeyError, TypeError):
        raise ValueError("it is not a list of files") from None
    for checksum, name in files:
        if not re.fullmatch(r"[0-9a-f]{32}", checksum) or {"", ".", ".."} & set(name.split("/")):
            raise ValueError(f"{name!r} is not a file below it")
    if len({name for _, name in files}) < len(files):
        raise ValueError("a file appears twice")
    return dict(files)


class Study:
    """What the lock says there should be, and where: the cache of this clone and the remote.

    Listings are DVC's lists of the files of a folder (`….dir`). DVC itself checks the files that it downloads but
    takes listings as they come: damaged ones put files under other names, even outside the project.
    """

    def __init__(self, repo: Any, targets: list[str] | None = None, with_deps: bool = False) -> None:
        self.remote, self.cache = repo.cloud.get_remote_odb(), repo.cache.local
        _check_targets(repo, targets or [])
        index = repo.index.targets_view(targets, with_deps=with_deps) if targets else repo.index
        outs = [out for out in index.outs if out.use_cache and out.hash_info and out.hash_info.isdir]
        self.listings = {out.hash_info.value: str(out) for out in outs}  # checksum -> path in the work tree

    def files(self, listing: str) -> dict[str, str]:
        """Checksums and names of a listing's files; empty while the cache lacks it."""
        if not self.cache.exists(listing):
            return {}
        if not self._whole(listing):
            raise self._rotten({listing: self.listings[listing]})
        path = self.listings[listing]
        try:
            files = listed(self._local(listing).read_bytes())
        except ValueError as error:
            raise StudyError(
                f"{path} ({listing}), which dvc.lock names, is not a folder listing that DVC wrote: {error}; take "
                "dvc.lock from a commit that you trust."
            ) from None
        return {checksum: f"{path}/{name}" for checksum, name in files.items()}

    def fetch_listings(self) -> int:
        """Into the cache, from where DVC then takes them, and how many are nowhere.

        Raises StudyError naming those that are damaged, or name what is not in their folder.
        """
        damaged, missing = {}, 0
        for listing, path in self.listings.items():
            if self.cache.exists(listing):
                continue
            try:
                with self.remote.fs.open(self.remote.oid_to_path(listing), "rb") as file:
                    data = file.read()
            except FileNotFoundError:  # never pushed: dvc will say so where it is needed
                missing += 1
                continue
            if hashlib.md5(data).hexdigest() + ".dir" == listing:
                self.cache.add_bytes(listing, data)
                self.cache.protect(self.cache.oid_to_path(listing))
            else:
                damaged[listing] = path
        if damaged:
            raise StudyError(f"{_named(damaged)} damaged on the remote; nothing was pulled. {WAY_OUT}")
        for listing in self.listings:
            self.files(listing)
        return missing

    def lacking(self, most: int = 20) -> tuple[dict[str, str], dict[str, str]]:
        """Of the first few objects that the cache lacks after a pull: those damaged on the remote, those not there."""
        files = {checksum: name for listing in self.listings for checksum, name in self.files(listing).items()}
        wanted = self.listings | files
        damaged, absent = {}, {}
        for checksum in [checksum for checksum in wanted if not self.cache.exists(checksum)][:most]:
            digest = hashlib.md5()
            try:
                with self.remote.fs.open(self.remote.oid_to_path(checksum), "rb") as file:
                    while chunk := file.read(1 << 20):
                        digest.update(chunk)
            except FileNotFoundError:
                absent[checksum] = wanted[checksum]
                continue
            if digest.hexdigest() != checksum.removesuffix(".dir"):
                damaged[checksum] = wanted[checksum]
        return damaged, absent

    def remove_broken(self) -> int:
        """Remove incomplete files from the remote, and listings of folders whose files are missing there.

        A WebDAV server keeps the first part of an interrupted upload. DVC compares names only, so it never sends such a
        file again, and it does not check the files of a folder whose listing is on the remote. DVC does not check what
        it sends either: if files here are damaged, StudyError names them and nothing is removed.
        """
        held = self._sizes()
        here = {
            checksum: name
            for listing, path in self.listings.items()
            for checksum, name in {listing: path, **self.files(listing)}.items()
            if self.cache.exists(checksum)
        }
        broken = {
            checksum for checksum in here if held.get(checksum, -1) not in (-1, self._local(checksum).stat().st_size)
        }
        whole = set(held) - broken
        rotten = {checksum: here[checksum] for checksum in set(here) - whole if not self._whole(checksum)}
        if rotten:
            raise self._rotten(rotten)
        for listing in self.listings:
            if listing in whole and any(file in here for file in self.files(listing) if file not in whole):
                broken.add(listing)
        for checksum in sorted(broken, key=lambda found: not found.endswith(".dir")):  # listings first
            self.remote.delete(checksum)
        return len(broken)

    def _local(self, checksum: str) -> Path:
        return Path(self.cache.oid_to_path(checksum))

    def _whole(self, checksum: str) -> bool:
        """Are the bytes in the cache those of the name?"""
        with self._local(checksum).open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest() == checksum.removesuffix(".dir")

    def _rotten(self, found: dict[str, str]) -> StudyError:
        shown = {os.path.relpath(self._local(checksum)): name for checksum, name in found.items()}
        return StudyError(
            f"{_named(shown)} damaged in this clone's cache; nothing was sent, and nothing removed from the remote. "
            f"Remove the files in brackets, then run `make pull`, or `make run` if the remote lacks them."
        )

    def _sizes(self) -> dict[str, int]:
        """Bytes of every object of the remote, by checksum."""
        if self.remote.fs.protocol == "local":
            return {path.parent.name + path.name: path.stat().st_size for path in Path(self.remote.path).glob("??/*")}
        found = self.remote.fs.fs.find(self.remote.path, detail=True)
        return {"".join(path.split("/")[-2:]): info["size"] for path, info in found.items()}


def _named(objects: dict[str, str]) -> str:
    shown = [f"{path} ({checksum})" for checksum, path in sorted(objects.items())[:5]]
    return f"{', '.join(shown)}{', …' if len(objects) > 5 else ''} {'is' if len(objects) == 1 else 'are'}"


def _check_targets(repo: Any, targets: list[str]) -> None:
    """Raise StudyError for a target that is neither a stage whose outputs DVC keeps nor below one of them."""
    outs = [out for out in repo.index.outs if out.use_cache]
    stages = list(dict.fromkeys(out.stage.addressing.partition("@")[0] for out in outs))
    names = {*stages, *(out.stage.addressing for out in outs)}
    paths = [Path(str(out)) for out in outs]
    for target in targets:
        if target not in names and not any(Path(target).is_relative_to(path) for path in paths):
            raise StudyError(
                f"WHAT: {target!r} is not a stage or an output that DVC keeps; give one of {', '.join(stages)}, or a "
                f"path as in WHAT={max(paths, key=lambda path: len(path.parts))}."
            )


@contextmanager
def opened_study(targets: list[str] | None = None, with_deps: bool = False) -> Iterator[Study]:
    """The study with its remote; a StudyError in one sentence where that is missing or does not answer."""
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            yield Study(repo, targets, with_deps)
    except NoRemoteError:
        raise StudyError("there is no default remote; `make remote URL=…` sets one up.") from None
    except StudyError:
        raise
    except DvcException as error:
        raise StudyError(f"{' '.join(str(error).split())}.") from error
    except Exception as error:  # each kind of remote has its own for "does not answer"
        raise StudyError(
            f"the remote cannot be read: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def push() -> None:
    from dvc.cli import main as dvc

    with opened_study() as study:
        removed = study.remove_broken()
    if removed:
        print(f"{removed} objects on the remote were cut short or incomplete; they are sent again.", flush=True)
    if dvc(["push"]):
        raise StudyError("not everything was pushed (see above); `make push` again goes on from there.")


def check(targets: list[str]) -> None:
    with opened_study(targets, with_deps=True) as study:
        missing = study.fetch_listings()
        fetched = len(study.listings) - missing
    print(f"{fetched} lists of folders match dvc.lock; {missing} are neither here nor on the remote.")


def pull(targets: list[str]) -> None:
    from dvc.cli import main as dvc

    with opened_study(targets):  # refuses what nothing is called
        pass
    with opened_study() as study:
        study.fetch_listings()
    if not dvc(["pull", *targets]):
        return
    damaged: dict[str, str] = {}
    absent: dict[str, str] = {}
    with suppress(StudyError), opened_study(targets) as study:
        damaged, absent = study.lacking()
    if damaged:
        raise StudyError(f"{_named(damaged)} damaged on the remote and was not taken. {WAY_OUT}")
    if absent:
        raise StudyError(
            f"{_named(absent)} not on the remote. `make push` in the clone that has the data sends them there; "
            "`make run` makes them here."
        )
    raise StudyError("not everything was pulled (see above); `make pull` again goes on from there.")


def run(arguments: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    if arguments.command == "set" and arguments.url is None:
        set_remote(os.environ.get("URL", ""), os.environ.get("NAME") or "team", words("SET"))
    elif arguments.command == "set":
        set_remote(arguments.url, arguments.name, arguments.settings)
    elif arguments.command == "push":
        push()
    elif arguments.command == "check":
        check(arguments.targets)
    else:
        pull(arguments.targets or words("WHAT"))


def main() -> NoReturn:
    parser = argparse.ArgumentParser(
        "python -m commands.remote", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    setter = commands.add_parser("set")
    setter.add_argument("url", nargs="?")
    setter.add_argument("--name", default="team")
    setter.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    commands.add_parser("push")
    for name in ("pull", "check"):
        commands.add_parser(name).add_argument("targets", nargs="*", metavar="TARGET")
    arguments = parser.parse_args()
    sys.exit(status_of("remote", lambda: run(arguments)))


if __name__ == "__main__":
    main()
